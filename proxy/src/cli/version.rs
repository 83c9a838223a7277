//! What `--version`, `/server_info` and the node message say about this build.
//!
//! Kuma demands exactly five `/`-separated parts after `version:`; Consul takes the first `d.d.d` it finds and
//! checks it against the Envoy versions it knows. So the second part is the Envoy release whose behaviour we
//! implement, and our own version stands on a line of its own after it. Called by `cli` and `admin`.

/// The Envoy release whose API and behaviour this build implements.
pub const ENVOY_API: (u32, u32, u32) = (1, 40, 0);
/// This build's own version.
pub const SAMPAN: &str = env!("CARGO_PKG_VERSION");
/// The commit this build was made from; zeros when it is not known and in debug builds (see `build.rs`).
pub const REVISION: &str = env!("SAMPAN_BUILD_SHA");
/// `Clean`, or `Modified` when the tree had changes that were not committed.
pub const TREE: &str = env!("SAMPAN_BUILD_TREE");
/// The TLS library.
pub const TLS_LIBRARY: &str = "AWS-LC";
/// `RELEASE` or `DEBUG`.
pub const BUILD_TYPE: &str = if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" };
/// The hot restart protocol version that is reported; hot restart itself does not exist here.
pub const HOT_RESTART: &str = "disabled";

/// `1.40.0`.
pub fn envoy_api() -> String {
    let (major, minor, patch) = ENVOY_API;
    format!("{major}.{minor}.{patch}")
}

/// The five-part form: `sha/x.y.z/Clean/RELEASE/library`.
pub fn five_part() -> String {
    format!("{REVISION}/{}/{TREE}/{BUILD_TYPE}/{TLS_LIBRARY}", envoy_api())
}

/// The text of `--version`.
pub(super) fn text(program: &str) -> String {
    format!("\n{program}  version: {}\nsampan {SAMPAN}\n\n", five_part())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_has_five_parts_and_the_api_level_comes_first() {
        let text = text("sampan");
        let line = text.lines().find(|l| l.contains("version:")).expect("a version line");
        let build = line.split("version:").nth(1).expect("text after version:").trim();
        let parts: Vec<_> = build.split('/').collect();
        assert_eq!(parts.len(), 5, "{build}");
        assert_eq!(parts[0].len(), 40);
        assert!(parts[0].bytes().all(|b| b.is_ascii_hexdigit()));
        let dotted = regex::Regex::new(r"\d+\.\d+\.\d+").expect("a regex");
        assert_eq!(dotted.find(&text).map(|m| m.as_str()), Some("1.40.0"));
        assert!(text.contains(&format!("sampan {SAMPAN}")));
    }
}
