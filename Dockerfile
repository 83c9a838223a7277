# One small image with both binaries.
#
#   docker build -t sampan .
#   docker run --rm -p 10000:10000 -v "$PWD/examples:/etc/sampan:ro" sampan -c /etc/sampan/edge-http.yaml
#
# Built against musl, so the result needs nothing from a distribution. Root certificates are there for TLS to upstreams.

FROM rust:1.95-alpine AS build
RUN apk add --no-cache build-base linux-headers ca-certificates
WORKDIR /src
COPY . .
# Caches are shared between builds; the binaries are copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p sampan-proxy -p sampan-init && \
    mkdir -p /out && \
    cp target/release/sampan target/release/sampan-init /out/ && \
    strip /out/sampan /out/sampan-init

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /usr/local/bin/
# The user that interception rules leave alone.
USER 1337:1337
ENTRYPOINT ["/usr/local/bin/sampan"]
CMD ["--version"]
