//! How configuration arrives: protocol state machines and thin transports.
