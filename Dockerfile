# syntax=docker/dockerfile:1
# The image of docker-compose.yml and deploy/k8s: builds in one stage, ships the binary alone in another.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make pkg-config libssl-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /postroom
# .dockerignore leaves out what the build does not read.
COPY . .
# Crates and what was compiled of them stay in caches of the builder: a change of src/ compiles Postroom alone.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/postroom/target \
    cargo build --release --locked --package postroom --bin postroom --features s3 \
    && strip target/release/postroom && cp target/release/postroom /postroom/postroom.bin

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libssl3 && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home postroom && install -d -o postroom -g postroom /data
COPY --from=build /postroom/postroom.bin /usr/local/bin/postroom
# As numbers, so that Kubernetes sees that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 9464
# The first SIGTERM drains: within shutdown.deadline, 25 s.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=6 CMD ["postroom", "healthcheck"]
ENTRYPOINT ["postroom"]
CMD ["run"]
