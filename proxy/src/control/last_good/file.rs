//! The file itself: a line that says what it is, then a protobuf message of our own.
//!
//! ```text
//! sampan-last-good 1 <xxHash64 of the rest, hexadecimal> <length of the rest>\n
//! Contents
//! ```
//! The hash finds damage; it is no defence against whoever may write the file, who may as well write the bootstrap.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message as _;

use crate::control::store::Kind;
use crate::reference::SourceKey;

/// The first word of a file.
const MAGIC: &str = "sampan-last-good";
/// The version of the format.
const FORMAT: &str = "1";
/// The longest first line, in bytes.
const LONGEST_HEAD: usize = 100;
/// The largest file that is written or read, in bytes.
const LARGEST: usize = 512 << 20;
/// How far the clock may be behind the one that wrote the file.
const SKEW: Duration = Duration::from_mins(5);

/// Whose configuration it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `node.id`
    pub id: String,
    /// `node.cluster`
    pub cluster: String,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Whose it is.
    pub node: Node,
    /// When it was written.
    pub written: SystemTime,
    /// Resources by source and kind.
    pub groups: Vec<Group>,
}

/// Resources of one kind from one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Where they came from.
    pub source: SourceKey,
    /// Their kind.
    pub kind: Kind,
    /// The version of the last update.
    pub version: Arc<str>,
    /// The resources.
    pub entries: Vec<Entry>,
}

/// A resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// The message.
    pub wire: Bytes,
}

/// What is required of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Who asks.
    pub node: Node,
    /// `--last-good-max-age-s`; `None` is no limit.
    pub max_age: Option<Duration>,
    /// What time it is.
    pub now: SystemTime,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none, or it cannot be opened or read.
    #[error("it cannot be read: {0}")]
    Open(#[from] io::Error),
    /// It is something else.
    #[error("it is not a last-good file")]
    Foreign,
    /// A newer program wrote it.
    #[error("its format {0:?} is not the one that is read here ({FORMAT})")]
    Format(String),
    /// It is damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It belongs to another proxy.
    #[error("it was written by node {:?} of cluster {:?}, and this is {:?} of {:?}", .0.id, .0.cluster, .1.id, .1.cluster)]
    Node(Node, Node),
    /// It is too old.
    #[error("it is {} s old, and --last-good-max-age-s is {} s", .0.as_secs(), .1.as_secs())]
    Old(Duration, Duration),
    /// Its age cannot be known.
    #[error("it was written {} s in the future: is the clock right?", .0.as_secs())]
    Future(Duration),
    /// It is too large.
    #[error("it would have more than {LARGEST} bytes")]
    Large,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Contents {
    #[prost(string, tag = "1")]
    node_id: String,
    #[prost(string, tag = "2")]
    node_cluster: String,
    /// Seconds since 1970.
    #[prost(uint64, tag = "3")]
    written: u64,
    #[prost(message, repeated, tag = "4")]
    groups: Vec<GroupMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GroupMessage {
    #[prost(string, tag = "1")]
    source: String,
    /// The full name of the resources' message.
    #[prost(string, tag = "2")]
    message: String,
    #[prost(string, tag = "3")]
    version: String,
    #[prost(message, repeated, tag = "4")]
    entries: Vec<EntryMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EntryMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(bytes = "bytes", tag = "3")]
    wire: Bytes,
}

/// Reads a file.
///
/// # Errors
/// It is not to be used; why.
pub fn read(path: &Path, limits: &Limits) -> Result<Saved, FileError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LARGEST {
        return Err(FileError::Large);
    }
    let saved = parse(&Bytes::from(bytes))?;
    if saved.node != limits.node {
        return Err(FileError::Node(saved.node, limits.node.clone()));
    }
    match (limits.now.duration_since(saved.written), limits.max_age) {
        (Ok(age), Some(max_age)) if age > max_age => Err(FileError::Old(age, max_age)),
        (Err(early), _) if early.duration() > SKEW => Err(FileError::Future(early.duration())),
        _ => Ok(saved),
    }
}

/// Writes a file in one step: whoever reads it finds the old one or the new one. The bytes that it has.
///
/// # Errors
/// The directory or the disk does not allow it; the file is as it was.
pub fn write(path: &Path, saved: &Saved) -> Result<usize, FileError> {
    let bytes = encode(saved)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = temporary(path);
    // One that an earlier process left behind is not ours to write into: another might hold it open.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // Best effort: the error that counts is the one above.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    Ok(bytes.len())
}

/// The file that is written before it takes the other's place.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn encode(saved: &Saved) -> Result<Vec<u8>, FileError> {
    let group = |group: &Group| GroupMessage {
        source: group.source.to_string(),
        message: group.kind.message().to_owned(),
        version: group.version.to_string(),
        entries: group.entries.iter().map(entry).collect(),
    };
    let contents = Contents {
        node_id: saved.node.id.clone(),
        node_cluster: saved.node.cluster.clone(),
        written: saved.written.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        groups: saved.groups.iter().map(group).collect(),
    };
    let length = contents.encoded_len();
    if length > LARGEST - LONGEST_HEAD {
        return Err(FileError::Large);
    }
    let body = contents.encode_to_vec();
    let mut bytes = format!("{MAGIC} {FORMAT} {:016x} {length}\n", hash(&body)).into_bytes();
    bytes.extend(body);
    Ok(bytes)
}

fn entry(entry: &Entry) -> EntryMessage {
    EntryMessage {
        name: entry.name.to_string(),
        version: entry.version.to_string(),
        wire: entry.wire.clone(),
    }
}

fn hash(bytes: &[u8]) -> u64 {
    twox_hash::XxHash64::oneshot(0, bytes)
}

fn parse(bytes: &Bytes) -> Result<Saved, FileError> {
    let end = bytes.iter().take(LONGEST_HEAD).position(|byte| *byte == b'\n').ok_or(FileError::Foreign)?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| FileError::Foreign)?;
    let words: Vec<&str> = head.split(' ').collect();
    let (sum, length) = match words[..] {
        [MAGIC, FORMAT, sum, length] => (sum, length),
        [MAGIC, format, ..] if format != FORMAT => return Err(FileError::Format(format.to_owned())),
        [MAGIC, ..] => return Err(FileError::Damaged("its first line is incomplete".to_owned())),
        _ => return Err(FileError::Foreign),
    };
    let body = bytes.slice(end + 1..);
    if length.parse() != Ok(body.len()) {
        return Err(FileError::Damaged(format!("it has {} bytes where it says {length}", body.len())));
    }
    if u64::from_str_radix(sum, 16) != Ok(hash(&body)) {
        return Err(FileError::Damaged("its checksum does not match".to_owned()));
    }
    let contents = Contents::decode(body).map_err(|error| FileError::Damaged(error.to_string()))?;
    let written = UNIX_EPOCH.checked_add(Duration::from_secs(contents.written));
    Ok(Saved {
        node: Node { id: contents.node_id, cluster: contents.node_cluster },
        written: written.ok_or_else(|| FileError::Damaged("its time is none".to_owned()))?,
        groups: contents.groups.into_iter().filter_map(group).collect(),
    })
}

/// A group; `None` for a kind that this version does not know, or that has no place in a file.
fn group(group: GroupMessage) -> Option<Group> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.message() == group.message)?;
    let entries = group.entries.into_iter().map(|entry| Entry {
        name: entry.name.into(),
        version: entry.version.into(),
        wire: entry.wire,
    });
    (kind != Kind::Secret).then(|| Group {
        source: SourceKey(group.source.into()),
        kind,
        version: group.version.into(),
        entries: entries.collect(),
    })
}
