//! Turns what a client, the upstreams and the access log saw into a flat list of named facts, the same for both proxies.
//!
//! | fact | meaning |
//! |---|---|
//! | `status` `h:<name>` `body` `trailer:<name>` | the response; `1xx` lists informational ones, `end` an unclean end, `raw` tunnel bytes |
//! | `up` `up:line` `up:h:<name>` `up:body` `up:trailer:<name>` `up:connection` `up:cut` `up:raw` | what an upstream received |
//! | `up:m:<path>` | a field of a message to a service that filters ask, see [`super::service`] |
//! | `stat:<name>` | a stat at the end of the case, where the case asks for it |
//! | `log.<field>` | the access log's line, fields as in [`super::access_log::JSON_FORMAT`] |
//!
//! A body is told as its `content-encoding` decodes it. A second response, request or line has its facts prefixed `2.`, and so on. What differs from run to run (dates, generated ids,
//! times, ports) is replaced by a word in angle brackets.

use std::collections::BTreeMap;
use std::net::UdpSocket;

use serde_json::{Map, Value};

use super::client::Reply;
use super::client::frames::Seen;
use super::coding;
use super::service;
use super::upstream::Received;
use super::wire::printable;

/// Named facts about one run of a case.
pub type Facts = BTreeMap<String, String>;

/// What is known about a run and hides what is particular to it.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    ports: Vec<(String, String)>,
    host: String,
}

impl Masks {
    /// Replaces each port by its name in angle brackets.
    pub fn new<'a>(ports: impl IntoIterator<Item = (&'a str, u16)>) -> Self {
        let ports = ports.into_iter().map(|(name, port)| (port.to_string(), format!("<{name}>"))).collect();
        Self { ports, host: host_address() }
    }

    fn apply(&self, text: &str) -> String {
        let text = text.replace(&self.host, "<host>");
        if !text.contains(':') {
            return text;
        }
        self.ports.iter().fold(text, |text, (port, name)| {
            text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{name}"))
        })
    }

    /// A field of a message, by its path.
    fn message_field(&self, path: &str, value: &str) -> String {
        match path.rsplit('.').next().unwrap_or(path) {
            "time" => "<time>".into(),
            "id" => "<id>".into(),
            "x-request-id" if is_uuid(value) => "<uuid>".into(),
            "port_value" => {
                let known = self.ports.iter().find(|(port, _)| port == value);
                known.map_or_else(|| value.to_owned(), |(_, name)| name.clone())
            }
            _ => self.apply(value),
        }
    }

    fn field(&self, name: &str, value: &str) -> String {
        match name.to_ascii_lowercase().as_str() {
            "date" => "<date>".into(),
            "x-envoy-upstream-service-time" => "<ms>".into(),
            "x-request-id" if is_uuid(value) => "<uuid>".into(),
            "x-envoy-expected-rq-timeout-ms" | "x-envoy-original-path" => value.to_owned(),
            _ => self.apply(value),
        }
    }
}

/// Adds the facts of the `index`th response.
pub fn reply(facts: &mut Facts, masks: &Masks, index: usize, reply: &Reply) {
    let p = prefix(index);
    if !reply.informational.is_empty() {
        facts.insert(format!("{p}1xx"), format!("{:?}", reply.informational));
    }
    if let Some(end) = &reply.end {
        facts.insert(format!("{p}end"), end.clone());
    }
    if let Some(raw) = &reply.raw {
        facts.insert(format!("{p}raw"), masks.apply(&printable(raw)));
    }
    let message = &reply.message;
    if !message.line.is_empty() {
        facts.insert(format!("{p}status"), message.status().to_string());
        facts.insert(format!("{p}body"), masks.apply(&printable(&coding::body(message))));
        fields(facts, masks, &format!("{p}h:"), &message.headers);
        fields(facts, masks, &format!("{p}trailer:"), &message.trailers);
    }
}

/// Adds the facts of the `index`th request that an upstream received.
pub fn received(facts: &mut Facts, masks: &Masks, index: usize, received: &Received) {
    let p = format!("{}up", prefix(index));
    facts.insert(p.clone(), received.upstream.to_owned());
    facts.insert(format!("{p}:connection"), received.connection.to_string());
    if let Some(cut) = received.message.cut {
        facts.insert(format!("{p}:cut"), cut.word().to_owned());
    }
    if !received.raw.is_empty() {
        facts.insert(format!("{p}:raw"), printable(&received.raw));
    }
    let message = &received.message;
    if !message.line.is_empty() {
        facts.insert(format!("{p}:line"), masks.apply(&message.line));
        match service::fields(&message.line, &message.body) {
            None => {
                facts.insert(format!("{p}:body"), printable(&coding::body(message)));
            }
            Some(fields) => {
                let shown = |(name, value): (String, String)| {
                    let value = masks.message_field(&name, &value);
                    (format!("{p}:m:{name}"), value)
                };
                facts.extend(fields.into_iter().map(shown));
            }
        }
        fields(facts, masks, &format!("{p}:h:"), &message.headers);
        fields(facts, masks, &format!("{p}:trailer:"), &message.trailers);
    }
}

/// Adds the facts of the `index`th access log line. Empty fields are left out.
pub fn log_line(facts: &mut Facts, masks: &Masks, index: usize, line: &Map<String, Value>) {
    let p = prefix(index);
    for (name, value) in line {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if name != "peer" && text != "-" {
            facts.insert(format!("{p}log.{name}"), masks.apply(&text));
        }
    }
}

/// Adds what a frame-by-frame client saw.
pub fn frames(facts: &mut Facts, seen: &Seen) {
    for (id, outcome) in &seen.streams {
        facts.insert(format!("stream {id}"), outcome.clone());
    }
    if let Some(code) = seen.goaway {
        facts.insert("goaway".into(), h2::Reason::from(code).description().to_owned());
    }
    // Whether a hostile connection ends by FIN or RST depends on how much of its input was left unread.
    let end = if matches!(seen.end.as_str(), "eof" | "reset") { "closed" } else { seen.end.as_str() };
    facts.insert("end".into(), end.to_owned());
}

fn prefix(index: usize) -> String {
    if index == 0 { String::new() } else { format!("{}.", index + 1) }
}

/// Repeated fields become one fact, their values joined by ` | ` in order.
fn fields(facts: &mut Facts, masks: &Masks, prefix: &str, fields: &[(String, String)]) {
    for (name, value) in fields {
        let value = masks.field(name, value);
        facts
            .entry(format!("{prefix}{name}"))
            .and_modify(|all| {
                all.push_str(" | ");
                all.push_str(&value);
            })
            .or_insert(value);
    }
}

/// The machine's own address, which Envoy puts for a client on the loopback. Nothing is sent to the address named here.
fn host_address() -> String {
    let route = UdpSocket::bind(("0.0.0.0", 0)).and_then(|socket| {
        socket.connect(("198.51.100.1", 9))?;
        socket.local_addr()
    });
    route.map_or_else(|_| "no address".to_owned(), |address| address.ip().to_string())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}
