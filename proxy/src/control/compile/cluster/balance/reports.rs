//! The policy `client_side_weighted_round_robin`: weights by the load that hosts report in their responses.

use std::sync::Arc;
use std::time::Duration;

use sampan_api::envoy::extensions::load_balancing_policies::client_side_weighted_round_robin::v3 as pb;
use sampan_api::google::protobuf::Any;
use sampan_api::{MessageSupport, Support};
use sampan_model::lb::{LbPolicy, LoadReports, Settings};

use super::super::super::{Scope, value};
use super::{Balance, typed, zone};
use crate::control::compile::tls::LocalCluster;

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("a cluster that sets it is refused");

pub(super) const SUPPORT: &[MessageSupport] = &[(
    "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
    &[
        ("enable_oob_load_report", REFUSED),
        ("oob_reporting_period", Support::Ignored("it is for reports out of band, which are refused")),
        ("oob_reporting_config", Support::Ignored("it is for reports out of band, which are refused")),
        ("blackout_period", YES),
        ("weight_expiration_period", YES),
        ("weight_update_period", YES),
        ("error_utilization_penalty", YES),
        ("metric_names_for_computing_utilization", YES),
        ("slow_start_config", YES),
    ],
)];

pub(super) fn compile(any: &Any, local: Option<&LocalCluster>, at: &Scope<'_>) -> Option<Balance> {
    let config: pb::ClientSideWeightedRoundRobin = value::payload(any, at)?;
    if value::switch(config.enable_oob_load_report.as_ref()) == Some(true) {
        return at.field("enable_oob_load_report").reject_value(
            "true",
            "load reports out of band are not supported",
            "reports in responses are: leave it out",
        );
    }
    let standard = LoadReports::default();
    let time =
        |field: Option<&_>, name: &str, standard| value::duration(field, &at.field(name)).unwrap_or(standard);
    let update = time(config.weight_update_period.as_ref(), "weight_update_period", standard.update);
    let penalty =
        config.error_utilization_penalty.map_or(standard.error_penalty, |wrapper| wrapper.value.into());
    let reports = LoadReports {
        blackout: time(config.blackout_period.as_ref(), "blackout_period", standard.blackout),
        expiration: time(
            config.weight_expiration_period.as_ref(),
            "weight_expiration_period",
            standard.expiration,
        ),
        update: update.max(Duration::from_millis(100)),
        error_penalty: penalty,
        metrics: config
            .metric_names_for_computing_utilization
            .iter()
            .map(|name| name.as_str().into())
            .collect(),
    };
    let settings = Settings {
        policy: LbPolicy::ClientWeighted,
        slow_start: typed::slow_start_of(config.slow_start_config.as_ref(), at),
        reports: Some(Arc::new(reports)),
        zone: zone::typed(None, local),
        ..Settings::default()
    };
    Some(Balance { settings, ..Balance::default() })
}
