# The client programs of one PostgreSQL version and restorehooks: all that a restore needs.
#
#   docker build --build-arg POSTGRES_VERSION=18 --tag restorehooks .
#
# The version is that of the server: its image has the programs that match.
ARG POSTGRES_VERSION=18
FROM postgres:${POSTGRES_VERSION}

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml README.md LICENSE /usr/src/restorehooks/
COPY restorehooks /usr/src/restorehooks/restorehooks
COPY scripts/restore.sh /usr/local/bin/restore.sh
RUN python3 -m venv /opt/restorehooks \
    && /opt/restorehooks/bin/pip install --no-cache-dir "/usr/src/restorehooks[binary,compression]"

ENV PATH=/opt/restorehooks/bin:$PATH
USER postgres
WORKDIR /backups
ENTRYPOINT ["/usr/local/bin/restore.sh"]
CMD ["--help"]
