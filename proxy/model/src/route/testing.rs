//! A request for the tests of this module.

use super::request::{HeaderName, RequestView};

#[derive(Clone, Debug)]
pub(crate) struct Request {
    path: String,
    method: String,
    authority: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn get(path: &str) -> Self {
        Self { path: path.into(), method: "GET".into(), authority: "host".into(), headers: Vec::new() }
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        self.method = method.into();
        self
    }

    pub(crate) fn authority(mut self, authority: &str) -> Self {
        self.authority = authority.into();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }
}

impl RequestView for Request {
    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }
    fn authority(&self) -> &[u8] {
        self.authority.as_bytes()
    }
    fn scheme(&self) -> &[u8] {
        b"http"
    }
    fn header_values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(|(key, _)| key == name.as_str()).map(|(_, value)| value.as_bytes())
    }
}
