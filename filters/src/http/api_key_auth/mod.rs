//! `envoy.filters.http.api_key_auth`: lets only clients pass that bring a key which is on a list.

pub mod config;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sampan_filters_api::http::{Flow, HttpFilter, HttpFilterFactory, Phases, Start, Stream};
use sampan_filters_api::{Counters, LocalReply, RequestHead};
use sampan_model::route::query_value;

/// Keys, and the clients whose they are. Not for eyes: it has no `Debug`.
#[derive(Default)]
pub struct Credentials(pub HashMap<Box<str>, Arc<str>>);

/// Where a key may be; they are asked in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `header`; `Bearer ` before the key is left out.
    Header(Box<str>),
    /// `query`
    Query(Box<str>),
    /// `cookie`
    Cookie(Box<str>),
}

/// `forwarding`
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    /// `header`: where the client's name goes; none if empty.
    pub header: Option<Box<str>>,
    /// `hide_credentials`
    pub hide: bool,
}

/// A filter's configuration; a route's has parts of it.
#[derive(Default)]
pub struct Access {
    /// `credentials`
    pub credentials: Option<Credentials>,
    /// `key_sources`
    pub sources: Vec<KeySource>,
    /// `forwarding`
    pub forwarding: Option<Forwarding>,
    /// `allowed_clients`, of a route; none for all.
    pub clients: Option<HashSet<Box<str>>>,
}

/// The names of [`ApiKeyAuth::counters`].
pub const COUNTERS: &[&str] = &["allowed", "unauthorized", "forbidden"];

/// The factory.
pub struct ApiKeyAuth {
    /// The filter's own configuration.
    pub access: Arc<Access>,
    /// `api_key_auth.…`
    pub counters: Arc<Counters>,
}

/// One stream.
struct Instance {
    own: Arc<Access>,
    route: Option<Arc<Access>>,
    counters: Arc<Counters>,
}

impl HttpFilterFactory for ApiKeyAuth {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
    }

    fn create(&self, start: &Start<'_>) -> Option<Box<dyn HttpFilter>> {
        let (own, counters) = (Arc::clone(&self.access), Arc::clone(&self.counters));
        Some(Box::new(Instance { own, route: start.route::<Access>(), counters }))
    }
}

impl HttpFilter for Instance {
    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        let route = self.route.as_deref();
        let sources = route.map(|route| &route.sources).filter(|sources| !sources.is_empty());
        let sources = sources.unwrap_or(&self.own.sources);
        let credentials =
            route.and_then(|route| route.credentials.as_ref()).or(self.own.credentials.as_ref());
        let unauthorized = |details: &'static str| {
            self.counters.inc(1);
            let reply = LocalReply::new(401, details).body("Client authentication failed.");
            Flow::Reply(Box::new(reply))
        };
        let Some(key) = sources.iter().find_map(|source| source.key(stream.request)) else {
            return unauthorized("missing_api_key");
        };
        let client = std::str::from_utf8(&key).ok().and_then(|key| credentials?.0.get(key));
        let Some(client) = client else { return unauthorized("unknown_api_key") };
        let allowed = route.and_then(|route| route.clients.as_ref());
        if allowed.is_some_and(|allowed| !allowed.contains(&**client)) {
            self.counters.inc(2);
            let reply = LocalReply::new(403, "client_not_allowed").body("Client is forbidden.");
            return Flow::Reply(Box::new(reply));
        }
        self.counters.inc(0);
        // A route's configuration says all there is to say about it, as in Envoy.
        let forwarding = route.unwrap_or(&self.own).forwarding.as_ref();
        if let Some(forwarding) = forwarding {
            if forwarding.hide {
                for source in sources {
                    source.hide(stream.request);
                }
            }
            if let Some(header) = &forwarding.header {
                stream.request.headers.set(&**header, client.as_bytes());
            }
        }
        Flow::Continue
    }
}

impl KeySource {
    /// The key of a request; none if it is empty.
    fn key(&self, request: &RequestHead) -> Option<Vec<u8>> {
        let key = match self {
            Self::Header(name) => {
                let value = request.field(name.as_bytes())?;
                value.strip_prefix(b"Bearer ").unwrap_or(value)
            }
            Self::Query(name) => query_value(request.path(), name.as_bytes())?,
            Self::Cookie(name) => {
                let pairs =
                    request.headers.values(b"cookie").flat_map(|line| line.split(|byte| *byte == b';'));
                let mut found = pairs.filter_map(|pair| value_of(pair, name));
                found.next()?
            }
        };
        (!key.is_empty()).then(|| key.to_vec())
    }

    /// Takes the key out of a request.
    fn hide(&self, request: &mut RequestHead) {
        match self {
            Self::Header(name) => {
                request.headers.remove(&**name);
            }
            Self::Query(name) => {
                if query_value(request.path(), name.as_bytes()).is_some() {
                    let path = without_parameter(request.path(), name.as_bytes());
                    request.set_path(&path);
                }
            }
            Self::Cookie(name) => {
                let lines: Vec<Vec<u8>> = request
                    .headers
                    .values(b"cookie")
                    .map(|line| {
                        let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
                        let kept: Vec<&[u8]> = pairs.filter(|pair| value_of(pair, name).is_none()).collect();
                        kept.join(&b"; "[..])
                    })
                    .filter(|line| !line.is_empty())
                    .collect();
                request.headers.remove("cookie");
                for line in lines {
                    request.headers.append("cookie", line);
                }
            }
        }
    }
}

fn value_of<'p>(pair: &'p [u8], name: &str) -> Option<&'p [u8]> {
    pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

fn without_parameter(path: &[u8], name: &[u8]) -> Vec<u8> {
    let Some(at) = path.iter().position(|byte| *byte == b'?') else { return path.to_vec() };
    let (base, query) = (&path[..at], &path[at + 1..]);
    let parameters = query.split(|byte| *byte == b'&');
    let kept: Vec<&[u8]> =
        parameters.filter(|parameter| parameter.split(|byte| *byte == b'=').next() != Some(name)).collect();
    if kept.is_empty() { base.to_vec() } else { [base, b"?", &kept.join(&b'&')].concat() }
}
