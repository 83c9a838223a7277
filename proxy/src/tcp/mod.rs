//! TCP: a connection forwarded byte by byte.

pub mod config;
mod copy;
mod direction;
mod early;
pub mod proxy;
mod relay;
mod route;
mod splice;
#[cfg(test)]
mod tests;
