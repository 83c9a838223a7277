//! The Envoy API types, and protobuf-JSON and YAML for all of them.
