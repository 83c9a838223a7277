//! Shares of requests and switches that the runtime may change.

use sampan_api::envoy::config::core::v3 as core;
use sampan_api::envoy::r#type::v3::FractionalPercent;
use sampan_api::envoy::r#type::v3::fractional_percent::DenominatorType;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::{RuntimeFraction, RuntimeSwitch};

const YES: Support = Support::Supported;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    ("envoy.config.core.v3.RuntimeFractionalPercent", &[("default_value", YES), ("runtime_key", YES)]),
    ("envoy.config.core.v3.RuntimeFeatureFlag", &[("default_value", YES), ("runtime_key", YES)]),
    ("envoy.type.v3.FractionalPercent", &[("numerator", YES), ("denominator", YES)]),
];

/// A share; without a default value it is zero, as in Envoy.
pub fn fraction(proto: &core::RuntimeFractionalPercent) -> RuntimeFraction {
    let (numerator, denominator) = proto.default_value.as_ref().map_or((0, 100), parts);
    RuntimeFraction { numerator, denominator, key: proto.runtime_key.as_str().into() }
}

/// How many of how many.
pub fn parts(proto: &FractionalPercent) -> (u32, u32) {
    let denominator = match proto.denominator() {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    };
    (proto.numerator, denominator)
}

/// A switch.
pub fn switch(proto: &core::RuntimeFeatureFlag, default: bool) -> RuntimeSwitch {
    let default = proto.default_value.map_or(default, |wrapper| wrapper.value);
    RuntimeSwitch { default, key: proto.runtime_key.as_str().into() }
}
