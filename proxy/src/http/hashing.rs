//! What the hash policies of a route make of a request, and which of its weighted clusters a request goes to.

use sampan_model::lb::hashing::xx_hash;
use sampan_model::route::hash_policy::{self, HashView};
use sampan_model::route::{ClusterSpecifier, Draw, HashCookie, HashPolicy};

use super::chain::Shared;
use super::connection::HttpContext;
use super::route::{Action, Forward, View};
use super::stream::Hit;

/// The hash of a request. A cookie that it lacks gets a value that stays the same for the connection, and goes to `cookies`; where there
/// are none to give to the client, a missing cookie counts for nothing.
pub(super) fn hash(
    context: &HttpContext,
    shared: &Shared<'_>,
    policies: &[HashPolicy],
    cookies: Option<&mut Vec<String>>,
) -> Option<u64> {
    let view = View { request: shared.request, tls: None };
    hash_policy::hash(policies, &view, &mut Hashed { context, shared, cookies })
}

/// A stream as hash policies see it.
struct Hashed<'h, 's> {
    context: &'h HttpContext,
    shared: &'h Shared<'s>,
    cookies: Option<&'h mut Vec<String>>,
}

impl HashView for Hashed<'_, '_> {
    fn source(&self) -> Option<String> {
        self.shared.info.remote().socket().map(|address| address.ip().to_string())
    }

    fn state(&self, key: &str) -> Option<u64> {
        let object = self.shared.info.state(key)?;
        object.hashed().map(|text| xx_hash(text.as_bytes(), 0))
    }

    fn generate(&mut self, cookie: &HashCookie) -> Option<String> {
        let cookies = self.cookies.as_mut()?;
        let info = &self.context.info;
        let connection = format!("{}{}", info.direct_remote, info.local);
        let value = format!("{:016x}", xx_hash(connection.as_bytes(), 0));
        cookies.push(cookie.set(&value));
        Some(value)
    }
}

/// Which of the weighted clusters of a route a request goes to; nothing is asked of it where the route has none.
#[inline]
pub(super) fn share(context: &HttpContext, shared: &Shared<'_>, hit: &Hit<'_>, random: u64) -> usize {
    let Action::Forward(forward) = &hit.route.payload.action else { return 0 };
    let ClusterSpecifier::Weighted(clusters) = &forward.action.cluster else { return 0 };
    let drawn = clusters.draw().and_then(|draw| drawn(draw, context, shared, forward));
    clusters.choose(drawn.unwrap_or(random), &*context.worker.snapshot_ref().runtime)
}

/// What takes the place of the random value: the number in a header that is there once, or else the hash.
#[cold]
fn drawn(draw: &Draw, context: &HttpContext, shared: &Shared<'_>, forward: &Forward) -> Option<u64> {
    let by_header = draw.header.as_ref().and_then(|name| {
        let mut values = shared.request.headers.values(name.as_bytes());
        let only = values.next().filter(|_| values.next().is_none())?;
        let text = std::str::from_utf8(only).ok()?.trim();
        text.parse().ok()
    });
    let by_hash = || draw.by_hash.then(|| hash(context, shared, &forward.hash_policies, None)).flatten();
    by_header.or_else(by_hash)
}
