//! Turns the `.proto` files that ship inside the `envoy-types` crate into the compact schema that the library reads.
//!
//! Why a schema of our own and not a descriptor set: a descriptor pool of this API costs 50 ms and tens of megabytes
//! each time it is loaded, and every configuration update would need it. The tables written here are plain bytes in
//! the read-only part of the binary: nothing to load, nothing to relocate, and only the pages in use are resident.
//!
//! Steps: find the files (`locate`), compile them (`protox`), write the tables (`tables`).

mod locate;
mod source;
mod tables;

use std::path::{Path, PathBuf};
use std::{env, error::Error, fs};

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-env-changed={}", locate::OVERRIDE);
    let own = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("proto");
    let shipped = locate::shipped_protos()?;
    println!("cargo:rerun-if-changed={}", shipped.display());

    let mut includes = vec![own];
    for entry in fs::read_dir(&shipped)? {
        let tree = entry?.path();
        let inner = tree.join("proto");
        includes.push(if inner.is_dir() { inner } else { tree });
    }
    includes.sort();
    let pool = compile(&includes)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    tables::write(&pool, &out)
}

/// Compiles every file below the include roots. A file that the compiler cannot resolve is left out and named in a
/// build warning; the tests of the crate list the messages that must be there.
fn compile(includes: &[PathBuf]) -> Result<prost_reflect::DescriptorPool, Failure> {
    let mut files = Vec::new();
    for root in includes {
        collect(root, root, &mut files)?;
    }
    files.sort();
    files.dedup();
    let mut resolver = protox::file::ChainFileResolver::new();
    resolver.add(source::Sources::new(includes));
    resolver.add(protox::file::GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(false);
    for file in &files {
        if let Err(error) = compiler.open_file(file) {
            println!("cargo:warning={}: {error}", file.display());
        }
    }
    Ok(compiler.descriptor_pool())
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|end| end == "proto") {
            files.push(path.strip_prefix(root)?.to_path_buf());
        }
    }
    Ok(())
}
