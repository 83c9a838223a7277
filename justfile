# The daily verbs. `just` alone lists them.

default:
    @just --list

# Build both binaries for release.
build:
    cargo build --release -p sampan-proxy -p sampan-init

# The image with both programs, by buildah or docker: just image -t sampan:0.1.0
image *args:
    if command -v buildah >/dev/null; then set -- buildah bud --isolation chroot; else set -- docker build; fi; \
        "$@" --build-arg SAMPAN_BUILD_SHA="$(git rev-parse HEAD)" {{args}} .

# Run the proxy: just run -c examples/edge-http.yaml
run *args:
    cargo run --release -p sampan-proxy -- {{args}}

# Two upstreams behind a 90/10 split, with load and a live line per second.
demo *args:
    cargo run --release -p sampan-proxy -- demo {{args}}

# Every test; the differential suite fetches an Envoy to compare with if there is none.
test *args:
    tests/run {{args}}

# The live test in a real Istio, as root; with names of scenarios: just istio --proxy sampan http1
istio *args:
    tests/istio/run {{args}}

# The unit tests alone: no Envoy needed.
unit *args:
    cargo test --release --workspace --lib --bins {{args}}

# Lints, as CI has them.
lint:
    cargo clippy --workspace --all-targets --release -- -D warnings

# Rules for dependencies: licences, duplicates, sources, advisories.
deny:
    cargo deny --all-features check

# Everything that CI runs.
ci:
    .ci/run

# Sampan beside Envoy, HAProxy and nginx: just compare --quick --only http1_small
compare *args:
    cargo build --release -p sampan-proxy
    cargo run --release -p sampan-benches --bin compare -- {{args}}

# proxy/layout.ld anew: which functions the release build puts next to each other. Needs valgrind and binutils.
layout:
    SAMPAN_LAYOUT=off cargo build --release -p sampan-proxy
    cargo run --release -p sampan-benches --bin layout -- --sampan "${CARGO_TARGET_DIR:-target}/release/sampan"

# Micro benchmarks.
bench *args:
    cargo bench -p sampan-benches {{args}}

# Format the sources.
fmt:
    cargo fmt --all

# Check a configuration as Sampan reads it: just validate FILE
validate file *args:
    cargo run --release -p sampan-proxy -- --mode validate -c {{file}} {{args}}

# The API documentation of the crates.
docs:
    cargo doc --workspace --no-deps --document-private-items
