//! Connections that their upstream closes as a request comes: what is sent again, and what must not be.

use ::h2::Reason;

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::client::raw::Talk::{Read, Send as Say};
use crate::harness::upstream::Play::{self, AfterRequest, AtHead};
use crate::harness::upstream::Step::{Close, Reset, Send};
use crate::harness::upstream::h2::{Answer, Ending};

/// The keep-alive race.
pub fn group() -> Group {
    Group { name: "races", bootstrap: bootstrap(), cases: cases() }
}

fn bootstrap() -> Bootstrap {
    let routes = "
- {match: {prefix: /h2-once}, route: {cluster: h2-once}}
- {match: {prefix: /h2}, route: {cluster: h2}}
- {match: {prefix: /retry}, route: {cluster: a, retry_policy: {retry_on: reset}}}
- {match: {prefix: /}, route: {cluster: a}}
";
    let buffer = "- {name: buffer, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1000}}";
    Bootstrap::new()
        .h2_cluster("h2-once", "h2", "")
        .http("races", "", routes)
        .http_filters("held", buffer, routes)
}

/// A request that leaves an idle connection, then `request`, which `then` meets on it.
fn second(name: &'static str, request: &str, then: Play) -> Case {
    let first = "GET /first HTTP/1.1\r\nhost: test\r\n\r\n";
    case(name, "races")
        .talk([Say(first.into()), Read, Say(request.into()), Read])
        .play("a", AfterRequest(vec![Send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())]))
        .play("a", then)
        .want("status", 200)
}

fn call(path: &str) -> Call {
    Call::new("GET", path)
}

fn cases() -> Vec<Case> {
    let get = "GET /second HTTP/1.1\r\nhost: test\r\n\r\n";
    let put = "PUT /second HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nbody";
    let post = "POST /second HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nbody";
    let empty_post = "POST /second HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n";
    let leaves = || AfterRequest(vec![Close]);
    let says = |text: &str| AfterRequest(vec![Send(text.as_bytes().to_vec()), Close]);
    let h2 = |name, end| {
        case(name, "races")
            .call(call("/h2"))
            .call(call("/h2"))
            .play("h2", Play::H2(Answer { body: b"first", ..Answer::default() }))
            .play("h2", Play::H2(Answer { end, ..Answer::default() }))
            .want("status", 200)
    };
    vec![
        second("idle-close", get, leaves()).want("2.status", 503).want("2.log.flags", "UC"),
        second("idle-reset", get, AfterRequest(vec![Reset])).want("2.status", 503),
        second("idle-close-head", "HEAD /second HTTP/1.1\r\nhost: test\r\n\r\n", leaves()),
        second("idle-close-delete", "DELETE /second HTTP/1.1\r\nhost: test\r\n\r\n", leaves()),
        // Lost twice: the connection that it goes out on again was opened for it.
        second("idle-close-twice", get, leaves()).play("a", leaves()).want("2.status", 503),
        second("idle-close-policy", "GET /retry HTTP/1.1\r\nhost: test\r\n\r\n", leaves())
            .want("2.status", 200)
            .ignore("3.up:h:x-envoy-expected-rq-timeout-ms"),
        second("not-post", empty_post, leaves()).want("2.status", 503).want("2.log.flags", "UC"),
        second("not-post-with-body", post, leaves()).want("2.status", 503),
        second("not-after-the-body", put, leaves()).want("2.status", 503).want("2.log.flags", "UC"),
        second("held-body", put, leaves()).at("held").want("2.status", 503),
        second("held-body-post", post, leaves()).at("held").want("2.status", 503),
        second("not-after-a-byte", get, says("HTTP/1.1 200")).want("2.status", 502),
        second("not-after-a-100", get, says("HTTP/1.1 100 Continue\r\n\r\n"))
            .want("2.status", 503)
            // Envoy calls a response begun after a 100 that it does not pass on.
            .ignore("2.log.details"),
        second("not-after-a-head", get, says("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"))
            .want("2.status", 200)
            .want_in("2.log.details", "upstream_reset_after_response_started"),
        case("not-on-a-fresh-connection", "races").get("/").play("a", leaves()).status(503).flags("UC"),
        case("not-on-a-fresh-connection-at-head", "races")
            .get("/")
            .play("a", AtHead(vec![Close]))
            .status(503)
            .flags("UC"),
        h2("h2-refused", Ending::ResetInstead(Reason::REFUSED_STREAM)).want("2.status", 503),
        h2("h2-not-reset", Ending::ResetInstead(Reason::INTERNAL_ERROR)).want("2.status", 503),
        h2("h2-dropped", Ending::Drop).want("2.status", 503),
        case("h2-not-on-a-fresh-connection", "races").call(call("/h2-once")).play(
            "h2",
            Play::H2(Answer { end: Ending::ResetInstead(Reason::REFUSED_STREAM), ..Answer::default() }),
        ),
    ]
}
