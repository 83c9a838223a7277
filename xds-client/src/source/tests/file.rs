//! Files that are replaced, the ways in which people and Kubernetes do it.

use std::path::Path;

use super::*;
use crate::FileSettings;

fn text(version: &str, name: &str) -> String {
    format!("version_info: {version}\nresources:\n- \"@type\": {CDS}\n  name: {name}\n")
}

/// Writes beside and moves into place.
fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, content).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

fn source(settings: FileSettings) -> (Source, mpsc::Receiver<Event>) {
    let (sender, events) = mpsc::channel(8);
    let source = Source::file(SourceId::new("file"), settings, sender);
    source.subscribe(&type_url(CDS), Names::Wildcard, None);
    (source, events)
}

async fn expect(events: &mut mpsc::Receiver<Event>, version: &str, name: &str) {
    let update = update(events).await;
    assert_eq!((&*update.version, names(&update.content)), (version, vec![name]));
    update.reply.accept();
}

async fn failure(events: &mut mpsc::Receiver<Event>) -> String {
    match next(events).await {
        Event::Failed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_is_read_again_when_it_is_replaced_and_not_when_it_is_written_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cds.yaml");
    std::fs::write(&path, text("v1", "a")).unwrap();
    let (source, mut events) = source(FileSettings::new(&path));
    expect(&mut events, "v1", "a").await;
    replace(&path, text("v2", "b"));
    expect(&mut events, "v2", "b").await;
    std::fs::write(&path, text("v3", "half")).unwrap();
    replace(&dir.path().join("other.yaml"), "not ours");
    replace(&path, text("v4", "c"));
    expect(&mut events, "v4", "c").await;
    replace(&path, "version_info: [");
    assert!(failure(&mut events).await.contains("cds.yaml: line"));
    assert!(!source.status().is_connected());
    std::fs::remove_file(&path).unwrap();
    replace(&path, text("v5", "d"));
    expect(&mut events, "v5", "d").await;
    assert_eq!(source.status().streams[0].types[0].version.as_deref(), Some("v5"));
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_by_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let write = |generation: &str, version: &str, name: &str| {
        let inner = dir.path().join(generation);
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("cds.yaml"), text(version, name)).unwrap();
        std::os::unix::fs::symlink(generation, dir.path().join("..tmp")).unwrap();
        std::fs::rename(dir.path().join("..tmp"), dir.path().join("..data")).unwrap();
    };
    write("..1", "v1", "a");
    std::os::unix::fs::symlink("..data/cds.yaml", dir.path().join("cds.yaml")).unwrap();
    let mut settings = FileSettings::new(dir.path().join("cds.yaml"));
    settings.watched_directory = Some(dir.path().to_owned());
    let (_source, mut events) = source(settings);
    expect(&mut events, "v1", "a").await;
    write("..2", "v2", "b");
    expect(&mut events, "v2", "b").await;
    write("..3", "v3", "c");
    expect(&mut events, "v3", "c").await;
}

#[tokio::test]
async fn a_file_or_a_directory_that_comes_later_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (_source, mut events) = source(FileSettings::new(dir.path().join("cds.json")));
    assert!(failure(&mut events).await.contains("cannot open"));
    replace(
        &dir.path().join("cds.json"),
        format!(r#"{{"version_info": "v1", "resources": [{{"@type": "{CDS}", "name": "a"}}]}}"#),
    );
    expect(&mut events, "v1", "a").await;

    let later = dir.path().join("later");
    let (_source, mut events) = source(FileSettings::new(later.join("cds.pb")));
    assert!(failure(&mut events).await.contains("cannot watch"));
    std::fs::create_dir(&later).unwrap();
    replace(&later.join("cds.pb"), full("v1", "", vec![cluster("b")]).encode_to_vec());
    loop {
        match next(&mut events).await {
            Event::Failed { .. } => {}
            Event::Update(update) => {
                assert_eq!(names(&update.content), ["b"]);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    std::fs::remove_dir_all(&later).unwrap();
    assert!(failure(&mut events).await.contains("removed"));
}

#[tokio::test]
async fn a_file_too_long_or_of_another_type_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cds.yaml");
    std::fs::write(&path, text("v1", &"x".repeat(1000))).unwrap();
    let (_source, mut events) = source(FileSettings { size_cap: 500, ..FileSettings::new(&path) });
    assert!(failure(&mut events).await.contains("longer than 500"));
    replace(&path, format!("type_url: {EDS}\n"));
    assert!(failure(&mut events).await.contains("ClusterLoadAssignment"));
}
