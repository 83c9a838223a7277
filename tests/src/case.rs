//! The vocabulary of differential cases: what the client does, what the upstreams answer, which facts must hold.
//!
//! Cases are written in [`crate::cases`] as chains of these methods and played by [`crate::run`].

use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::client::raw::Talk;
use crate::harness::upstream::Play;

/// Cases that share one bootstrap, and so one process of each proxy.
pub struct Group {
    /// The topic; the first part of each case's full name.
    pub name: &'static str,
    /// The configuration of both proxies.
    pub bootstrap: Bootstrap,
    /// What is played, in order.
    pub cases: Vec<Case>,
}

/// What a case's client does.
#[derive(Clone, Debug)]
pub enum Client {
    /// Moves on numbered raw connections, each opened by its first move.
    Raw(Vec<(usize, Talk)>),
    /// HTTP/2 requests, one after the other on one connection.
    H2(Vec<Call>),
    /// HTTP/2 frames, and the streams whose outcome is waited for.
    Frames(Vec<u8>, Vec<u32>),
}

impl Client {
    /// How many responses it reads.
    pub fn exchanges(&self) -> usize {
        match self {
            Self::Raw(script) => {
                script.iter().filter(|(_, talk)| matches!(talk, Talk::Read | Talk::ReadHead)).count()
            }
            Self::H2(calls) => calls.len(),
            Self::Frames(..) => 1,
        }
    }
}

/// What a fact must be.
#[derive(Clone, Debug)]
pub enum Want {
    /// Exactly this.
    Is(String),
    /// Something containing this.
    Contains(String),
    /// Not there.
    Absent,
}

/// One differential case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, unique in the group.
    pub name: &'static str,
    /// The listener the client connects to.
    pub listener: &'static str,
    /// What the client does.
    pub client: Client,
    /// Scripts by upstream.
    pub plays: Vec<(&'static str, Play)>,
    /// How many access log lines to wait for; by default one for each response read.
    pub log_lines: Option<usize>,
    /// Facts that Envoy must show.
    pub wants: Vec<(String, Want)>,
    /// Prefixes of facts that are not compared, with nothing to be learned from them.
    pub ignored: Vec<&'static str>,
    /// If set, the prefixes of the only facts that are compared.
    pub only: Option<&'static [&'static str]>,
    /// If set, an expression for the names of the stats that are facts of the case, as they stand at its end.
    pub stats: Option<&'static str>,
    /// Whether what the upstreams received is in the order of their names, where it is chance which comes first.
    pub by_upstream: bool,
}

/// A case on `listener`, of which nothing is said yet.
pub fn case(name: &'static str, listener: &'static str) -> Case {
    Case {
        name,
        listener,
        client: Client::Raw(Vec::new()),
        plays: Vec::new(),
        log_lines: None,
        wants: Vec::new(),
        ignored: Vec::new(),
        only: None,
        stats: None,
        by_upstream: false,
    }
}

impl Case {
    /// Connects to another listener.
    pub fn at(mut self, listener: &'static str) -> Self {
        self.listener = listener;
        self
    }

    /// Writes these bytes on the first connection and reads one response.
    pub fn send(self, bytes: impl AsRef<[u8]>) -> Self {
        self.talk([Talk::Send(bytes.as_ref().to_vec()), Talk::Read])
    }

    /// Sends a GET for `path` with `Host: test`.
    pub fn get(self, path: &str) -> Self {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))
    }

    /// Sends a GET for `path` with these header lines, each ending in CRLF; they must bring the host.
    pub fn get_with(self, path: &str, header_lines: &str) -> Self {
        self.send(format!("GET {path} HTTP/1.1\r\n{header_lines}\r\n"))
    }

    /// Sends a POST of `body` with a length.
    pub fn post(self, path: &str, body: &str) -> Self {
        let length = body.len();
        self.send(format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}"))
    }

    /// Moves on the first raw connection.
    pub fn talk(self, moves: impl IntoIterator<Item = Talk>) -> Self {
        self.on(0, moves)
    }

    /// Moves on a numbered raw connection.
    pub fn on(mut self, connection: usize, moves: impl IntoIterator<Item = Talk>) -> Self {
        let Client::Raw(script) = &mut self.client else { panic!("{}: two kinds of client", self.name) };
        script.extend(moves.into_iter().map(|talk| (connection, talk)));
        self
    }

    /// Demands that the proxy close the first connection after what was read so far; `fact` is where that will be said, such as
    /// `2.end` after one response.
    pub fn closes(self, fact: &str) -> Self {
        self.talk([Talk::AwaitClose]).want(fact, "closed")
    }

    /// Makes an HTTP/2 request.
    pub fn call(mut self, call: Call) -> Self {
        match &mut self.client {
            Client::H2(calls) => calls.push(call),
            _ => self.client = Client::H2(vec![call]),
        }
        self
    }

    /// Sends HTTP/2 frames and waits for the outcome of `streams`.
    pub fn frames(mut self, frames: impl IntoIterator<Item = Vec<u8>>, streams: &[u32]) -> Self {
        self.client = Client::Frames(frames.into_iter().flatten().collect(), streams.to_vec());
        self
    }

    /// Adds to an upstream's script.
    pub fn play(mut self, upstream: &'static str, play: Play) -> Self {
        self.plays.push((upstream, play));
        self
    }

    /// Compares the stats whose names match an expression and which are not zero, as `stat:<name>`.
    pub fn stats(mut self, expression: &'static str) -> Self {
        self.stats = Some(expression);
        self
    }

    /// Orders what the upstreams received by their names: for requests that are sent at once.
    pub fn by_upstream(mut self) -> Self {
        self.by_upstream = true;
        self
    }

    /// Sets how many access log lines there will be.
    pub fn logs(mut self, count: usize) -> Self {
        self.log_lines = Some(count);
        self
    }

    /// Demands a fact.
    pub fn want(mut self, fact: &str, value: impl ToString) -> Self {
        self.wants.push((fact.to_owned(), Want::Is(value.to_string())));
        self
    }

    /// Demands that a fact contain `part`.
    pub fn want_in(mut self, fact: &str, part: &str) -> Self {
        self.wants.push((fact.to_owned(), Want::Contains(part.to_owned())));
        self
    }

    /// Demands that a fact be absent.
    pub fn absent(mut self, fact: &str) -> Self {
        self.wants.push((fact.to_owned(), Want::Absent));
        self
    }

    /// Demands the status, as the client and the log see it.
    pub fn status(self, status: u16) -> Self {
        self.want("status", status).want("log.code", status)
    }

    /// Demands 200 by the upstream of this name.
    pub fn via(self, upstream: &str) -> Self {
        self.status(200).want("up", upstream)
    }

    /// Demands a local reply: status, flags (`-` for none) and details; nothing may have reached an upstream.
    pub fn refused(self, status: u16, flags: &str, details: &str) -> Self {
        self.status(status).flags(flags).want("log.details", details).absent("up")
    }

    /// Demands response flags, `-` for none.
    pub fn flags(self, flags: &str) -> Self {
        if flags == "-" { self.absent("log.flags") } else { self.want("log.flags", flags) }
    }

    /// Demands the response code details.
    pub fn details(self, details: &str) -> Self {
        self.want("log.details", details)
    }

    /// Leaves out of the comparison the facts whose names begin so.
    pub fn ignore(mut self, prefix: &'static str) -> Self {
        self.ignored.push(prefix);
        self
    }

    /// Compares only the facts whose names begin so: for floods, of which it is chance how far each gets.
    pub fn only(mut self, prefixes: &'static [&'static str]) -> Self {
        self.only = Some(prefixes);
        self
    }
}
