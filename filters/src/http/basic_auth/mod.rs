//! `envoy.filters.http.basic_auth`: lets only users pass whose name and password are on a list (RFC 7617).
//!
//! The list is that of `htpasswd -s`: `name:{SHA}digest`. A route may have a list of its own.

pub mod config;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Counters, LocalReply, RequestHead};
use sha1::{Digest as _, Sha1};

/// Users, and the SHA-1 of their passwords.
#[derive(Default)]
pub struct Users(pub HashMap<Box<str>, [u8; 20]>);

/// What the filter does besides.
#[derive(Debug)]
pub struct Settings {
    /// `forward_username_header`; none if empty.
    pub forward: Option<Box<str>>,
    /// `authentication_header`, or `authorization`.
    pub header: Box<str>,
    /// `allow_missing`
    pub allow_missing: bool,
    /// `emit_dynamic_metadata`
    pub emit: bool,
    /// `basic_auth.allowed`, `basic_auth.denied`
    pub counters: Arc<Counters>,
}

/// The names of [`Settings::counters`].
pub const COUNTERS: &[&str] = &["allowed", "denied"];

/// The factory.
pub struct BasicAuth {
    /// The filter's own users.
    pub users: Arc<Users>,
    /// What it does besides.
    pub settings: Arc<Settings>,
}

/// One stream.
struct Instance {
    users: Arc<Users>,
    settings: Arc<Settings>,
}

/// Why a request is refused: details, and the rest of the body.
type Refusal = (&'static str, &'static str);

const MISSING: Refusal = ("no_credential_for_basic_auth", "Missing username and password.");
const SCHEME: Refusal = ("invalid_scheme_for_basic_auth", "Expected 'Basic' authentication scheme.");
const FORMAT: Refusal = ("invalid_format_for_basic_auth", "Invalid basic credential format.");
const WRONG: Refusal = ("invalid_credential_for_basic_auth", "Invalid username/password combination.");

/// Credentials may come without padding, as in Envoy.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The namespace of what it leaves in the dynamic metadata.
const NAMESPACE: &str = "envoy.filters.http.basic_auth";

impl HttpFilterFactory for BasicAuth {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let users = start.route::<Users>().unwrap_or_else(|| Arc::clone(&self.users));
        Some(Box::new(Instance { users, settings: Arc::clone(&self.settings) }))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let settings = &*self.settings;
        match self.users.authenticate(stream.request.headers.value(&*settings.header)) {
            Ok(name) => {
                settings.counters.inc(0);
                if let Some(header) = &settings.forward {
                    stream.request.headers.set(&**header, &name);
                }
                if settings.emit {
                    let name = MetadataValue::String(name.into());
                    stream.info.metadata.set(NAMESPACE, "username", name);
                }
                Flow::Continue
            }
            Err(MISSING) if settings.allow_missing => Flow::Continue,
            Err(refusal) => {
                settings.counters.inc(1);
                Flow::Reply(Box::new(refuse(refusal, stream.request)))
            }
        }
    }
}

impl Users {
    /// The name of the user whose credentials these are.
    fn authenticate(&self, credentials: Option<&[u8]>) -> Result<String, Refusal> {
        let credentials = credentials.ok_or(MISSING)?;
        let encoded = credentials.strip_prefix(b"Basic ").ok_or(SCHEME)?;
        let decoded = ENGINE.decode(encoded).map_err(|_| FORMAT)?;
        let colon = decoded.iter().position(|byte| *byte == b':').ok_or(FORMAT)?;
        let (name, password) = (&decoded[..colon], &decoded[colon + 1..]);
        let given: [u8; 20] = Sha1::digest(password).into();
        let name = std::str::from_utf8(name).map_err(|_| WRONG)?;
        // A user that there is not takes as long as one with another password.
        let (known, wanted) = self.0.get(name).map_or((false, &[0; 20]), |digest| (true, digest));
        let same = given.iter().zip(wanted).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0;
        if known && same { Ok(name.to_owned()) } else { Err(WRONG) }
    }
}

fn refuse((details, reason): Refusal, request: &RequestHead) -> LocalReply {
    let mut reply = LocalReply::new(401, details).body(format!("User authentication failed. {reason}"));
    let mut realm = b"Basic realm=\"".to_vec();
    for part in [request.scheme(), b"://", request.authority(), request.path()] {
        // What would end the quoted string does not belong into a URL.
        realm.extend(part.iter().filter(|byte| !matches!(byte, b'"' | b'\\')));
    }
    realm.push(b'"');
    reply.headers.append("www-authenticate", realm);
    reply
}
