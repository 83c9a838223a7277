//! A provider of tokens: where they are in a request, what is asked of them, what a good one leaves behind.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Known, RequestHead};
use sampan_model::route::{StringMatch, query_value};
use serde_json::{Map, Value};

use super::keys::Keys;
use super::source::Source;
use super::token::{Status, Token};

/// `JwtProvider`
#[derive(Debug)]
pub struct Provider {
    /// Tells providers apart, for the tokens that are kept.
    pub id: u64,
    /// `issuer`; empty for any.
    pub issuer: Box<str>,
    /// `audiences`
    pub audiences: Audiences,
    /// `subjects`
    pub subjects: Option<StringMatch>,
    /// `require_expiration`
    pub must_expire: bool,
    /// `max_lifetime`
    pub longest_life: Option<Duration>,
    /// `clock_skew_seconds`
    pub skew: u64,
    /// Where the keys come from.
    pub source: Source,
    /// `forward`
    pub forward: bool,
    /// Where tokens are, in the order of Envoy: headers, parameters, cookies.
    pub places: Vec<Place>,
    /// `forward_payload_header`, and whether its value is padded.
    pub payload_header: Option<(Box<str>, bool)>,
    /// `claim_to_headers`: the header, and the path of the claim.
    pub claims: Vec<(Box<str>, Vec<Box<str>>)>,
    /// `payload_in_metadata`
    pub payload_key: Box<str>,
    /// `header_in_metadata`
    pub header_key: Box<str>,
    /// `failed_status_in_metadata`
    pub failure_key: Box<str>,
    /// `normalize_payload_in_metadata`: claims that are lists of words.
    pub lists: Vec<Box<str>>,
    /// `clear_route_cache`
    pub clear_route: bool,
    /// `jwt_cache_config`: how many tokens are kept, and how long they are at most.
    pub cache: Option<(usize, usize)>,
}

/// A place of a request that tokens come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `from_headers`: the name, and what is in front of the token.
    Header(Box<str>, Box<str>),
    /// `from_params`
    Parameter(Box<str>),
    /// `from_cookies`
    Cookie(Box<str>),
}

/// Whom tokens may be for; anybody if the list is empty.
#[derive(Clone, Debug, Default)]
pub struct Audiences(Vec<Box<str>>);

impl Audiences {
    /// A list; scheme and slash at the end do not count, as in Envoy.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        Self(names.into_iter().map(|name| plain(name).into()).collect())
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is on the list.
    pub fn allow(&self, audiences: &[Box<str>]) -> bool {
        self.0.is_empty() || audiences.iter().any(|one| self.0.iter().any(|known| **known == *plain(one)))
    }
}

/// `https://a/` is `a`.
fn plain(audience: &str) -> &str {
    let name = audience.strip_prefix("https://").or_else(|| audience.strip_prefix("http://"));
    let name = name.unwrap_or(audience);
    name.strip_suffix('/').unwrap_or(name)
}

/// The characters of a token.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

impl Place {
    /// Every token that is there.
    pub fn tokens(&self, request: &RequestHead, found: &mut Vec<(Place, String)>) {
        match self {
            Place::Header(name, prefix) => {
                let mut values: Vec<Cow<'_, [u8]>> =
                    request.headers.values(name.as_bytes()).map(Cow::Borrowed).collect();
                if values.len() > 1 && &**name == "authorization" {
                    // There can be one of it only, so several are one that is wrong, as in Envoy.
                    values = vec![Cow::Owned(values.join(&b','))];
                }
                for value in &values {
                    let text = String::from_utf8_lossy(value);
                    let token = if prefix.is_empty() {
                        Some(&*text)
                    } else {
                        text.find(&**prefix).map(|at| {
                            let rest = &text[at + prefix.len()..];
                            rest.bytes().position(is_of_token).map_or(&*text, |start| &rest[start..])
                        })
                    };
                    found.extend(token.map(|token| (self.clone(), token.to_owned())));
                }
            }
            Place::Parameter(name) => {
                if let Some(value) = query_value(request.path(), name.as_bytes()) {
                    found.push((self.clone(), String::from_utf8_lossy(value).into_owned()));
                }
            }
            Place::Cookie(name) => {
                let cookies = request.headers.known(Known::Cookie).unwrap_or_default();
                let cookies = String::from_utf8_lossy(cookies);
                let value = cookies.split(';').find_map(|pair| {
                    pair.trim().split_once('=').filter(|(known, _)| *known == &**name).map(|(_, value)| value)
                });
                found.extend(value.map(|value| (self.clone(), value.trim_matches('"').to_owned())));
            }
        }
    }

    /// Takes a token away; one in a cookie stays, as in Envoy.
    fn remove(&self, request: &mut RequestHead) {
        match self {
            Place::Header(name, _) => {
                request.headers.remove(&**name);
            }
            Place::Parameter(name) => {
                let text = String::from_utf8_lossy(request.path()).into_owned();
                let Some((path, query)) = text.split_once('?') else { return };
                let rest: Vec<&str> =
                    query.split('&').filter(|part| part.split('=').next() != Some(&**name)).collect();
                let question = if rest.is_empty() { "" } else { "?" };
                request.set_path(format!("{path}{question}{}", rest.join("&")).as_bytes());
            }
            Place::Cookie(_) => {}
        }
    }
}

impl Provider {
    /// What is asked of a token beside its signature. `audiences` take the place of the provider's own.
    pub fn check(&self, token: &Token, audiences: Option<&Audiences>, now: u64) -> Result<(), Status> {
        token.check_time(now, self.skew)?;
        if self.subjects.as_ref().is_some_and(|rule| !rule.is_match(token.subject.as_bytes())) {
            return Err(Status::VerificationFail);
        }
        let limited = self.must_expire || self.longest_life.is_some();
        if limited && token.expires == 0 {
            return Err(Status::VerificationFail);
        }
        if self.longest_life.is_some_and(|most| token.expires > now.saturating_add(most.as_secs())) {
            return Err(Status::VerificationFail);
        }
        if audiences.unwrap_or(&self.audiences).allow(&token.audiences) {
            Ok(())
        } else {
            Err(Status::AudienceNotAllowed)
        }
    }

    /// The headers that only this filter may set.
    pub fn own_headers(&self) -> impl Iterator<Item = &str> {
        let payload = self.payload_header.as_ref().map(|(name, _)| &**name);
        payload.into_iter().chain(self.claims.iter().map(|(name, _)| &**name))
    }

    /// Whether a good token changes the request.
    pub fn changes(&self, place: &Place) -> bool {
        self.payload_header.is_some()
            || !self.claims.is_empty()
            || !(self.forward || matches!(place, Place::Cookie(_)))
    }

    /// Changes the request for a good token.
    pub fn change(&self, token: &Token, place: &Place, request: &mut RequestHead) {
        if let Some((name, padded)) = &self.payload_header {
            let mut value = token.encoded_payload.to_string();
            while *padded && !value.len().is_multiple_of(4) {
                value.push('=');
            }
            request.headers.append(name.as_bytes(), value);
        }
        for (name, path) in &self.claims {
            if let Some(text) = claim(&token.payload, path) {
                request.headers.append(name.as_bytes(), text);
            }
        }
        if !self.forward {
            place.remove(request);
        }
    }

    /// What a good token leaves in the dynamic metadata.
    pub fn metadata(&self, token: &Token, found: &mut Vec<(Box<str>, MetadataValue)>) {
        if !self.header_key.is_empty() {
            found.push((self.header_key.clone(), structure(&token.header)));
        }
        if self.payload_key.is_empty() {
            return;
        }
        let mut payload = structure(&token.payload);
        if let MetadataValue::Struct(fields) = &mut payload {
            for (_, value) in fields.iter_mut().filter(|(name, _)| self.lists.iter().any(|l| **l == **name)) {
                if let MetadataValue::String(text) = &*value {
                    let words = text.split(' ').filter(|word| !word.is_empty());
                    *value =
                        MetadataValue::List(words.map(|word| MetadataValue::String(word.into())).collect());
                }
            }
        }
        found.push((self.payload_key.clone(), payload));
    }

    /// Whether a good token has the route chosen again.
    pub fn clears_route(&self) -> bool {
        self.clear_route && (!self.claims.is_empty() || !self.payload_key.is_empty())
    }
}

/// Tokens of one provider that were good, oldest first; of the keys that said so.
#[derive(Default)]
struct Good {
    keys: Option<Arc<Keys>>,
    tokens: HashMap<Box<str>, Rc<Token>>,
    order: std::collections::VecDeque<Box<str>>,
}

impl Good {
    fn is_of(&self, keys: &Arc<Keys>) -> bool {
        self.keys.as_ref().is_some_and(|own| Arc::ptr_eq(own, keys))
    }
}

thread_local! {
    static GOOD: RefCell<HashMap<u64, Good>> = RefCell::default();
}

/// Providers that a thread remembers tokens of at most; those of older configurations go with the next that comes.
const MOST_PROVIDERS: usize = 256;

impl Provider {
    /// A token that was good before, by the same keys.
    pub fn known(&self, text: &str, keys: &Arc<Keys>) -> Option<Rc<Token>> {
        self.cache?;
        GOOD.with_borrow(|good| {
            let good = good.get(&self.id).filter(|good| good.is_of(keys))?;
            good.tokens.get(text).cloned()
        })
    }

    /// Remembers a token that is good.
    pub fn remember(&self, text: &str, token: &Rc<Token>, keys: &Arc<Keys>) {
        let Some((most, _)) = self.cache.filter(|(most, longest)| *most > 0 && text.len() <= *longest) else {
            return;
        };
        GOOD.with_borrow_mut(|all| {
            if all.len() >= MOST_PROVIDERS && !all.contains_key(&self.id) {
                all.clear();
            }
            let good = all.entry(self.id).or_default();
            if !good.is_of(keys) {
                *good = Good { keys: Some(Arc::clone(keys)), ..Good::default() };
            }
            if good.tokens.insert(text.into(), Rc::clone(token)).is_none() {
                good.order.push_back(text.into());
            }
            while good.order.len() > most {
                if let Some(oldest) = good.order.pop_front() {
                    good.tokens.remove(&oldest);
                }
            }
        });
    }
}

/// A claim as a header has it: lists and objects as JSON in base64.
fn claim(claims: &Map<String, Value>, path: &[Box<str>]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let value = rest.iter().try_fold(claims.get(&**first)?, |value, key| value.get(&**key))?;
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(other)) if other >= 0.0 && other.fract() == 0.0 && other < 1.8e19 => {
                format!("{other:.0}")
            }
            (None, other) => format!("{:.6}", other?),
        }),
        Value::Array(_) | Value::Object(_) => Some(STANDARD.encode(value.to_string())),
    }
    .filter(|text| !text.bytes().any(|byte| matches!(byte, 0 | b'\r' | b'\n')))
}

fn structure(fields: &Map<String, Value>) -> MetadataValue {
    MetadataValue::Struct(fields.iter().map(|(key, value)| (key.as_str().into(), metadata(value))).collect())
}

fn metadata(value: &Value) -> MetadataValue {
    match value {
        Value::Null => MetadataValue::Null,
        Value::Bool(truth) => MetadataValue::Bool(*truth),
        Value::Number(number) => MetadataValue::Number(number.as_f64().unwrap_or_default()),
        Value::String(text) => MetadataValue::String(text.as_str().into()),
        Value::Array(items) => MetadataValue::List(items.iter().map(metadata).collect()),
        Value::Object(fields) => structure(fields),
    }
}
