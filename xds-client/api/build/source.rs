//! Reads one `.proto` file for the compiler, with relative type names made absolute.
//!
//! Inside `package envoy.extensions.…` the API writes `config.core.v3.Address` for `envoy.config.core.v3.Address`. A
//! compiler that has all files open at once also knows a package `envoy.extensions.config` and resolves the name to
//! that. Compiling each file on its own avoids this and takes minutes; rewriting the names takes milliseconds.

use std::fs;
use std::path::PathBuf;

use protox::Error;
use protox::file::{File, FileResolver};

/// First parts of a relative name that always mean a package directly below `envoy`.
const BELOW_ENVOY: [&str; 4] = ["config.", "type.", "data.", "service."];

/// The same for packages below `envoy.extensions`.
const BELOW_EXTENSIONS: [&str; 5] = [
    "common.aws.",
    "common.async_files.",
    "common.dynamic_forward_proxy.",
    "common.ratelimit.",
    "common.tap.",
];

/// Opens files below a list of include roots.
pub(crate) struct Sources {
    roots: Vec<PathBuf>,
}

impl Sources {
    pub(crate) fn new(roots: &[PathBuf]) -> Self {
        Self { roots: roots.to_vec() }
    }
}

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        let text = self.roots.iter().find_map(|root| fs::read_to_string(root.join(name)).ok());
        let text = text.ok_or_else(|| Error::file_not_found(name))?;
        File::from_source(name, &absolute_names(&text))
    }
}

fn absolute_names(text: &str) -> String {
    let in_envoy = text.lines().any(|line| line.starts_with("package envoy."));
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let code = line.trim_start();
        if in_envoy && !["//", "import", "package", "option"].iter().any(|start| code.starts_with(start)) {
            push_absolute(line, &mut out);
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

fn push_absolute(line: &str, out: &mut String) {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        let starts_name = before == ' ' || before == '<';
        let rest = &line[at..];
        if starts_name
            && BELOW_ENVOY.iter().any(|word| rest.starts_with(word))
            && !rest.starts_with("config.validators")
        {
            out.push_str(".envoy.");
        } else if starts_name && BELOW_EXTENSIONS.iter().any(|word| rest.starts_with(word)) {
            out.push_str(".envoy.extensions.");
        }
        out.push(c);
        before = c;
    }
}
