//! Parsing an HTTP/1.1 request head into the reused `RequestHead`, as a connection does for each request.
//!
//! Run with `cargo bench -p sampan-benches --bench head_parse`.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use sampan_filters_api::RequestHead;
use sampan_proxy::http::h1::HeadLimits;
use sampan_proxy::http::h1::request::{RequestOptions, parse};

const OPTIONS: RequestOptions =
    RequestOptions { limits: HeadLimits { bytes: 60 * 1024, fields: 100 }, allow_absolute_url: true };

/// What a load tool sends.
const SMALL: &str = "GET /small HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// What a browser sends.
const BROWSER: &str = "GET /shop/items/4711?sort=price&page=2 HTTP/1.1\r\nHost: shop.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://shop.example/shop/items\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n\
    Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\nPriority: u=0, i\r\n\r\n";

fn main() {
    divan::main();
}

fn parse_again_and_again(bencher: Bencher, text: &str) {
    let mut head = RequestHead::default();
    assert!(parse(text.as_bytes(), OPTIONS, &mut head).is_ok(), "the head is valid");
    bencher.counter(BytesCount::of_str(text)).bench_local(|| {
        head.clear();
        parse(black_box(text.as_bytes()), OPTIONS, &mut head).is_ok()
    });
}

#[divan::bench]
fn small(bencher: Bencher) {
    parse_again_and_again(bencher, SMALL);
}

#[divan::bench]
fn browser(bencher: Bencher) {
    parse_again_and_again(bencher, BROWSER);
}
