# The image holds three static programs, the certificates that relays and
# brokers are checked against, and an empty /data. It has no shell: its programs
# are run by name, like "docker exec NAME postrider".
#
# It is built from the directory that "make context" fills, because nothing in it
# needs a builder's image.
FROM scratch
ARG VERSION=devel
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Postrider" \
      org.opencontainers.image.description="An outbound mail queue on NATS JetStream" \
      org.opencontainers.image.source="https://github.com/postrider/postrider" \
      org.opencontainers.image.documentation="https://github.com/postrider/postrider/blob/main/docs/operations.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY worker publish postrider /usr/bin/
# Mail and credentials of an embedded broker. A named volume put here takes over
# the owner.
COPY --chown=65532:65532 data /data
# Probes and metrics are asked for from outside the container too.
ENV PATH=/usr/bin POSTRIDER_DATA_DIR=/data POSTRIDER_ADMIN=:8026
EXPOSE 8026 4222
WORKDIR /data
USER 65532:65532
# Of the worker alone: run the devrelay with --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["postrider", "healthcheck"]
ENTRYPOINT ["worker"]
