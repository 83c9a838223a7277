//! Control planes of other projects drive the proxy: what they take for granted of Envoy, Sampan must do. See `tests/peers/`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod go_control_plane;
mod sovereign;
