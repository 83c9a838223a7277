//! Protocol switches: `Upgrade` (RFC 9110 §7.8), CONNECT, and extended CONNECT over HTTP/2 (RFC 8441).
//!
//! All three are one thing here, a [`Switch`]: the request has no body until the other side agrees, then bytes flow freely. Between
//! HTTP/1.1 and HTTP/2 the codecs give the request its form: GET with `Upgrade`, or CONNECT with `:protocol`.

use sampan_filters_api::{LocalReply, RequestHead};

use super::config::HttpConfig;
use super::route::Forward;

/// A switch that the request asks for and the configuration allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Switch {
    /// To this protocol, in lower case.
    Upgrade(Box<[u8]>),
    /// CONNECT, passed on.
    Connect,
    /// CONNECT, ended here: its payload goes upstream as plain TCP.
    Terminate,
}

/// Whether a request switches protocols, and may.
pub fn decide(
    config: &HttpConfig,
    forward: &Forward,
    request: &RequestHead,
) -> Result<Option<Switch>, Box<LocalReply>> {
    let kind: Box<[u8]> = match request.upgrade() {
        Some(protocol) => protocol.to_ascii_lowercase().into(),
        None if request.is_connect() => b"connect"[..].into(),
        None => return Ok(None),
    };
    let entry = |list: &[(Box<str>, bool)]| {
        list.iter().find(|(name, _)| name.as_bytes() == &*kind).map(|(_, on)| *on)
    };
    let allowed = entry(&forward.upgrades).or_else(|| entry(&config.upgrades)).unwrap_or(false);
    if !allowed {
        return Err(Box::new(LocalReply::new(403, "upgrade_failed").closing()));
    }
    Ok(Some(match request.upgrade() {
        Some(_) => Switch::Upgrade(kind),
        None if forward.terminate_connect => Switch::Terminate,
        None => Switch::Connect,
    }))
}

impl Switch {
    /// Whether it is CONNECT, which a 2xx grants; an upgrade is granted by 101.
    pub fn is_connect(&self) -> bool {
        matches!(self, Switch::Connect | Switch::Terminate)
    }

    /// The protocol of an upgrade.
    pub fn protocol(&self) -> Option<&[u8]> {
        match self {
            Switch::Upgrade(protocol) => Some(protocol),
            Switch::Connect | Switch::Terminate => None,
        }
    }
}
