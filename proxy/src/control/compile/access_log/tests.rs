//! From configuration to logs, or to the reasons against them.

use sampan_api::{Descriptors, Document, Format, UnknownFields, decode};

use super::*;
use crate::control::compile::scope::Rejects;

fn compiled(yaml: &str) -> Result<AccessLog, Vec<(String, String)>> {
    let document = Document::parse(yaml, Format::Yaml).unwrap();
    let proto =
        decode::<proto::AccessLog>(Descriptors::load(), &document, UnknownFields::Reject).unwrap().value;
    let rejects = Rejects::default();
    let log =
        access_log(&proto, &crate::control::compile::testing::context(), &Scope::root("test", &rejects));
    let told: Vec<_> = rejects.into_vec().into_iter().map(|r| (r.path, r.reason)).collect();
    match log {
        Some(log) if told.is_empty() => Ok(log),
        None if !told.is_empty() => Err(told),
        _ => panic!("a log without complaints, or complaints without: {told:?}"),
    }
}

fn with_format(fields: &str) -> Result<AccessLog, Vec<(String, String)>> {
    compiled(&format!(
        "{{name: f, typed_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, \
         path: /dev/null, {fields}}}}}"
    ))
}

fn with_filter(filter: &str) -> Result<AccessLog, Vec<(String, String)>> {
    compiled(&format!(
        "{{name: f, filter: {filter}, typed_config: {{'@type': \
         type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}}}}"
    ))
}

#[track_caller]
fn refused(result: Result<AccessLog, Vec<(String, String)>>, path: &str, reason: &str) {
    let told = result.map(|_| ()).unwrap_err();
    assert!(told.iter().any(|(p, r)| p == path && r.contains(reason)), "{told:?}");
}

#[test]
fn every_spelling_of_a_format() {
    for good in [
        "",
        "format: 'x %PROTOCOL%'",
        "format: ''",
        "json_format: {a: '%PROTOCOL%', b: {c: 1}}",
        "typed_json_format: {a: '%DURATION%'}",
        "log_format: {text_format: 'x'}",
        "log_format: {text_format_source: {inline_string: '%REQ(a)%'}, omit_empty_values: true}",
        "log_format: {text_format_source: {inline_bytes: JVBST1RPQ09MJQ==}}",
        "log_format: {json_format: {a: ['%BYTES_SENT%']}, json_format_options: {sort_properties: false}}",
        "log_format: {text_format: 'x', formatters: [{name: m, typed_config: {'@type': \
         type.googleapis.com/envoy.extensions.formatter.metadata.v3.Metadata}}]}",
    ] {
        if let Err(told) = with_format(good) {
            panic!("{good}: {told:?}");
        }
    }
}

#[test]
fn bad_formats_are_told_with_their_place() {
    refused(with_format("format: '%NOPE%'"), "typed_config.format", "unknown operator");
    refused(
        with_format("log_format: {json_format: {a: {b: ['%DOWNSTREAM_CX_RTT%']}}}"),
        "typed_config.log_format.json_format.a.b[0]",
        "known to Envoy, not supported",
    );
    refused(
        with_format("log_format: {text_format_source: {filename: /no/such/file}}"),
        "typed_config.log_format.text_format_source.filename",
        "cannot be read",
    );
    refused(
        with_format("log_format: {text_format: '%', formatters: [{name: envoy.formatter.cel}]}"),
        "typed_config.log_format.formatters[0]",
        "not supported",
    );
    refused(with_format("log_format: {omit_empty_values: true}"), "typed_config.log_format", "no format");
    refused(compiled("{name: envoy.access_loggers.file}"), "typed_config", "no configuration");
    refused(
        compiled(
            "{name: g, typed_config: {'@type': \
             type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig}}",
        ),
        "typed_config",
        "not supported",
    );
}

#[test]
fn every_filter() {
    const CODE: &str =
        "{status_code_filter: {comparison: {op: GE, value: {default_value: 400, runtime_key: k}}}}";
    for good in [
        CODE,
        "{duration_filter: {comparison: {value: {default_value: 1}}}}",
        "{not_health_check_filter: {}}",
        "{runtime_filter: {runtime_key: k, percent_sampled: {numerator: 5, denominator: MILLION}}}",
        "{header_filter: {header: {name: a, string_match: {exact: b, ignore_case: true}, invert_match: true}}}",
        "{header_filter: {header: {name: a, safe_regex_match: {regex: 'a.*'}}}}",
        "{response_flag_filter: {flags: [UF, URX]}}",
        "{response_flag_filter: {}}",
        "{grpc_status_filter: {statuses: [NOT_FOUND, 3], exclude: true}}",
        "{metadata_filter: {matcher: {filter: f, path: [{key: a}], value: {or_match: {value_matchers: \
         [{null_match: {}}, {list_match: {one_of: {double_match: {range: {start: 1, end: 2}}}}}]}}}}}",
        "{metadata_filter: {match_if_key_not_found: false}}",
        "{log_type_filter: {types: [DownstreamEnd, TcpConnectionEnd]}}",
    ] {
        if let Err(told) = with_filter(good) {
            panic!("{good}: {told:?}");
        }
    }
    assert!(
        with_filter(&format!(
            "{{and_filter: {{filters: [{CODE}, {{or_filter: {{filters: [{CODE}, {CODE}]}}}}]}}}}"
        ))
        .is_ok()
    );
}

#[test]
fn bad_filters_are_told_with_their_place() {
    refused(with_filter("{}"), "filter", "no filter");
    refused(with_filter("{extension_filter: {name: cel}}"), "filter.extension_filter", "");
    refused(
        with_filter(
            "{and_filter: {filters: [{not_health_check_filter: {}}, {response_flag_filter: {flags: [XX]}}]}}",
        ),
        "filter.and_filter.filters[1].response_flag_filter.flags[0]",
        "no such response flag",
    );
    refused(
        with_filter("{header_filter: {header: {name: a, string_match: {safe_regex: {regex: '('}}}}}"),
        "filter.header_filter.header.string_match.safe_regex.regex",
        "",
    );
    refused(with_filter("{log_type_filter: {types: [99]}}"), "filter.log_type_filter.types[0]", "no such");
}

#[test]
fn deep_filters_are_refused() {
    use proto::access_log_filter::FilterSpecifier;
    let filter = |kind| proto::AccessLogFilter { filter_specifier: Some(kind) };
    let mut deep = filter(FilterSpecifier::NotHealthCheckFilter(proto::NotHealthCheckFilter {}));
    for _ in 0..40 {
        deep = filter(FilterSpecifier::OrFilter(proto::OrFilter { filters: vec![deep] }));
    }
    let rejects = Rejects::default();
    assert!(super::filter(&deep, &Scope::root("test", &rejects)).is_none());
    assert!(rejects.into_vec()[0].reason.contains("nested more than"));
}

#[test]
fn the_support_rows_name_what_the_api_has() {
    let rows = SUPPORT.iter().chain(format::SUPPORT).chain(matcher::SUPPORT);
    assert_eq!(sampan_api::SupportTable::new(rows).check(Descriptors::load()), Vec::<String>::new());
}
