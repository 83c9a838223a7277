//! The cookie that names a host: base64 of the message `Cookie` of Envoy, which has the address and when it expires.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use sampan_filters_api::RequestHead;

use super::host;

/// `CookieBasedSessionState`
#[derive(Debug)]
pub struct CookieState {
    /// Its name.
    pub name: Box<str>,
    /// How long it lasts; zero for as long as the browser runs.
    pub ttl: Duration,
    /// `Path`; requests to other paths are no part of the session.
    pub path: Box<str>,
    /// What follows in `set-cookie`, each with `; ` before it.
    pub attributes: Box<str>,
}

/// `envoy.Cookie`, which Envoy keeps to itself.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Session {
    #[prost(string, tag = "1")]
    pub(super) address: String,
    /// Seconds since the epoch; 0 for never.
    #[prost(uint64, tag = "2")]
    pub(super) expires: u64,
}

impl CookieState {
    /// Whether a request's path is within the cookie's.
    pub(super) fn fits(&self, path: &[u8]) -> bool {
        let own = self.path.as_bytes();
        if own.is_empty() || own == b"/" {
            return true;
        }
        path.starts_with(own)
            && (own.ends_with(b"/") || matches!(path.get(own.len()), None | Some(b'/' | b'?' | b'#')))
    }

    /// The host of the request's cookie, if that has not expired.
    pub(super) fn host(&self, request: &RequestHead) -> Option<Box<str>> {
        let value = self.value(request)?;
        let decoded = STANDARD.decode(value).ok().filter(|decoded| !decoded.is_empty())?;
        // Old cookies had the address alone, as text that no such message begins like.
        let Ok(session) = Session::decode(decoded.as_slice()) else { return host(decoded) };
        let expired = session.expires != 0 && session.expires < now();
        if expired { None } else { host(session.address.into_bytes()) }
    }

    fn value<'r>(&self, request: &'r RequestHead) -> Option<&'r [u8]> {
        let pairs = request.headers.values(b"cookie").flat_map(|line| line.split(|byte| *byte == b';'));
        pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
            let value = pair.strip_prefix(self.name.as_bytes())?.strip_prefix(b"=")?;
            Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
        })
    }

    /// The `set-cookie` for a host.
    pub(super) fn set(&self, address: &str) -> String {
        let seconds = self.ttl.as_secs();
        let expires = if seconds == 0 { 0 } else { now() + seconds };
        let session = Session { address: address.to_owned(), expires };
        let mut out = format!("{}=\"{}\"", self.name, STANDARD.encode(session.encode_to_vec()));
        if seconds > 0 {
            out += "; Max-Age=";
            out += &seconds.to_string();
        }
        if !self.path.is_empty() {
            out += "; Path=";
            out += &self.path;
        }
        out + &self.attributes + "; HttpOnly"
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
