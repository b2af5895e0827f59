# baileys_exporter from its static program. The build context is what scripts/images.sh lays out:
#   docker build -f deploy/docker/exporter.Dockerfile -t baileys_exporter:0.1.0 target/images/context
FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="baileys_exporter" \
      org.opencontainers.image.description="Prometheus exporter for the auth folders and logs of WhatsApp bots built on Baileys" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY baileys_exporter /baileys_exporter
COPY LICENSE /LICENSE
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# An empty directory of the user, for a volume.
COPY --chown=65532:65532 state /var/lib/baileys_exporter
# Run it as the user of the bots: docker run --user 1000:1000
USER 65532:65532
EXPOSE 10273
HEALTHCHECK --interval=30s --timeout=5s --start-period=2m --retries=3 \
  CMD ["/baileys_exporter", "health", "--web.listen-address=:10273"]
ENTRYPOINT ["/baileys_exporter"]
CMD ["--web.listen-address=:10273"]
