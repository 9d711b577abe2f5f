# The image of docker-compose.yml: builds in one stage, ships the binary alone in another.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make pkg-config libssl-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /postroom
COPY . .
RUN cargo build --release --locked --package postroom --bin postroom

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libssl3 && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 postroom && install -d -o postroom /data
COPY --from=build /postroom/target/release/postroom /usr/local/bin/postroom
USER postroom
WORKDIR /data
VOLUME /data
ENTRYPOINT ["postroom"]
CMD ["run"]
