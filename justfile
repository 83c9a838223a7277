# The daily verbs. `just` alone lists them.

default:
    @just --list

# Build both binaries for release.
build:
    cargo build --release -p sampan-proxy -p sampan-init

# Run the proxy: just run -c examples/edge-http.yaml
run *args:
    cargo run --release -p sampan-proxy -- {{args}}

# Two upstreams behind a 90/10 split, with load and a live line per second.
demo *args:
    cargo run --release -p sampan-proxy -- demo {{args}}

# Every test; the differential suite fetches an Envoy to compare with if there is none.
test *args:
    tests/run {{args}}

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
