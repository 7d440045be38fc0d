# The client programs of one PostgreSQL version and restorehooks: all that a restore needs.
#
#   docker build --build-arg POSTGRES_VERSION=18 --tag restorehooks .
#
# The version is that of the server: its image has the programs that match.
ARG POSTGRES_VERSION=18
FROM postgres:${POSTGRES_VERSION}

# The distribution's Python is the one that fits the image, whatever its release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml README.md LICENSE /usr/src/restorehooks/
COPY restorehooks /usr/src/restorehooks/restorehooks
COPY scripts/restore.sh /usr/src/restorehooks/scripts/restore.sh
RUN python3 -m venv /opt/restorehooks \
    && /opt/restorehooks/bin/pip install --no-cache-dir "/usr/src/restorehooks[binary,compression]"

# Dumps are read and written in /backups, hooks are read from /hooks (--hooks-dir /hooks), and what
# has to be copied first goes into /scratch: mount a volume there, since /tmp is often memory.
RUN mkdir /backups /hooks /scratch && chmod 1777 /scratch && chown postgres: /backups

ENV PATH=/opt/restorehooks/bin:$PATH \
    TMPDIR=/scratch
# postgres, by its number, so that Kubernetes knows that it is not root.
USER 999
WORKDIR /backups
# Not restore.sh: it would run a manage.py that lies beside a dump.
ENTRYPOINT ["/opt/restorehooks/bin/restorehooks", "restoredb"]
CMD ["--help"]
