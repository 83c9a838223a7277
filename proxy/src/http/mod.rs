//! HTTP: codecs, the life of a request, and what configuration says about both.

pub mod h1;
