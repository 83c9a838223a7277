//! The manifests of `deploy/` as data, with what Kubernetes' schemas have against each.

use std::path::{Path, PathBuf};
use std::process::Command;

use sampan_tests::harness::peer;
use serde_json::Value;

/// One document of a manifest.
pub struct Document {
    /// Its file, below the root of the repository.
    pub file: String,
    /// What it says.
    pub value: Value,
    /// What the schemas say of it.
    pub errors: Vec<String>,
}

impl Document {
    /// `kind`
    pub fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap()
    }
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// All documents of `deploy/`.
pub fn documents() -> Vec<Document> {
    let root = repository();
    let mut files = Vec::new();
    list(&root.join("deploy"), &mut files);
    files.sort();
    let found = read(&files);
    assert!(found.len() >= 12, "{} documents in {files:?}", found.len());
    found
}

/// The documents of these files.
pub fn read(files: &[PathBuf]) -> Vec<Document> {
    let root = repository();
    let python = peer::prepare("kubernetes-schemas").join("bin/python");
    let script = root.join("tests/peers/kubernetes-schemas/check.py");
    let output = Command::new(python).arg(script).args(files).output().expect("Python can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let document = |mut entry: Value| Document {
        file: text(&entry["file"]).trim_start_matches(&*format!("{}/", root.display())).to_owned(),
        value: entry["document"].take(),
        errors: entry["errors"].as_array().unwrap().iter().map(text).collect(),
    };
    found.into_iter().map(document).collect()
}

/// The one document of this file and kind.
pub fn one<'d>(documents: &'d [Document], file: &str, kind: &str) -> &'d Value {
    let mut found = documents.iter().filter(|document| document.file == file && document.kind() == kind);
    let first = found.next().unwrap_or_else(|| panic!("{file} has no {kind}"));
    assert!(found.next().is_none(), "{file} has several of {kind}");
    &first.value
}

/// The member of a list of objects with this name.
pub fn named<'v>(list: &'v Value, name: &str) -> &'v Value {
    let found = list.as_array().unwrap().iter().find(|entry| entry["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list}"))
}

/// Appends the second's lists to the first's, and its fields to its maps: what a strategic merge patch does where nothing is replaced.
pub fn add(to: &mut Value, patch: &Value) {
    match (to, patch) {
        (Value::Object(to), Value::Object(patch)) => {
            for (key, value) in patch {
                add(to.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(to), Value::Array(patch)) => to.extend(patch.iter().cloned()),
        (to @ Value::Null, patch) => *to = patch.clone(),
        (to, patch) => assert!(to == patch || patch == "any", "{to} would become {patch}"),
    }
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
}
