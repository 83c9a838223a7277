//! The configuration of the network filter `local_ratelimit`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use sampan_api::envoy::extensions::filters::network::local_ratelimit::v3 as pb;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::RuntimeSwitch;
use sampan_filters_api::network::NetworkFilterFactory;

use super::{COUNTERS, LocalRateLimit};
use crate::config::{Compiled, ConfigError, FilterContext, fraction, payload, rate_limit};
use crate::rate_limit::bucket::{Bucket, Shape};

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit";

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[(
    MESSAGE,
    &[("stat_prefix", YES), ("token_bucket", YES), ("runtime_enabled", YES), ("share_key", YES)],
)];

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn NetworkFilterFactory>> {
    let proto: pb::LocalRateLimit = payload(bytes)?;
    let mut errors = Vec::new();
    if proto.stat_prefix.is_empty() {
        errors.push(ConfigError::new("stat_prefix", "is required"));
    }
    let shape = match &proto.token_bucket {
        Some(bucket) => rate_limit::bucket(bucket, "token_bucket"),
        None => Err(ConfigError::new("token_bucket", "is required")),
    };
    let shape = match shape {
        Ok(shape) if errors.is_empty() => shape,
        Ok(_) => return Err(errors),
        Err(error) => {
            errors.push(error);
            return Err(errors);
        }
    };
    let prefix = format!("{}local_rate_limit.{}.", context.prefix, proto.stat_prefix);
    Ok(Arc::new(LocalRateLimit {
        bucket: bucket(&proto.share_key, shape),
        enabled: proto.runtime_enabled.as_ref().map_or_else(
            || RuntimeSwitch { default: true, key: "".into() },
            |switch| fraction::switch(switch, true),
        ),
        counters: context.counters.counters(&prefix, COUNTERS),
    }))
}

/// Buckets by `share_key`, for as long as a filter holds them.
static SHARED: Mutex<Option<HashMap<String, Weak<Bucket>>>> = Mutex::new(None);

/// A bucket; that of the key, if a filter of the same shape has it already.
fn bucket(key: &str, shape: Shape) -> Arc<Bucket> {
    let fresh = || Arc::new(Bucket::new(shape, Instant::now()));
    if key.is_empty() {
        return fresh();
    }
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = shared.get_or_insert_default();
    shared.retain(|_, bucket| bucket.strong_count() > 0);
    let known = shared.get(key).and_then(Weak::upgrade).filter(|bucket| bucket.shape() == shape);
    known.unwrap_or_else(|| {
        let bucket = fresh();
        shared.insert(key.to_owned(), Arc::downgrade(&bucket));
        bucket
    })
}
