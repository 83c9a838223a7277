//! Filters that compress and decompress bodies.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::Bootstrap;
use crate::harness::client::h2::Call;
use crate::harness::coding;
use crate::harness::upstream::h2::Answer;
use crate::harness::upstream::{Play, answer};

/// Compression.
pub fn group() -> Group {
    let mut cases = compressing();
    cases.extend(choosing());
    cases.extend(telling());
    // How long it gets is the library's and depends on how often it is flushed.
    let mut cases: Vec<Case> = cases.into_iter().map(|case| case.ignore("log.sent")).collect();
    cases.extend(decompressing());
    cases.extend(counted());
    Group { name: "transform", bootstrap: bootstrap(), cases }
}

fn compressor(coding: &str, fields: &str) -> String {
    let message = coding[..1].to_uppercase() + &coding[1..];
    format!(
        "- {{name: envoy.filters.http.compressor, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor, compressor_library: {{name: own_{coding}, typed_config: {{'@type': type.googleapis.com/envoy.extensions.compression.{coding}.compressor.v3.{message}}}}}, {fields}}}}}"
    )
}

fn decompressor(coding: &str, library: &str, fields: &str) -> String {
    let message = coding[..1].to_uppercase() + &coding[1..];
    format!(
        "- {{name: envoy.filters.http.decompressor, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.decompressor.v3.Decompressor, decompressor_library: {{name: own, typed_config: {{'@type': type.googleapis.com/envoy.extensions.compression.{coding}.decompressor.v3.{message}, {library}}}}}, {fields}}}}}"
    )
}

fn bootstrap() -> Bootstrap {
    let route = |fields: &str| {
        format!(
            "typed_per_filter_config: {{envoy.filters.http.compressor: {{'@type': type.googleapis.com/envoy.extensions.filters.http.compressor.v3.CompressorPerRoute, {fields}}}}}"
        )
    };
    let library = "compressor_library: {name: other, typed_config: {'@type': type.googleapis.com/envoy.extensions.compression.brotli.compressor.v3.Brotli}}";
    let routes = format!(
        "- {{match: {{prefix: /off}}, route: {{cluster: a}}, {}}}\n- {{match: {{prefix: /on}}, route: {{cluster: a}}, {}}}\n- {{match: {{prefix: /other}}, route: {{cluster: a}}, {}}}\n- {{match: {{prefix: /local}}, direct_response: {{status: 200, body: {{inline_string: '{}'}}}}}}\n- {{match: {{prefix: /2}}, route: {{cluster: h2}}}}\n- {{match: {{prefix: /}}, route: {{cluster: a}}}}\n",
        route("disabled: true"),
        route("overrides: {response_direction_config: {remove_accept_encoding_header: true}}"),
        route(&format!("overrides: {{{library}}}")),
        "b".repeat(100),
    );
    let chain = |fields: &str| ["brotli", "zstd", "gzip"].map(|coding| compressor(coding, fields)).join("\n");
    let told =
        "status_header_enabled: true, disable_on_etag_header: true, uncompressible_response_codes: [206]";
    let disabled =
        "response_direction_config: {common_config: {enabled: {default_value: false, runtime_key: k}}}";
    let matched = "response_direction_config: {common_config: {min_content_length: 5, content_type_matcher: [{prefix: text/}]}}";
    Bootstrap::new()
        .http_filters("gzip", &compressor("gzip", ""), &routes)
        .http_filters("chain", &chain("response_direction_config: {}"), &routes)
        .http_filters("first", &chain("choose_first: true"), &routes)
        .http_filters("told", &compressor("gzip", &format!("response_direction_config: {{{told}}}")), &routes)
        .http_filters("disabled", &compressor("gzip", disabled), &routes)
        .http_filters("matched", &compressor("zstd", matched), &routes)
        .http_filters(
            "both",
            &compressor(
                "brotli",
                "request_direction_config: {common_config: {}}, response_direction_config: {weaken_etag_on_compress: true, remove_accept_encoding_header: true}",
            ),
            &routes,
        )
        .http_filters("gunzip", &decompressor("gzip", "", ""), &routes)
        .http_filters("ratio", &decompressor("gzip", "max_inflate_ratio: 2", ""), &routes)
        .http_filters("unbrotli", &decompressor("brotli", "", ""), &routes)
        .http_filters("unzstd", &decompressor("zstd", "", ""), &routes)
        .http_filters(
            "responses",
            &decompressor(
                "gzip",
                "",
                "request_direction_config: {advertise_accept_encoding: false, common_config: {enabled: {default_value: false, runtime_key: k}}}, response_direction_config: {common_config: {ignore_no_transform_header: true}}",
            ),
            &routes,
        )
}

fn long(fields: &str) -> Play {
    response("200 OK", fields, 100)
}

fn response(status: &str, fields: &str, length: usize) -> Play {
    answer(format!("HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\n\r\n{}", "a".repeat(length)))
}

fn chunked(fields: &str, trailers: &str) -> Play {
    let piece = "a".repeat(50);
    answer(format!(
        "HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n32\r\n{piece}\r\n32\r\n{piece}\r\n0\r\n{trailers}\r\n"
    ))
}

const TEXT: &str = "content-type: text/plain\r\n";

/// A GET that accepts these codings.
fn accepting(name: &'static str, listener: &'static str, accept: &str, play: Play) -> Case {
    let lines = format!("host: test\r\naccept-encoding: {accept}\r\n");
    case(name, listener).play("a", play).get_with("/", &lines)
}

fn compressing() -> Vec<Case> {
    let gzip = |name, play| accepting(name, "gzip", "gzip", play);
    let at = |name: &'static str, listener: &'static str, path: &str| {
        case(name, listener)
            .play("a", long(TEXT))
            .get_with(path, "host: test\r\naccept-encoding: br, gzip\r\n")
    };
    let call = |name, answer: Answer| {
        case(name, "gzip")
            .play("h2", Play::H2(answer))
            .call(Call::get("/2").header("accept-encoding", "gzip"))
    };
    let pieces =
        Answer { headers: vec![("content-type", "text/plain")], body: &[b'a'; 100], ..Answer::default() };
    let head = |name: &'static str, status: &str, fields: &str, method: &str| {
        case(name, "gzip")
            .play("a", answer(format!("HTTP/1.1 {status}\r\n{fields}\r\n")))
            .send(format!("{method} / HTTP/1.1\r\nhost: test\r\naccept-encoding: gzip\r\n\r\n"))
    };
    let post = |name: &'static str, fields: &str, length: usize| {
        let body = "x".repeat(length);
        case(name, "both")
            .send(format!("POST / HTTP/1.1\r\nhost: test\r\n{fields}content-length: {length}\r\n\r\n{body}"))
    };
    vec![
        gzip("plain", long(TEXT)).via("a").want("h:content-encoding", "gzip").want("body", "a".repeat(100)),
        case("not-accepted", "gzip").play("a", long(TEXT)).get("/").want("h:vary", "Accept-Encoding"),
        gzip("short", response("200 OK", TEXT, 29)).absent("h:vary"),
        gzip("long-enough", response("200 OK", TEXT, 30)).want("h:content-encoding", "gzip"),
        gzip("chunks", chunked(TEXT, "")).want("h:content-encoding", "gzip"),
        gzip("chunks-and-trailers", chunked(TEXT, "x-t: 1\r\n")),
        gzip(
            "until-close",
            crate::harness::upstream::answer_and_close(format!(
                "HTTP/1.1 200 OK\r\n{TEXT}\r\n{}",
                "a".repeat(100)
            )),
        ),
        gzip("no-type", long("")).want("h:content-encoding", "gzip"),
        gzip("other-type", long("content-type: image/png\r\n")).absent("h:vary"),
        gzip("type-with-parameter", long("content-type: Text/HTML ; charset=x\r\n"))
            .want("h:content-encoding", "gzip"),
        gzip("coded-already", long(&format!("{TEXT}content-encoding: br\r\n"))).ignore("body"),
        gzip("no-transform", long(&format!("{TEXT}cache-control: public, No-Transform\r\n")))
            .absent("h:vary"),
        gzip("strong-etag", long(&format!("{TEXT}etag: \"a\"\r\n"))).absent("h:etag"),
        gzip("weak-etag", long(&format!("{TEXT}etag: w/\"a\"\r\n"))).want("h:etag", "w/\"a\""),
        gzip("vary", long(&format!("{TEXT}vary: Cookie\r\nvary: X\r\n")))
            .want("h:vary", "Cookie,X, Accept-Encoding"),
        gzip("vary-already", long(&format!("{TEXT}vary: Cookie, Accept-Encoding\r\n"))),
        gzip("vary-in-other-case", long(&format!("{TEXT}vary: accept-encoding\r\n"))),
        gzip("partial", response("206 Partial Content", TEXT, 100)).want("h:content-encoding", "gzip"),
        head("head", "200 OK", &format!("{TEXT}content-length: 100\r\n"), "HEAD")
            .want("h:content-length", 100),
        head("no-content", "204 No Content", TEXT, "GET"),
        head("not-modified", "304 Not Modified", &format!("{TEXT}etag: \"a\"\r\n"), "GET")
            .want("h:etag", "\"a\""),
        at("local", "gzip", "/local").want("h:content-encoding", "gzip").want("body", "b".repeat(100)),
        at("route-off", "gzip", "/off").absent("h:content-encoding"),
        at("route-on", "disabled", "/on").want("h:content-encoding", "gzip").absent("up:h:accept-encoding"),
        at("route-other-library", "gzip", "/other").want("h:content-encoding", "br"),
        at("disabled", "disabled", "/").absent("h:vary"),
        at("not-of-the-matched-types", "matched", "/").absent("h:content-encoding"),
        accepting("matched-type", "matched", "zstd", response("200 OK", "content-type: text/x\r\n", 5)),
        accepting(
            "not-matched-type",
            "matched",
            "zstd",
            response("200 OK", "content-type: application/json\r\n", 50),
        ),
        call("h2", pieces.clone()).want("body", "a".repeat(100)),
        call("h2-with-trailers", Answer { trailers: vec![("x-t", "1")], ..pieces.clone() })
            .want("trailer:x-t", 1),
        call("h2-empty", Answer { body: b"", ..pieces }),
        post("request", TEXT, 100).want("up:h:content-encoding", "br").want("up:body", "x".repeat(100)),
        post("request-short", TEXT, 10).want("up:h:content-length", 10),
        post("request-other-type", "content-type: image/png\r\n", 100),
        post("request-coded-already", "content-encoding: gzip\r\n", 100).want("up:h:content-length", 100),
        post("request-no-transform", "cache-control: no-transform\r\n", 100)
            .want("up:h:content-encoding", "br"),
        accepting("weakened-etag", "both", "br", long(&format!("{TEXT}etag: \"a\"\r\n")))
            .want("h:etag", "W/\"a\"")
            .absent("up:h:accept-encoding"),
    ]
}

fn choosing() -> Vec<Case> {
    let chain = |name, accept: &str| accepting(name, "chain", accept, long(TEXT));
    let first = |name, accept: &str| accepting(name, "first", accept, long(TEXT));
    vec![
        chain("any", "*").want("h:content-encoding", "br"),
        chain("any-but-one", "br;q=0, *").want("h:content-encoding", "zstd"),
        chain("identity", "identity").absent("h:content-encoding"),
        chain("nothing", "").absent("h:content-encoding"),
        chain("unknown", "deflate").absent("h:content-encoding"),
        chain("in-capitals", "GZIP").absent("h:content-encoding"),
        chain("not-one", "gzip;q=0").absent("h:content-encoding"),
        chain("none-at-all", "*;q=0").absent("h:content-encoding"),
        chain("by-quality", "br;q=0.5, zstd;q=0.7").want("h:content-encoding", "zstd"),
        chain("by-order", "gzip, br, zstd").want("h:content-encoding", "gzip"),
        chain("bad-quality", "gzip;q=x").absent("h:content-encoding"),
        chain("other-parameter", "gzip;level=3").want("h:content-encoding", "gzip"),
        chain("identity-preferred", "gzip; q=0.2, identity;q=0.3").absent("h:content-encoding"),
        first("first-of-all", "gzip, br, zstd").want("h:content-encoding", "zstd"),
        first("first-by-order", "zstd, br, gzip").want("h:content-encoding", "gzip"),
        first("first-not-worse", "gzip, br;q=0.9").want("h:content-encoding", "gzip"),
        accepting("chain-of-another-type", "chain", "gzip", long("content-type: image/png\r\n"))
            .absent("h:vary"),
    ]
}

fn telling() -> Vec<Case> {
    let told = |name, play| accepting(name, "told", "gzip", play);
    let etag = "etag: W/\"a\"\r\n";
    vec![
        told("told-compressed", long(TEXT))
            .want("h:x-envoy-compression-status", "gzip;Compressed;OriginalLength=100"),
        told("told-without-length", chunked(TEXT, ""))
            .want("h:x-envoy-compression-status", "gzip;Compressed;OriginalLength="),
        told("told-short", response("200 OK", "content-type: image/png\r\n", 20))
            .want("h:x-envoy-compression-status", "gzip;ContentLengthTooSmall"),
        told("told-type", long(&format!("content-type: image/png\r\n{etag}")))
            .want("h:x-envoy-compression-status", "gzip;ContentTypeNotAllowed"),
        told("told-etag", response("206 Partial Content", &format!("{TEXT}{etag}"), 100))
            .want("h:x-envoy-compression-status", "gzip;EtagNotAllowed"),
        told("told-code", response("206 Partial Content", TEXT, 100))
            .want("h:x-envoy-compression-status", "gzip;StatusCodeNotAllowed"),
        told("not-told", long(&format!("{TEXT}content-encoding: br\r\n")))
            .absent("h:x-envoy-compression-status")
            .ignore("body"),
        case("not-told-for-the-client", "told")
            .play("a", long(TEXT))
            .get("/")
            .absent("h:x-envoy-compression-status"),
    ]
}

fn decompressing() -> Vec<Case> {
    let body = "hello world ".repeat(20);
    let coded = |bytes: Vec<u8>, fields: &str| {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n", bytes.len());
        answer([head.into_bytes(), bytes].concat())
    };
    let gzip = coding::gzip(body.as_bytes());
    let at = |name: &'static str, listener: &'static str, play: Play| {
        case(name, listener).play("a", play).get("/")
    };
    let zipped = "content-encoding: gzip\r\n";
    let post = |name: &'static str, listener: &'static str, bytes: &[u8]| {
        let head =
            format!("POST / HTTP/1.1\r\nhost: test\r\n{zipped}content-length: {}\r\n\r\n", bytes.len());
        case(name, listener).send([head.as_bytes(), bytes].concat())
    };
    let over_h2 = |name: &'static str, path: &str| {
        case(name, "gunzip").call(Call::get(path)).play("a", coded(gzip.clone(), zipped))
    };
    vec![
        at("gunzip", "gunzip", coded(gzip.clone(), zipped))
            .want("body", &body)
            .want("up:h:accept-encoding", "gzip"),
        at("gunzip-unknown", "gunzip", coded(gzip.clone(), "content-encoding: br, gzip\r\n")),
        at("gunzip-plain", "gunzip", long(TEXT)),
        at("gunzip-outermost", "gunzip", coded(gzip.clone(), "content-encoding: GZIP, x\r\n"))
            .want("h:content-encoding", "x"),
        at(
            "gunzip-no-transform",
            "gunzip",
            coded(gzip.clone(), &format!("{zipped}cache-control: no-transform\r\n")),
        ),
        at(
            "gunzip-whatever",
            "responses",
            coded(gzip.clone(), &format!("{zipped}cache-control: no-transform\r\n")),
        )
        .want("body", &body)
        .absent("up:h:accept-encoding"),
        over_h2("gunzip-trailers", "/").want("trailer:x-envoy-decompressor-own-uncompressed-bytes", 240),
        case("gunzip-accepts-more", "gunzip")
            .get_with("/", "host: test\r\naccept-encoding: br;q=0.5, gzip;q=0.5\r\naccept-encoding: x\r\n"),
        post("gunzip-request", "gunzip", &gzip).want("up:body", &body).absent("up:h:content-encoding"),
        post("gunzip-no-request", "responses", &gzip).want("up:h:content-encoding", "gzip"),
        post("gunzip-request-and-more", "gunzip", &[&gzip[..], b"more"].concat()).want("up:body", &body),
        at("unbrotli", "unbrotli", coded(coding::brotli(body.as_bytes()), "content-encoding: br\r\n"))
            .want("body", &body),
        at("unzstd", "unzstd", coded(coding::zstd(body.as_bytes()), "content-encoding: zstd\r\n"))
            .want("body", &body),
        at("gunzip-cut", "gunzip", coded(gzip[..gzip.len() - 10].to_vec(), zipped)),
        at("gunzip-within-ratio", "ratio", coded(gzip, zipped)).want("body", &body),
    ]
}

fn counted() -> Vec<Case> {
    vec![
        case("compressor-stats", "gzip")
            .get("/")
            .stats(r"compressor\.own_.*(\.compressed|not_compressed|header_[a-z_]+|accept_header|_etag|too_small|uncompressed_bytes)$"),
        case("decompressor-stats", "gunzip").get("/").stats(r"decompressor\.own\."),
    ]
}
