//! `core.v3.DataSource`: bytes from the configuration itself, a file or the environment, read when it is loaded.

use std::io::Read;

use sampan_api::envoy::config::core::v3::DataSource;
use sampan_api::envoy::config::core::v3::data_source::Specifier;

use super::ConfigError;

/// The bytes of a source, at most `limit` of them. `path` is that of the source.
pub fn data_source(source: &DataSource, limit: usize, path: &str) -> Result<Vec<u8>, ConfigError> {
    let at = |field: &str| format!("{path}.{field}");
    let (bytes, field) = match &source.specifier {
        Some(Specifier::InlineString(text)) => (text.clone().into_bytes(), at("inline_string")),
        Some(Specifier::InlineBytes(bytes)) => (bytes.clone(), at("inline_bytes")),
        Some(Specifier::EnvironmentVariable(name)) => {
            let field = at("environment_variable");
            match std::env::var_os(name) {
                Some(value) => (value.into_encoded_bytes(), field),
                None => {
                    return Err(ConfigError::new(field, "the environment variable is not set").value(name));
                }
            }
        }
        Some(Specifier::Filename(name)) => {
            let field = at("filename");
            match read(name, limit) {
                Ok(bytes) => (bytes, field),
                Err(error) => {
                    return Err(
                        ConfigError::new(field, format!("the file cannot be read: {error}")).value(name)
                    );
                }
            }
        }
        None => return Err(ConfigError::new(path, "no source is given")),
    };
    if bytes.len() > limit {
        let reason = format!("response body size is {} bytes; maximum is {limit}", bytes.len());
        return Err(ConfigError::new(field, reason));
    }
    Ok(bytes)
}

/// A file's content, and at least one byte more than `limit` if it is longer.
fn read(name: &str, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(name)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(specifier: Specifier, limit: usize) -> Result<Vec<u8>, ConfigError> {
        let source = DataSource { specifier: Some(specifier), ..DataSource::default() };
        data_source(&source, limit, "body")
    }

    #[test]
    fn sources_are_read_and_limited() {
        assert_eq!(read_of(Specifier::InlineString("abc".into()), 3).as_deref(), Ok(&b"abc"[..]));
        let long = read_of(Specifier::InlineString("abcd".into()), 3).unwrap_err();
        assert_eq!(
            (long.path.as_str(), long.reason.as_str()),
            ("body.inline_string", "response body size is 4 bytes; maximum is 3")
        );
        let missing = read_of(Specifier::Filename("/nonexistent/x".into()), 3).unwrap_err();
        assert_eq!(missing.path, "body.filename");
        let unset = read_of(Specifier::EnvironmentVariable("SAMPAN_NOT_SET".into()), 3).unwrap_err();
        assert_eq!(unset.path, "body.environment_variable");
    }
}
