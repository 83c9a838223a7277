//! Plays rows of first bytes against both programs and compares what comes of them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use sampan_tests::harness::bootstrap::Bootstrap;
use sampan_tests::harness::process::{Process, Program};
use sampan_tests::harness::{PATIENCE, poll};

/// A direct response that says the chain's name: which chain it was is what the client reads.
pub fn chain(name: &str, matching: &str) -> String {
    let matching =
        if matching.is_empty() { String::new() } else { format!("filter_chain_match: {{{matching}}}, ") };
    format!(
        "{{name: {name}, {matching}filters: [{{name: d, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config, response: {{inline_string: {name}}}}}}}]}}"
    )
}

/// A listener filter by the last part of its type, with its fields (each behind a comma).
pub fn filter(kind: &str, fields: &str) -> String {
    format!(
        "{{name: f, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.listener.{kind}{fields}}}}}"
    )
}

/// Listeners whose counters bear their names.
pub trait Counted {
    /// Adds a listener; see [`Bootstrap::listener_of`].
    fn counted(self, name: &str, fields: &str) -> Self;
}

impl Counted for Bootstrap {
    fn counted(self, name: &str, fields: &str) -> Self {
        self.listener_of(name, &format!("stat_prefix: {name}\n{fields}"))
    }
}

/// One connection.
pub struct Row {
    pub listener: &'static str,
    pub label: &'static str,
    /// What the client writes; each part is a packet.
    pub parts: Vec<Vec<u8>>,
    /// Whether it closes its half then.
    pub fin: bool,
    /// What it must read, in both programs.
    pub says: &'static str,
    /// What it reads of ours, where that is something else on purpose.
    pub ours: Option<&'static str>,
    /// The counters that must move by one in both programs, without the ones of connections as such.
    pub counts: &'static [&'static str],
    /// Those of ours, where they are others on purpose.
    pub our_counts: Option<&'static [&'static str]>,
}

/// A row of which only its bytes are said.
pub fn row(listener: &'static str, label: &'static str, bytes: impl AsRef<[u8]>) -> Row {
    let parts = vec![bytes.as_ref().to_vec()];
    Row { listener, label, parts, fin: false, says: "", ours: None, counts: &[], our_counts: None }
}

impl Row {
    /// What both must say.
    pub fn says(mut self, text: &'static str) -> Self {
        self.says = text;
        self
    }

    /// What both must count.
    pub fn counts(mut self, counters: &'static [&'static str]) -> Self {
        self.counts = counters;
        self
    }

    /// What ours says and counts where it differs on purpose.
    pub fn ours(mut self, text: &'static str, counters: &'static [&'static str]) -> Self {
        self.ours = Some(text);
        self.our_counts = Some(counters);
        self
    }

    /// Closes the client's half after the bytes.
    pub fn fin(mut self) -> Self {
        self.fin = true;
        self
    }

    /// Writes byte after byte.
    pub fn bytewise(mut self) -> Self {
        self.parts = self.parts.concat().into_iter().map(|byte| vec![byte]).collect();
        self
    }
}

/// What came of a row.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    said: String,
    counted: BTreeMap<String, u64>,
}

/// Counters that belong to listener filters and to the choice of a chain.
const WATCHED: &str =
    "(inspector|proxy_proto|pre_cx_timeout|listener_filter_|no_filter_chain_match|_cx_total)";

/// Plays rows against both programs.
#[track_caller]
pub fn play(bootstrap: &Bootstrap, rows: &[Row]) {
    let config = bootstrap.render(&[], "/dev/null");
    let mut faults = Vec::new();
    let [ours, envoys] = [Program::Sampan, Program::Envoy].map(|program| {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start(program, &config, dir.path(), &[]);
        rows.iter().map(|row| one(&process, row)).collect::<Vec<_>>()
    });
    for ((row, ours), envoys) in rows.iter().zip(ours).zip(envoys) {
        let wanted = |says: &str, counts: &[&str]| {
            // Only a connection that gets a chain counts as one of its listener's.
            let total = format!("listener.{}.downstream_cx_total", row.listener);
            let counted = counts.iter().map(|name| name.replace("$L", row.listener));
            let counted = counted.chain((!says.is_empty()).then_some(total));
            Outcome { said: says.to_owned(), counted: counted.map(|name| (name, 1)).collect() }
        };
        let of_envoy = wanted(row.says, row.counts);
        let of_ours = wanted(row.ours.unwrap_or(row.says), row.our_counts.unwrap_or(row.counts));
        for (program, found, wanted) in [("envoy", envoys, of_envoy), ("sampan", ours, of_ours)] {
            if found != wanted {
                faults.push(format!(
                    "{program}: {} {}: {found:?}\n   wanted {wanted:?}",
                    row.listener, row.label
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), rows.len(), faults.join("\n"));
}

fn one(process: &Process, row: &Row) -> Outcome {
    let counters = || -> BTreeMap<String, u64> {
        let stats = process.stats(WATCHED).into_iter();
        stats
            .filter(|(name, _)| {
                !name.contains("admin") && !name.contains("worker_") && !name.starts_with("http.")
            })
            .collect()
    };
    let before = counters();
    let said = converse(process.port(row.listener), row);
    let moved = || -> BTreeMap<String, u64> {
        let changed = counters().into_iter().map(|(name, now)| {
            let then = before.get(&name).copied().unwrap_or_default();
            (name, now - then)
        });
        changed.filter(|(_, by)| *by > 0).collect()
    };
    // Counters follow the connection's end by a moment; every row moves at least one.
    let wanted = row.counts.len().min(row.our_counts.map_or(usize::MAX, <[_]>::len)).max(1);
    let mut counted = BTreeMap::new();
    poll(PATIENCE, || {
        counted = moved();
        (counted.len() >= wanted).then_some(())
    });
    Outcome { said, counted }
}

/// What the server says until the connection ends, in order or not.
fn converse(port: u16, row: &Row) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for part in &row.parts {
        if stream.write_all(part).is_err() {
            break;
        }
        if row.parts.len() > 1 {
            // So that each part is a packet of its own.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    if row.fin {
        stream.shutdown(Shutdown::Write).ok();
    }
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => said.extend_from_slice(&buffer[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                said.extend_from_slice(b" and stays open");
                break;
            }
            Err(_) => break,
        }
    }
    String::from_utf8(said).unwrap()
}
