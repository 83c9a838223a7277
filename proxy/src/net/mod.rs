//! Sockets: one stream type for all transports, and how to open and tune sockets.

pub mod alarm;
pub mod cidr;
pub mod clock;
pub mod congestion;
pub mod io;
pub mod own;
pub mod socket;
