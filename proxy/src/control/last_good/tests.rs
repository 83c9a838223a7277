use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::file::{self, *};
use crate::control::store::Kind;
use crate::reference::SourceKey;

fn node(id: &str) -> Node {
    Node { id: id.to_owned(), cluster: "c".to_owned() }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000)
}

fn saved() -> Saved {
    let entry = Entry { name: "a".into(), version: "3".into(), wire: vec![1, 2, 3].into() };
    let group =
        Group { source: SourceKey::ads(), kind: Kind::Cluster, version: "4".into(), entries: vec![entry] };
    Saved { node: node("me"), written: now(), groups: vec![group] }
}

fn limits() -> Limits {
    Limits { node: node("me"), max_age: Some(Duration::from_mins(1)), now: now() }
}

fn refused(path: &Path, limits: &Limits) -> String {
    read(path, limits).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read_and_nobody_else_may() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("good");
    for _ in 0..2 {
        std::fs::write(dir.path().join("good.new"), "left behind").unwrap();
        file::write(&path, &saved()).unwrap();
        assert_eq!(read(&path, &limits()).unwrap(), saved());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }
    let text = std::fs::read(&path).unwrap();
    assert!(text.starts_with(b"sampan-last-good 1 "), "{:?}", String::from_utf8_lossy(&text));
}

#[test]
fn a_file_that_cannot_be_written_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("good");
    file::write(&path, &saved()).unwrap();
    // A directory in the way of the temporary file.
    std::fs::create_dir(dir.path().join("good.new")).unwrap();
    assert!(matches!(file::write(&path, &saved()), Err(FileError::Open(_))));
    assert!(read(&path, &limits()).is_ok());
    assert!(file::write(&dir.path().join("no/such/dir"), &saved()).is_err());
}

#[test]
fn damage_is_found_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("good");
    file::write(&path, &saved()).unwrap();
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        assert!(read(&path, &limits()).is_err(), "byte {at}");
        std::fs::write(&path, &good[..at]).unwrap();
        assert!(read(&path, &limits()).is_err(), "cut at {at}");
    }
    std::fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert!(refused(&path, &limits()).starts_with("it is damaged: it has "));
}

#[test]
fn what_is_not_ours_not_for_us_or_too_old_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("good");
    assert!(refused(&path, &limits()).contains("No such file"));
    for foreign in ["", "node: {}\n", "{\"a\": 1}", &"x".repeat(1000), "\n"] {
        std::fs::write(&path, foreign).unwrap();
        assert_eq!(refused(&path, &limits()), "it is not a last-good file", "{foreign:?}");
    }
    std::fs::write(&path, "sampan-last-good 2 what comes next\n").unwrap();
    assert_eq!(refused(&path, &limits()), "its format \"2\" is not the one that is read here (1)");
    file::write(&path, &saved()).unwrap();
    assert_eq!(
        refused(&path, &Limits { node: node("other"), ..limits() }),
        "it was written by node \"me\" of cluster \"c\", and this is \"other\" of \"c\""
    );
    let later = now() + Duration::from_secs(61);
    assert_eq!(
        refused(&path, &Limits { now: later, ..limits() }),
        "it is 61 s old, and --last-good-max-age-s is 60 s"
    );
    assert!(read(&path, &Limits { now: later, max_age: None, ..limits() }).is_ok());
    let earlier = now() - Duration::from_secs(301);
    assert!(
        refused(&path, &Limits { now: earlier, ..limits() })
            .starts_with("it was written 301 s in the future")
    );
    assert!(read(&path, &Limits { now: now() - Duration::from_secs(299), ..limits() }).is_ok());
}
