# One small image with both programs, and with what sampan-init calls.
#
#   docker build -t sampan .
#   docker run --rm -p 10000:10000 -v "$PWD/examples:/etc/sampan:ro" sampan -c /etc/sampan/edge-http.yaml
#   docker build -t proxyv2 --target istio .        # for injection by Istio: docs/istio.md
#
# sampan and sampan-init are static and need nothing. iptables, nft and ip are Debian's, with the libraries they name; sampan-init is of no use
# without one of them. `--build-context build=FOLDER --build-context base=FOLDER` put folders into the places of the first two stages
# (and `agent=FOLDER` into that of the third).

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Caches are shared between builds; the binaries are copied out of them.
ARG SAMPAN_BUILD_SHA=""
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    deploy/image/binaries /out

FROM docker.io/library/debian:bookworm-slim AS base
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates iptables iproute2 nftables
COPY deploy/image/base /
RUN /base /out

# Istio's agent, and the template from which it makes the proxy's bootstrap.
FROM docker.io/library/golang:1.26-bookworm AS agent
WORKDIR /src
COPY tests/istio/peers/istio .
RUN --mount=type=cache,target=/root/.cache/go-build --mount=type=cache,target=/go/pkg/mod \
    CGO_ENABLED=0 go build -trimpath -tags agent,disable_pgv,grpcnotrace,retrynotrace \
        -ldflags '-s -w -X istio.io/istio/pkg/version.buildVersion=1.31.0 -X istio.io/istio/pkg/version.buildStatus=Clean' \
        -o /out/usr/local/bin/pilot-agent istio.io/istio/pilot/cmd/pilot-agent && \
    mkdir -p /out/var/lib/istio/envoy && \
    cp "$(go list -m -f '{{.Dir}}' istio.io/istio)/tools/packaging/common/envoy_bootstrap.json" /out/var/lib/istio/envoy/envoy_bootstrap_tmpl.json

# What Istio's injection expects of an image of the proxy: sampan where the agent looks for Envoy, and sampan-init for `istio-iptables`.
FROM scratch AS istio
COPY --from=base /out/ /
COPY --from=agent /out/ /
COPY --from=build /out/sampan /usr/local/bin/envoy
COPY --from=build /out/sampan-init /usr/local/bin/sampan-init
ENV PATH=/usr/local/bin:/usr/sbin
USER 1337:1337
# Injection names no command, only arguments: `istio-iptables …` for the init container, `proxy …` for the agent.
ENTRYPOINT ["/usr/local/bin/sampan-init", "entrypoint"]

FROM scratch AS image
COPY --from=base /out/ /
COPY --from=build /out/ /usr/local/bin/
# Where sampan-init looks for its programs.
ENV PATH=/usr/local/bin:/usr/sbin
# The user that interception rules leave alone. sampan-init runs as root, with NET_ADMIN and NET_RAW alone.
USER 1337:1337
ENTRYPOINT ["/usr/local/bin/sampan"]
CMD ["--version"]
