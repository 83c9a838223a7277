//! Micro benchmarks, and the side-by-side runner against Envoy, HAProxy and nginx.
