//! Ids and headers; what spans say is compared with Envoy's in `tests/tests/tracing`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use sampan_filters_api::Headers;
use sampan_model::trace::Sampler;

use super::ids::{adopt, inject};
use crate::telemetry::trace::{Dialect, Zipkin};

const OPEN: Dialect = Dialect::OpenTelemetry(None);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(0x1234_5678)
}

fn headers(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in fields {
        headers.append(name, *value);
    }
    headers
}

fn shared() -> Zipkin {
    Zipkin { shared: true, ..Zipkin::default() }
}

#[test]
fn a_new_trace_has_the_decision() {
    let mut rng = Rng::with_seed(1);
    for traced in [true, false] {
        let own = adopt(&OPEN, &Headers::new(), traced, true, &mut rng, now()).unwrap();
        assert_eq!((own.context.sampled, own.context.parent, own.remote_parent), (traced, 0, false));
        let zipkin = Dialect::Zipkin(Zipkin::default());
        let own = adopt(&zipkin, &Headers::new(), traced, true, &mut rng, now()).unwrap();
        assert_eq!((own.context.sampled, own.context.trace.0), (traced, own.context.span.into()));
    }
}

#[test]
fn the_caller_decides_where_it_says_something() {
    let mut rng = Rng::with_seed(1);
    let given = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        ("tracestate", "a=b"),
        ("tracestate", "c=d"),
    ];
    let own = adopt(&OPEN, &headers(&given), true, true, &mut rng, now()).unwrap();
    assert!(!own.context.sampled && own.remote_parent);
    assert_eq!(own.context.parent, 0xb7ad_6b71_6920_3331);
    assert_eq!(own.state.as_deref(), Some("a=b,c=d"));
    let always = Dialect::OpenTelemetry(Some(Sampler::AlwaysOn));
    assert!(adopt(&always, &headers(&given), false, true, &mut rng, now()).unwrap().context.sampled);
    assert!(!adopt(&always, &Headers::new(), false, true, &mut rng, now()).unwrap().context.sampled);
    assert!(adopt(&OPEN, &headers(&[("traceparent", "x")]), true, true, &mut rng, now()).is_none());
    assert!(
        adopt(&Dialect::Zipkin(shared()), &headers(&[("b3", "x")]), true, true, &mut rng, now()).is_none()
    );
}

#[test]
fn a_server_may_share_the_span_of_its_client() {
    let mut rng = Rng::with_seed(1);
    let given = headers(&[("x-b3-traceid", "1"), ("x-b3-spanid", "2"), ("x-b3-parentspanid", "3")]);
    let mut of = |zipkin, server| {
        let own = adopt(&Dialect::Zipkin(zipkin), &given, true, server, &mut rng, now()).unwrap();
        (own.context.span == 2, own.context.parent)
    };
    assert_eq!(of(shared(), true), (true, 3));
    assert_eq!(of(shared(), false), (false, 2));
    assert_eq!(of(Zipkin { split: true, ..shared() }, false), (true, 3));
    assert_eq!(of(Zipkin::default(), true), (false, 2));
}

#[test]
fn ids_are_as_wide_as_configured() {
    let mut rng = Rng::with_seed(1);
    let mut of =
        |zipkin| adopt(&Dialect::Zipkin(zipkin), &Headers::new(), true, true, &mut rng, now()).unwrap();
    assert_eq!(of(Zipkin::default()).context.trace.high(), 0);
    let wide = of(Zipkin { wide_ids: true, timed_ids: true, ..Zipkin::default() }).context;
    assert_eq!((wide.trace.high() >> 32, wide.trace.low()), (0x1234_5678, wide.span));
    let timed = of(Zipkin { timed_ids: true, ..Zipkin::default() }).context;
    assert_eq!(timed.trace.0 >> 32, 0x1234_5678);
}

#[test]
fn headers_for_the_upstream_replace_the_callers() {
    let mut rng = Rng::with_seed(1);
    let mut fields =
        headers(&[("x-b3-sampled", "d"), ("a", "1"), ("x-b3-traceid", "1"), ("x-b3-spanid", "2")]);
    let zipkin = Dialect::Zipkin(Zipkin { with_w3c: true, ..shared() });
    let own = adopt(&zipkin, &fields, true, true, &mut rng, now()).unwrap();
    inject(&zipkin, &own.context, &own, &mut fields);
    let told: Vec<_> = fields
        .iter()
        .map(|(name, value)| [name, b": ", value].concat())
        .map(|line| String::from_utf8(line).unwrap())
        .collect();
    let expected = [
        "a: 1",
        "x-b3-traceid: 0000000000000001",
        "x-b3-spanid: 0000000000000002",
        "x-b3-sampled: 0",
        "traceparent: 00-00000000000000000000000000000001-0000000000000002-00",
    ];
    assert_eq!(told, expected);
}

#[test]
fn the_single_header_is_answered_with_one() {
    let mut rng = Rng::with_seed(1);
    let mut fields = headers(&[("b3", "0000000000000001-0000000000000002-1")]);
    let zipkin = Dialect::Zipkin(shared());
    let own = adopt(&zipkin, &fields, false, false, &mut rng, now()).unwrap();
    inject(&zipkin, &own.context, &own, &mut fields);
    let told = String::from_utf8(fields.value("b3").unwrap().to_vec()).unwrap();
    assert_eq!(told, format!("0000000000000001-{:016x}-1-0000000000000002", own.context.span));
    assert!(fields.value("x-b3-traceid").is_none());
}
