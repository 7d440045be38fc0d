#!/bin/sh
# For the findings to source after server.sh: pgAgent 4.2.2 for the server to create.
#
# Needs Debian 12: pgAgent's package is unpacked, not installed.
: "${folder:?}" "${bin:?}"

mkdir "$folder/package"
(cd "$folder/package" && apt-get -qq download pgagent=4.2.2-2 2>/dev/null &&
    dpkg-deb --extract pgagent_*.deb "$folder/unpacked")
cp "$folder"/unpacked/usr/share/postgresql/15/extension/pgagent* "$(dirname "$bin")/share/extension/"
chmod a+r "$(dirname "$bin")/share/extension"/pgagent*
