//! Internal redirects (`internal_redirect_policy`): the upstream answers with a redirect, and the proxy follows it in place of the
//! client.
//!
//! ```text
//! response --a status of the policy--> request complete, body kept, Location good, within the limit, a route for it, predicates
//!     all hold --> the request's head is changed; its stream is logged and begins anew with it, filters included
//!     one fails --> counted; the response goes to the client
//! ```
//! Called by [`super::sides`] when a response head has come.

use sampan_filters_api::{Known, RequestHead, ResponseHead};

use super::anew;
use super::chain::Shared;
use super::extras::Extras;
use super::relay::Relay;
use super::route::{InternalRedirects, RedirectPredicate};
use super::stream::{self, Hit};
use super::target::Target;
use crate::telemetry::stats::kinds::{ClusterCounter, HttpRouterCounter};

/// A route's name, where it has one.
type Name = Option<Box<str>>;

/// The redirects that were followed on the way to a request.
#[derive(Default)]
pub struct Followed {
    count: u32,
    /// From which route to which, by name.
    routes: Vec<(Name, Name)>,
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The request is not complete, its body was not kept, or there is no `location`.
    Impossible,
    Counted(HttpRouterCounter),
}

impl From<HttpRouterCounter> for Refusal {
    fn from(counter: HttpRouterCounter) -> Self {
        Self::Counted(counter)
    }
}

/// Makes the request that a response asks for, and says whether it did; if not, the request is as it was.
pub(super) fn follow(
    relay: &Relay<'_, '_, '_>,
    extras: &Extras<'_>,
    rules: &InternalRedirects,
    target: &Target<'_>,
    response: &ResponseHead,
) -> bool {
    if !rules.statuses.contains(&response.status) {
        return false;
    }
    let mut shared = relay.shared.borrow_mut();
    let refusal = match redirect(relay, extras, rules, response, &mut shared) {
        Ok(()) => return true,
        Err(refusal) => refusal,
    };
    if let Refusal::Counted(counter) = refusal {
        relay.context.stats.router.inc(counter);
    }
    target.cluster.stats().inc(ClusterCounter::UpstreamInternalRedirectFailedTotal);
    false
}

fn redirect(
    relay: &Relay<'_, '_, '_>,
    extras: &Extras<'_>,
    rules: &InternalRedirects,
    response: &ResponseHead,
    shared: &mut Shared<'_>,
) -> Result<(), Refusal> {
    let location = response.headers.known(Known::Location).ok_or(Refusal::Impossible)?;
    if relay.progress.request_done.get().is_none() || !extras.is_whole() {
        return Err(Refusal::Impossible);
    }
    let url = Url::parse(location).ok_or(HttpRouterCounter::PassthroughInternalRedirectBadLocation)?;
    let plain = shared.request.scheme().eq_ignore_ascii_case(b"http") || relay.context.info.tls.is_none();
    if !rules.cross_scheme && plain == url.secure {
        return Err(HttpRouterCounter::PassthroughInternalRedirectUnsafeScheme.into());
    }
    if shared.redirects.as_ref().is_some_and(|followed| followed.count >= rules.most) || rules.most == 0 {
        return Err(HttpRouterCounter::PassthroughInternalRedirectTooManyRedirects.into());
    }
    let before = shared.request.clone();
    rewrite(shared.request, &url, rules, response);
    let hit = stream::find(relay.context, relay.plan.routes, shared, relay.plan.random);
    let accepted = match &hit {
        None => Err(HttpRouterCounter::PassthroughInternalRedirectNoRoute),
        Some(hit) if accepts(rules, relay, shared, hit, plain, &url) => Ok(()),
        Some(_) => Err(HttpRouterCounter::PassthroughInternalRedirectPredicate),
    };
    if let Err(counter) = accepted {
        // The log tells where it would have led.
        let hit = hit.as_ref();
        anew::note_target(relay.context, shared, hit, relay.plan.random);
        *shared.request = before;
        return Err(counter.into());
    }
    let method = shared.request.method();
    if response.status == 303 && method != b"GET" && method != b"HEAD" {
        // RFC 9110 §15.4.4: what comes of a POST is fetched.
        shared.request.set_method(b"GET");
        shared.request.headers.remove_known(Known::ContentLength);
        extras.take_body();
    }
    let scheme: &[u8] = if plain { b"http" } else { b"https" };
    let original = [scheme, b"://", before.authority(), before.path()].concat();
    shared.request.headers.set("x-envoy-original-url", &original);
    note(relay, shared, hit.as_ref(), response);
    Ok(())
}

/// Whether all predicates take the route.
fn accepts(
    rules: &InternalRedirects,
    relay: &Relay<'_, '_, '_>,
    shared: &Shared<'_>,
    hit: &Hit<'_>,
    plain: bool,
    url: &Url<'_>,
) -> bool {
    let name = hit.route.payload.facts.name.as_deref();
    rules.predicates.iter().all(|predicate| match predicate {
        RedirectPredicate::PreviousRoutes => {
            let from = relay.plan.hit.route.payload.facts.name.as_deref();
            let known = shared.redirects.as_ref().map(|followed| &followed.routes[..]).unwrap_or_default();
            !known.iter().any(|(old, to)| old.as_deref() == from && to.as_deref() == name)
        }
        RedirectPredicate::AllowListed(names) => {
            names.iter().any(|allowed| **allowed == *name.unwrap_or_default())
        }
        RedirectPredicate::SafeCrossScheme => !plain || !url.secure,
    })
}

/// The head of the request that the response asks for.
fn rewrite(request: &mut RequestHead, url: &Url<'_>, rules: &InternalRedirects, response: &ResponseHead) {
    for name in &rules.copied {
        let name = name.as_bytes();
        request.headers.remove(name);
        for value in response.headers.values(name) {
            request.headers.append(name, value);
        }
    }
    request.set_scheme(if url.secure { b"https" } else { b"http" });
    request.set_authority(url.authority);
    request.set_path(&url.path());
}

/// What the log says of the stream that is over, and what is remembered for the one that begins.
fn note(relay: &Relay<'_, '_, '_>, shared: &mut Shared<'_>, hit: Option<&Hit<'_>>, response: &ResponseHead) {
    let followed = shared.redirects.get_or_insert_default();
    followed.count += 1;
    let to = hit.and_then(|hit| hit.route.payload.facts.name.clone());
    followed.routes.push((relay.plan.hit.route.payload.facts.name.clone(), to));
    anew::note_target(relay.context, shared, hit, relay.plan.random);
    shared.info.details = "internal_redirect".into();
    shared.info.response_code = response.status;
    shared.response.clone_from(response);
    shared.has_response = true;
}

/// An absolute URL of HTTP, as far as a redirect needs it.
#[derive(Debug, PartialEq, Eq)]
struct Url<'u> {
    secure: bool,
    authority: &'u [u8],
    /// Path and query, without fragment; may be empty or begin with `?`.
    rest: &'u [u8],
}

impl<'u> Url<'u> {
    fn parse(text: &'u [u8]) -> Option<Self> {
        let colon = memchr::memchr(b':', text)?;
        let secure = match text[..colon].to_ascii_lowercase().as_slice() {
            b"http" => false,
            b"https" => true,
            _ => return None,
        };
        let rest = text[colon..].strip_prefix(b"://")?;
        let rest = &rest[..memchr::memchr(b'#', rest).unwrap_or(rest.len())];
        if !rest.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // Whose they are is not the host's concern.
        let authority = &authority[memchr::memrchr(b'@', authority).map_or(0, |at| at + 1)..];
        (!authority.is_empty() && !authority.starts_with(b":")).then_some(Self { secure, authority, rest })
    }

    fn path(&self) -> Vec<u8> {
        let slash: &[u8] = if self.rest.starts_with(b"/") { b"" } else { b"/" };
        [slash, self.rest].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        for (text, secure, authority, path) in [
            ("http://h/p?q#f", false, "h", "/p?q"),
            ("https://h:8080", true, "h:8080", "/"),
            ("HTTP://h?q", false, "h", "/?q"),
            ("http://u:p@h/x@y", false, "h", "/x@y"),
            ("http://[::1]:80/p", false, "[::1]:80", "/p"),
        ] {
            let url = Url::parse(text.as_bytes()).unwrap();
            assert_eq!((url.secure, url.authority, url.path()), (secure, authority.as_bytes(), path.into()));
        }
        for text in [
            "",
            "/p",
            "//h/p",
            "h/p",
            "ftp://h/",
            "http:/h",
            "http://",
            "http:///p",
            "http://:80/",
            "http://h/ p",
        ] {
            assert_eq!(Url::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn headers_of_the_response_go_along() {
        let mut request = RequestHead::default();
        request.headers.append("x-gone", "old");
        request.headers.append("x-kept", "old");
        let mut response = ResponseHead::default();
        response.headers.append("x-new", "1");
        response.headers.append("x-new", "2");
        let rules = InternalRedirects {
            most: 1,
            statuses: vec![302],
            predicates: Vec::new(),
            cross_scheme: false,
            copied: vec!["x-gone".into(), "x-new".into()],
        };
        rewrite(&mut request, &Url::parse(b"https://h/p").unwrap(), &rules, &response);
        assert_eq!(request.headers.value("x-gone"), None);
        assert_eq!(request.headers.value("x-kept"), Some(&b"old"[..]));
        assert_eq!(request.headers.values(b"x-new").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(
            (request.scheme(), request.authority(), request.path()),
            (&b"https"[..], &b"h"[..], &b"/p"[..])
        );
    }
}
