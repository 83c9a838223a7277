//! The policy `peak_ewma`, which is Sampan's own: a `TypedStruct` under a name of ours, as the API of Envoy has no message for it.

use std::time::Duration;

use prost::Message as _;
use sampan_api::google::protobuf::value::Kind;
use sampan_api::google::protobuf::{Any, Struct, Value};
use sampan_api::type_url;
use sampan_model::lb::{LbPolicy, PeakEwma};

use super::super::super::{Scope, value};

/// The message that the struct stands for.
pub(super) const NAME: &str = "sampan.load_balancing_policies.peak_ewma.v1.PeakEwma";

/// `xds.type.v3.TypedStruct`; the older kind has the same fields.
#[derive(Clone, PartialEq, prost::Message)]
struct TypedStruct {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Struct>,
}

/// Whether it is a struct that stands for the policy.
pub(super) fn is(any: &Any) -> bool {
    let named = |proto: TypedStruct| type_url::full_name(&proto.type_url) == NAME;
    type_url::is_typed_struct(&any.type_url) && TypedStruct::decode(any.value.as_slice()).is_ok_and(named)
}

/// The policy.
pub(super) fn compile(any: &Any, at: &Scope<'_>) -> Option<LbPolicy> {
    settings(&value::payload(any, at)?, &at.field("value"))
}

fn settings(proto: &TypedStruct, at: &Scope<'_>) -> Option<LbPolicy> {
    let mut settings = PeakEwma::default();
    for (name, value) in proto.value.iter().flat_map(|fields| &fields.fields) {
        let at = at.field(name);
        match name.as_str() {
            "default_rtt" | "defaultRtt" => settings.default_rtt = duration(value, &at)?,
            "decay_time" | "decayTime" => settings.decay = duration(value, &at)?,
            _ => return at.reject("there is no such field; default_rtt and decay_time are"),
        }
    }
    Some(LbPolicy::PeakEwma(settings))
}

/// A duration as JSON has it: `0.03s`.
fn duration(value: &Value, at: &Scope<'_>) -> Option<Duration> {
    let seconds = match &value.kind {
        Some(Kind::StringValue(text)) => text.strip_suffix('s').and_then(|text| text.parse::<f64>().ok()),
        _ => None,
    };
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match duration.filter(|duration| !duration.is_zero()) {
        Some(duration) => Some(duration),
        None => at.reject("must be a duration above zero, as in \"0.03s\""),
    }
}
