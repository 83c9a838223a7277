//! Upgrades and tunnels: WebSocket over HTTP/1 and HTTP/2 (RFC 8441) on either side, CONNECT.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::client::raw::Talk::{self, Fin, Read, ReadBytes, ReadHead, ReadToEnd};
use crate::harness::upstream::Play::{self, AfterRequest};
use crate::harness::upstream::Step;
use crate::harness::upstream::answer;
use crate::harness::upstream::h2::{Answer, Ending};

/// Upgrades and CONNECT.
pub fn group() -> Group {
    let mut cases = websocket();
    cases.extend(connect());
    cases.extend(extended());
    Group { name: "upgrades", bootstrap: bootstrap(), cases }
}

fn bootstrap() -> Bootstrap {
    let routes = r#"
- {name: "off", match: {prefix: /off}, route: {cluster: a, upgrade_configs: [{upgrade_type: websocket, enabled: false}]}}
- {name: h2, match: {prefix: /h2}, route: {cluster: h2}}
- {name: refused, match: {prefix: /refused}, route: {cluster: refused}}
- {name: rest, match: {prefix: /}, route: {cluster: a}}
"#;
    let connect = r#"
- {name: terminate, match: {connect_matcher: {}, headers: [{name: ":authority", string_match: {prefix: tcp}}]}, route: {cluster: tcp, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}
- {name: proxy, match: {connect_matcher: {}}, route: {cluster: a, upgrade_configs: [{upgrade_type: CONNECT}]}}
- {name: rest, match: {prefix: /}, route: {cluster: b}}
"#;
    let websocket =
        "upgrade_configs: [{upgrade_type: websocket}]\nhttp2_protocol_options: {allow_connect: true}";
    let connects =
        "upgrade_configs: [{upgrade_type: CONNECT}]\nhttp2_protocol_options: {allow_connect: true}";
    Bootstrap::new()
        .http("ws", websocket, routes)
        .http("per-route", "", "- {name: \"on\", match: {prefix: /}, route: {cluster: a, upgrade_configs: [{upgrade_type: websocket}]}}")
        .http("connect", connects, connect)
        .http("connect-off", "upgrade_configs: [{upgrade_type: CONNECT, enabled: false}]", connect)
}

const HANDSHAKE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: x3JJHMbDL1EzLkh9GBhXDw==\r\n";

fn handshake(path: &str) -> Talk {
    Talk::Send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n{HANDSHAKE}\r\n").into())
}

fn switching() -> Vec<u8> {
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n".to_vec()
}

fn echoing() -> Play {
    AfterRequest(vec![Step::Send(switching()), Step::Echo])
}

fn bytes(text: &str) -> Talk {
    Talk::Send(text.into())
}

fn websocket() -> Vec<Case> {
    let refusal = "HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno";
    vec![
        case("websocket", "ws")
            .play("a", echoing())
            .talk([handshake("/"), ReadHead, bytes("hello"), ReadBytes(5), bytes("again"), ReadBytes(5)])
            .status(101)
            .want("2.raw", "hello")
            .want("3.raw", "again")
            .want("up:h:upgrade", "websocket")
            .want("up:h:connection", "Upgrade")
            .want("h:upgrade", "websocket"),
        case("websocket-by-route", "per-route")
            .play("a", echoing())
            .talk([handshake("/"), ReadHead, bytes("hello"), ReadBytes(5)])
            .status(101)
            .want("2.raw", "hello"),
        case("websocket-off-for-route", "ws").talk([handshake("/off"), Read]).refused(403, "-", "upgrade_failed"),
        case("websocket-other-protocol", "ws")
            .send("GET / HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n")
            .refused(403, "-", "upgrade_failed"),
        case("websocket-case-ignored", "ws")
            .play("a", echoing())
            .talk([
                Talk::Send(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n".to_vec()),
                ReadHead,
                bytes("x"),
                ReadBytes(1),
            ])
            .status(101),
        case("websocket-refused-by-application", "ws")
            .play("a", answer(refusal))
            .talk([handshake("/"), Read])
            .status(403)
            .want("body", "no"),
        case("websocket-answered-200", "ws")
            .play("a", answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"))
            .talk([handshake("/"), Read])
            .status(200)
            .want("body", "")
            .details("websocket_handshake_unsuccessful"),
        case("websocket-refused-connection", "ws").talk([handshake("/refused"), Read]).status(503).flags("UF").absent("up"),
        case("websocket-first-bytes-with-101", "ws")
            .play("a", AfterRequest(vec![Step::Send([&switching()[..], b"early"].concat()), Step::Echo]))
            .talk([handshake("/"), ReadHead, ReadBytes(5)])
            .status(101)
            .want("2.raw", "early"),
        case("websocket-upstream-closes", "ws")
            .play("a", AfterRequest(vec![Step::Send([&switching()[..], b"bye"].concat()), Step::Close]))
            .talk([handshake("/"), ReadHead, ReadToEnd])
            .status(101)
            .want("2.raw", "bye")
            .want("2.end", "eof"),
        case("websocket-upstream-half-closes", "ws")
            .play("a", AfterRequest(vec![Step::Send(switching()), Step::Receive(2), Step::Fin, Step::ReceiveAll]))
            .talk([handshake("/"), ReadHead, bytes("hi"), ReadToEnd])
            .status(101)
            .ignore("up:cut"),
        case("websocket-client-half-closes", "ws")
            .play("a", AfterRequest(vec![Step::Send(switching()), Step::ReceiveAll, Step::Close]))
            .talk([handshake("/"), ReadHead, bytes("hi"), Fin, ReadToEnd])
            .status(101)
            .want("up:raw", "hi")
            .ignore("2.end"),
    ]
}

fn connect() -> Vec<Case> {
    let to = |authority: &str| {
        Talk::Send(format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n").into())
    };
    vec![
        case("connect-terminated", "connect")
            .talk([to("tcp:80"), ReadHead, bytes("hello"), ReadBytes(5)])
            .status(200)
            .want("2.raw", "hello")
            .want("up", "tcp")
            .want("log.route", "terminate"),
        case("connect-proxied", "connect")
            .play("a", AfterRequest(vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), Step::Echo]))
            .talk([to("far:443"), ReadHead, bytes("hello"), ReadBytes(5)])
            .status(200)
            .want("2.raw", "hello")
            .want("up:line", "CONNECT far:443 HTTP/1.1"),
        case("connect-on-for-route-only", "connect-off")
            .play("a", AfterRequest(vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), Step::Echo]))
            .talk([to("far:443"), ReadHead, bytes("hello"), ReadBytes(5)])
            .status(200)
            .want("2.raw", "hello"),
        case("connect-h2-terminated", "connect")
            .call(Call {
                uri: "tcp:80".into(),
                tunnel: true,
                data: vec![b"hello".to_vec()],
                ..Call::new("CONNECT", "")
            })
            .status(200)
            .want("raw", "hello")
            .want("up", "tcp"),
        case("no-connect-beside-connect", "connect").get("/").via("b").want("log.route", "rest"),
    ]
}

fn extended() -> Vec<Case> {
    let echo = || Play::H2(Answer { end: Ending::Echo, ..Answer::default() });
    let call = |path: &str| Call::websocket(path).data(b"hello").data(b"again");
    vec![
        case("h2-websocket-to-h1", "ws")
            .play("a", echoing())
            .call(call("/"))
            .want("status", 200)
            .want("log.code", 101)
            .want("raw", "helloagain")
            .want("up:h:upgrade", "websocket")
            .want("up:line", "GET / HTTP/1.1"),
        case("h1-websocket-to-h2", "ws")
            .play("h2", echo())
            .talk([handshake("/h2"), ReadHead, bytes("hello"), ReadBytes(5)])
            .want("status", 101)
            .want("2.raw", "hello")
            .want("up:h::protocol", "websocket")
            .want("up:line", "CONNECT /h2 HTTP/2"),
        case("h2-websocket-to-h2", "ws")
            .play("h2", echo())
            .call(call("/h2"))
            .want("status", 200)
            .want("log.code", 101)
            .want("raw", "helloagain")
            .want("up:h::protocol", "websocket"),
        case("h2-websocket-off-for-route", "ws").call(call("/off")).status(403).absent("up"),
        case("h2-websocket-refused-by-application", "ws")
            .play("a", answer("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno"))
            .call(call("/"))
            .status(403)
            .want("body", "no"),
    ]
}
