//! `envoy.config.accesslog.v3.AccessLog`: file and stream logs, gRPC access log services, and the filters.

#![expect(deprecated, reason = "1.40 accepts the older spellings of a file log's format")]

pub mod service;

use std::sync::Arc;

use sampan_api::envoy::config::accesslog::v3 as proto;
use sampan_api::envoy::config::accesslog::v3::access_log::ConfigType;
use sampan_api::envoy::config::core::v3::SubstitutionFormatString;
use sampan_api::envoy::extensions::access_loggers::file::v3::FileAccessLog;
use sampan_api::envoy::extensions::access_loggers::file::v3::file_access_log::AccessLogFormat;
use sampan_api::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use sampan_api::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use sampan_api::google::protobuf::Any;
use sampan_api::{MessageSupport, Support, type_url};
use sampan_filters_api::cel::Expression;
use sampan_filters_api::format::AccessLogType;
use sampan_filters_api::{Flag, Flags};
use sampan_model::fraction::FractionalPercent;

use super::{Context, Scope, format, matcher, value};
use crate::telemetry::access_log::{
    AccessLog, Comparison, ENVOY_DEFAULT, EntryFormat, Filter, LineFormat, LogTarget, MetadataMatch,
    Operation, Sampled, ServiceSettings, ValueMatch,
};

const YES: Support = Support::Supported;

/// The type of the filter extension.
const CEL: &str = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    ("envoy.config.accesslog.v3.AccessLog", &[("name", YES), ("filter", YES), ("typed_config", YES)]),
    (
        "envoy.config.accesslog.v3.AccessLogFilter",
        &[
            ("status_code_filter", YES),
            ("duration_filter", YES),
            ("not_health_check_filter", YES),
            ("traceable_filter", YES),
            ("runtime_filter", YES),
            ("and_filter", YES),
            ("or_filter", YES),
            ("header_filter", YES),
            ("response_flag_filter", YES),
            ("grpc_status_filter", YES),
            ("extension_filter", YES),
            ("metadata_filter", YES),
            ("log_type_filter", YES),
        ],
    ),
    ("envoy.config.accesslog.v3.StatusCodeFilter", &[("*", YES)]),
    ("envoy.config.accesslog.v3.DurationFilter", &[("*", YES)]),
    ("envoy.config.accesslog.v3.ComparisonFilter", &[("*", YES)]),
    ("envoy.config.accesslog.v3.NotHealthCheckFilter", &[]),
    ("envoy.config.accesslog.v3.TraceableFilter", &[]),
    ("envoy.config.accesslog.v3.ExtensionFilter", &[("name", YES), ("typed_config", YES)]),
    (
        CEL,
        &[
            ("expression", YES),
            ("cel_config", Support::Ignored("the functions that it allows are always there")),
        ],
    ),
    ("envoy.config.accesslog.v3.RuntimeFilter", &[("*", YES)]),
    ("envoy.config.accesslog.v3.AndFilter", &[("*", YES)]),
    ("envoy.config.accesslog.v3.OrFilter", &[("*", YES)]),
    ("envoy.config.accesslog.v3.HeaderFilter", &[("*", YES)]),
    ("envoy.config.accesslog.v3.ResponseFlagFilter", &[("*", YES)]),
    ("envoy.config.accesslog.v3.GrpcStatusFilter", &[("*", YES)]),
    ("envoy.config.accesslog.v3.MetadataFilter", &[("*", YES)]),
    ("envoy.config.accesslog.v3.LogTypeFilter", &[("*", YES)]),
    ("envoy.config.core.v3.RuntimeUInt32", &[("*", YES)]),
    ("envoy.type.v3.FractionalPercent", &[("*", YES)]),
    ("envoy.extensions.access_loggers.file.v3.FileAccessLog", &[("*", YES)]),
    ("envoy.extensions.access_loggers.stream.v3.StdoutAccessLog", &[("*", YES)]),
    ("envoy.extensions.access_loggers.stream.v3.StderrAccessLog", &[("*", YES)]),
];

/// The good ones of a list of access logs; the others are told to the scope.
pub fn access_logs(protos: &[proto::AccessLog], context: &Context, at: &Scope<'_>) -> Vec<Arc<AccessLog>> {
    let each = protos.iter().enumerate();
    each.filter_map(|(i, proto)| access_log(proto, context, &at.index(i))).map(Arc::new).collect()
}

/// One access log, with its file or service open.
pub fn access_log(proto: &proto::AccessLog, context: &Context, at: &Scope<'_>) -> Option<AccessLog> {
    let condition = proto.filter.as_ref().map(|proto| filter(proto, &at.field("filter")));
    let Some(ConfigType::TypedConfig(any)) = &proto.config_type else {
        return at.field("typed_config").reject_value(
            &proto.name,
            "the log has no configuration",
            "give a typed_config; the name alone chooses nothing",
        );
    };
    let config_at = at.field("typed_config");
    let destination = destination(any, &config_at)?;
    let condition = match condition {
        Some(None) => return None,
        Some(filter) => filter,
        None => None,
    };
    let (target, format) = match destination {
        Destination::Lines(target, format) => (target, format),
        Destination::Entries(settings, format) => {
            let service = context.log_services.open(*settings);
            return Some(AccessLog::to_service(condition, format, service));
        }
    };
    match context.log_files.open(&target) {
        Ok(file) => Some(AccessLog::new(condition, format, file)),
        Err(error) => config_at.field("path").reject_value(
            &error.target,
            format!("cannot be opened: {}", error.source),
            "the directory must exist and be writable",
        ),
    }
}

/// Where a log goes, and in which form.
enum Destination {
    Lines(LogTarget, LineFormat),
    Entries(Box<ServiceSettings>, EntryFormat),
}

fn destination(any: &Any, at: &Scope<'_>) -> Option<Destination> {
    let entries = match type_url::full_name(&any.type_url) {
        service::HTTP => service::http(any, at),
        service::TCP => service::tcp(any, at),
        _ => return lines(any, at).map(|(target, format)| Destination::Lines(target, format)),
    };
    entries.map(|(settings, format)| Destination::Entries(Box::new(settings), format))
}

fn lines(any: &Any, at: &Scope<'_>) -> Option<(LogTarget, LineFormat)> {
    match type_url::full_name(&any.type_url) {
        "envoy.extensions.access_loggers.file.v3.FileAccessLog" => {
            let proto: FileAccessLog = value::payload(any, at)?;
            let format = file_format(&proto, at);
            if proto.path.is_empty() {
                return at.field("path").reject("is required");
            }
            Some((LogTarget::path(&proto.path), format?))
        }
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog" => {
            let proto: StdoutAccessLog = value::payload(any, at)?;
            let format = proto.access_log_format.as_ref();
            let format = format.map(|stdout_access_log::AccessLogFormat::LogFormat(format)| format);
            Some((LogTarget::Stdout, log_format(format, at)?))
        }
        "envoy.extensions.access_loggers.stream.v3.StderrAccessLog" => {
            let proto: StderrAccessLog = value::payload(any, at)?;
            let format = proto.access_log_format.as_ref();
            let format = format.map(|stderr_access_log::AccessLogFormat::LogFormat(format)| format);
            Some((LogTarget::Stderr, log_format(format, at)?))
        }
        _ => at.reject_value(
            &any.type_url,
            "this kind of access log is not supported by this version",
            "use a FileAccessLog, StdoutAccessLog, StderrAccessLog, HttpGrpcAccessLogConfig or TcpGrpcAccessLogConfig",
        ),
    }
}

fn file_format(proto: &FileAccessLog, at: &Scope<'_>) -> Option<LineFormat> {
    match &proto.access_log_format {
        Some(AccessLogFormat::LogFormat(proto)) => log_format(Some(proto), at),
        Some(AccessLogFormat::Format(text)) if !text.is_empty() => {
            format::text(text, false, &at.field("format"))
        }
        Some(AccessLogFormat::JsonFormat(tree)) => format::json(tree, false, &at.field("json_format")),
        Some(AccessLogFormat::TypedJsonFormat(tree)) => {
            format::json(tree, false, &at.field("typed_json_format"))
        }
        Some(AccessLogFormat::Format(_)) | None => log_format(None, at),
    }
}

fn log_format(proto: Option<&SubstitutionFormatString>, at: &Scope<'_>) -> Option<LineFormat> {
    match proto {
        Some(proto) => format::substitution(proto, &at.field("log_format")),
        None => format::text(ENVOY_DEFAULT, false, at),
    }
}

/// A filter; also the condition of a local reply mapper.
pub fn filter(proto: &proto::AccessLogFilter, at: &Scope<'_>) -> Option<Filter> {
    nested(proto, at, 0)
}

/// Deeper filters are refused, so that they cannot exhaust the stack.
const DEEPEST: usize = 32;

fn nested(proto: &proto::AccessLogFilter, at: &Scope<'_>, depth: usize) -> Option<Filter> {
    use proto::access_log_filter::FilterSpecifier as Kind;
    if depth > DEEPEST {
        return at.reject(format!("nested more than {DEEPEST} deep"));
    }
    match proto.filter_specifier.as_ref() {
        None => at.reject("no filter is given"),
        Some(Kind::StatusCodeFilter(filter)) => {
            comparison(filter.comparison.as_ref(), &at.field("status_code_filter")).map(Filter::StatusCode)
        }
        Some(Kind::DurationFilter(filter)) => {
            comparison(filter.comparison.as_ref(), &at.field("duration_filter")).map(Filter::Duration)
        }
        Some(Kind::NotHealthCheckFilter(_)) => Some(Filter::NotHealthCheck),
        Some(Kind::TraceableFilter(_)) => Some(Filter::Traceable),
        Some(Kind::RuntimeFilter(filter)) => Some(Filter::Sampled(sampled(filter))),
        Some(Kind::AndFilter(all)) => list(&all.filters, &at.field("and_filter"), depth).map(Filter::All),
        Some(Kind::OrFilter(any)) => list(&any.filters, &at.field("or_filter"), depth).map(Filter::Any),
        Some(Kind::HeaderFilter(filter)) => {
            let at = at.field("header_filter");
            let at = at.field("header");
            match &filter.header {
                Some(header) => matcher::header(header, &at).map(Filter::Header),
                None => at.reject("is required"),
            }
        }
        Some(Kind::ResponseFlagFilter(filter)) => flags(&filter.flags, &at.field("response_flag_filter")),
        Some(Kind::GrpcStatusFilter(filter)) => {
            let statuses = filter.statuses.iter().map(|&status| status as u32);
            Some(Filter::grpc_statuses(statuses, filter.exclude))
        }
        Some(Kind::ExtensionFilter(extension)) => extension_filter(extension, &at.field("extension_filter")),
        Some(Kind::MetadataFilter(filter)) => metadata(filter, &at.field("metadata_filter")),
        Some(Kind::LogTypeFilter(filter)) => log_types(filter, &at.field("log_type_filter")),
    }
}

fn extension_filter(proto: &proto::ExtensionFilter, at: &Scope<'_>) -> Option<Filter> {
    let Some(proto::extension_filter::ConfigType::TypedConfig(any)) = &proto.config_type else {
        return at.reject_value(&proto.name, "the filter has no typed_config", "");
    };
    if type_url::full_name(&any.type_url) != CEL {
        return at.reject_value(&any.type_url, "there is no such filter extension", "use the CEL filter");
    }
    let at = at.field("typed_config");
    let config: ExpressionFilter = value::payload(any, &at)?;
    match Expression::parse(&config.expression) {
        Ok(expression) => Some(Filter::Cel(expression)),
        Err(error) => at.field("expression").reject_value(&config.expression, error.reason, ""),
    }
}

fn list(protos: &[proto::AccessLogFilter], at: &Scope<'_>, depth: usize) -> Option<Vec<Filter>> {
    let at = at.field("filters");
    let each = protos.iter().enumerate();
    let filters: Vec<_> = each.filter_map(|(i, proto)| nested(proto, &at.index(i), depth + 1)).collect();
    (filters.len() == protos.len()).then_some(filters)
}

fn comparison(proto: Option<&proto::ComparisonFilter>, at: &Scope<'_>) -> Option<Comparison> {
    use proto::comparison_filter::Op;
    let at = at.field("comparison");
    let Some(proto) = proto else { return at.reject("is required") };
    let Some(value) = &proto.value else { return at.field("value").reject("is required") };
    let operation = match Op::try_from(proto.op) {
        Ok(Op::Eq) => Operation::Equal,
        Ok(Op::Ge) => Operation::AtLeast,
        Ok(Op::Le) => Operation::AtMost,
        Ok(Op::Ne) => Operation::NotEqual,
        Err(_) => return at.field("op").reject_value(proto.op, "there is no such comparison", ""),
    };
    Some(Comparison { operation, value: value.default_value, runtime_key: value.runtime_key.as_str().into() })
}

fn sampled(proto: &proto::RuntimeFilter) -> Sampled {
    Sampled {
        runtime_key: proto.runtime_key.as_str().into(),
        percent: proto.percent_sampled.as_ref().map_or(FractionalPercent::NEVER, value::fraction),
        independent: proto.use_independent_randomness,
    }
}

fn flags(names: &[String], at: &Scope<'_>) -> Option<Filter> {
    let at = at.field("flags");
    let known = names.iter().enumerate().map(|(i, name)| {
        Flag::from_short(name)
            .or_else(|| at.index(i).reject_value(name, "there is no such response flag", ""))
    });
    let known: Vec<_> = known.collect();
    known.into_iter().collect::<Option<Flags>>().map(Filter::Flags)
}

fn metadata(proto: &proto::MetadataFilter, at: &Scope<'_>) -> Option<Filter> {
    let missing = proto.match_if_key_not_found.as_ref().is_none_or(|wrapper| wrapper.value);
    match &proto.matcher {
        Some(condition) => matcher::metadata(condition, missing, &at.field("matcher")).map(Filter::Metadata),
        // Nothing is found where nothing is looked for.
        None => Some(Filter::Metadata(MetadataMatch {
            namespace: "".into(),
            path: Vec::new(),
            value: ValueMatch::Null,
            missing,
            invert: false,
        })),
    }
}

fn log_types(proto: &proto::LogTypeFilter, at: &Scope<'_>) -> Option<Filter> {
    let at = at.field("types");
    let known = proto.types.iter().enumerate().map(|(i, &number)| {
        let known = usize::try_from(number).ok().and_then(|number| AccessLogType::ALL.get(number).copied());
        known.or_else(|| at.index(i).reject_value(number, "there is no such access log type", ""))
    });
    let known: Vec<_> = known.collect();
    let types = known.into_iter().collect::<Option<Vec<_>>>()?;
    Some(Filter::log_types(types, proto.exclude))
}

#[cfg(test)]
mod tests;
