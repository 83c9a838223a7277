//! Every row was measured on Envoy 1.40.

use super::*;

const DEFAULT: Normalize = Normalize {
    path: false,
    merge_slashes: false,
    escaped_slashes: EscapedSlashes::Keep,
    port: StripPort::Keep,
    trailing_dot: false,
};
const PATH: Normalize = Normalize { path: true, ..DEFAULT };
const MERGE: Normalize = Normalize { merge_slashes: true, ..DEFAULT };
const EDGE: Normalize =
    Normalize { path: true, merge_slashes: true, escaped_slashes: EscapedSlashes::Redirect, ..DEFAULT };

/// The path after the rules, or `status location`.
fn outcome(rules: Normalize, path: &str) -> String {
    let mut head = RequestHead::default();
    head.set_method(b"GET");
    head.set_authority(b"h");
    head.set_path(path.as_bytes());
    match apply(&rules, Underscores::Allow, &mut head, None) {
        Ok(()) => String::from_utf8(head.path().to_vec()).unwrap(),
        Err(refusal) => {
            let reply = refusal.into_reply();
            let location = reply.headers.value("location").unwrap_or_default();
            format!("{} {}", reply.status, String::from_utf8_lossy(location)).trim_end().to_owned()
        }
    }
}

#[test]
fn without_rules_a_path_stays() {
    for path in ["/a/../admin", "/a/%2e%2e/admin", "/a\\..\\admin", "//a///b", "/%2f", "/%00", "/a|b", "/"] {
        assert_eq!(outcome(DEFAULT, path), path);
    }
    for (path, expected) in [("/a#b", "400"), ("/a?b#c", "400"), ("*", "404"), ("foo", "404")] {
        assert_eq!(outcome(DEFAULT, path), expected, "{path}");
    }
}

#[test]
fn dot_segments_and_escapes() {
    for (path, expected) in [
        ("/a/../admin", "/admin"),
        ("/a/%2e%2e/admin", "/admin"),
        ("/a\\..\\admin", "/admin"),
        ("/a/..;/admin", "/admin"),
        ("/a/..;a=b/admin", "/admin"),
        ("//a///b", "//a///b"),
        ("/%00", "400"),
        ("/?x=%00", "/?x=%00"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/../..", "/"),
        ("/%41%7e%2d", "/A~-"),
        ("/%zz", "/%zz"),
        ("/a%2", "/a%2"),
        ("/%e4%BD", "/%e4%BD"),
        ("/a/b/..?c=../d//e", "/a/?c=../d//e"),
        ("/a;x/../b", "/b"),
        ("/a//../b", "/a/b"),
        ("/a/b//..", "/a/b/"),
        ("/\\", "//"),
        ("/a|b\"", "/a%7Cb%22"),
        ("/~%7E^%5E", "/~~%5E%5E"),
        ("/a/...", "/a/..."),
        ("/a/..b", "/a/..b"),
        ("/a;/b", "/a;/b"),
        ("/a/.;/b", "/a/b"),
        ("/..;", "/"),
        ("/a/;/b", "/a/;/b"),
        ("/a%252fb", "/a%252fb"),
        ("/%3f%23%25", "/%3f%23%25"),
    ] {
        assert_eq!(outcome(PATH, path), expected, "{path}");
    }
}

/// Envoy forwards `/a/..;/admin` here, which a servlet container reads as `/admin`.
#[test]
fn an_escaped_dot_segment_with_parameters_is_one() {
    assert_eq!(outcome(PATH, "/a/%2e%2e;/admin"), "/admin");
}

#[test]
fn slashes_are_merged() {
    for (path, expected) in [
        ("//a///b", "/a/b"),
        ("//", "//"),
        ("/a//", "/a/"),
        ("/a/../b//?x//y", "/a/../b/?x//y"),
        ("/a?//", "/a?//"),
    ] {
        assert_eq!(outcome(MERGE, path), expected, "{path}");
    }
}

#[test]
fn escaped_slashes() {
    let with = |escaped_slashes| Normalize { escaped_slashes, ..DEFAULT };
    for path in ["/%2f", "/a%5cb", "/a%2F.."] {
        assert_eq!(outcome(with(EscapedSlashes::Reject), path), "400");
    }
    assert_eq!(outcome(with(EscapedSlashes::Reject), "/a?%2f"), "/a?%2f");
    for (path, expected) in [
        ("/%2f", "307 //"),
        ("/a%5cb", "307 /a/b"),
        ("/a/..%2fadmin", "307 /admin"),
        ("/a%2fb?q=1", "307 /a/b?q=1"),
        ("/..%2f..", "307 /"),
        ("/a/../b", "/b"),
        ("/a%252fb", "/a%252fb"),
    ] {
        assert_eq!(outcome(EDGE, path), expected, "{path}");
    }
    let forward = Normalize { escaped_slashes: EscapedSlashes::Forward, ..EDGE };
    assert_eq!(outcome(forward, "/a/..%2fadmin"), "/admin");
    assert_eq!(outcome(with(EscapedSlashes::Redirect), "/a%5cb"), "307 /a\\b");
}

fn host_after(rules: Normalize, host: &str) -> String {
    let mut head = RequestHead::default();
    head.set_path(b"/");
    head.set_authority(host.as_bytes());
    apply(&rules, Underscores::Allow, &mut head, Some(8080)).unwrap();
    String::from_utf8(head.authority().to_vec()).unwrap()
}

#[test]
fn ports_and_dots_of_the_host() {
    let any = Normalize { port: StripPort::Any, ..DEFAULT };
    for (host, expected) in [
        ("h:80", "h"),
        ("h", "h"),
        ("h.:80", "h."),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("h:", "h:"),
        ("h:abc", "h:abc"),
        ("a:1:2", "a:1"),
    ] {
        assert_eq!(host_after(any, host), expected, "{host}");
    }
    let matching = Normalize { port: StripPort::Matching, trailing_dot: true, ..DEFAULT };
    for (host, expected) in [
        ("h:80", "h:80"),
        ("h:8080", "h"),
        ("h.", "h"),
        ("h.:80", "h:80"),
        ("h:8080.", "h"),
        ("a.b..", "a.b."),
        ("[::1]:80", "[::1]:80"),
    ] {
        assert_eq!(host_after(matching, host), expected, "{host}");
    }
}

#[test]
fn underscores() {
    let mut head = RequestHead::default();
    head.set_path(b"/");
    head.headers.append("c-d", "1");
    assert!(apply(&DEFAULT, Underscores::Reject, &mut head, None).is_ok());
    head.headers.append("a_b", "2");
    let reply = apply(&DEFAULT, Underscores::Reject, &mut head, None).unwrap_err().into_reply();
    assert_eq!(
        (reply.status, &*reply.details, &*reply.body),
        (400, "http1.unexpected_underscore", &b"Bad Request"[..])
    );
    apply(&DEFAULT, Underscores::Drop, &mut head, None).unwrap();
    assert_eq!(head.headers.len(), 1);
}
