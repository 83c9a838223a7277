//! HTTP: codecs, the life of a request, and what configuration says about both.

pub mod config;
pub mod h1;
pub mod local_reply;
pub mod route;
