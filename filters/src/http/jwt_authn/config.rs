//! The configuration of the JWT filter, its own and that of routes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use sampan_api::envoy::extensions::filters::http::jwt_authn::v3 as pb;
use sampan_api::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::JwksSourceSpecifier;
use sampan_api::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use sampan_api::envoy::extensions::filters::http::jwt_authn::v3::per_route_config::RequirementSpecifier;
use sampan_api::envoy::extensions::filters::http::jwt_authn::v3::requirement_rule::RequirementType;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::Counters;
use sampan_filters_api::http::{HttpFilterFactory, RouteConfig};

use super::keys::Keys;
use super::provider::{Audiences, Place, Provider};
use super::requirement::Requirement;
use super::source::{Remote, Source};
use super::{COUNTERS, JwtAuthn, RouteSettings, Rule, Settings};
use crate::config::matcher::{string, under};
use crate::config::route_match::route_match;
use crate::config::{Compiled, ConfigError, FilterContext, data_source, duration, payload, remote};

const YES: Support = Support::Supported;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
/// Full name of the per-route message.
pub const PER_ROUTE: &str = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";

macro_rules! of {
    ($name:literal) => {
        concat!("envoy.extensions.filters.http.jwt_authn.v3.", $name)
    };
}

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    (MESSAGE, &[("*", YES)]),
    (PER_ROUTE, &[("*", YES)]),
    (of!("JwtProvider"), &[("*", YES)]),
    (of!("JwtProvider.NormalizePayload"), &[("*", YES)]),
    (of!("JwtCacheConfig"), &[("*", YES)]),
    (of!("RemoteJwks"), &[("*", YES)]),
    (
        of!("JwksAsyncFetch"),
        &[
            (
                "fast_listener",
                Support::Ignored("listeners never wait for keys: a request that comes early fetches them"),
            ),
            ("failed_refetch_duration", YES),
        ],
    ),
    (of!("JwtHeader"), &[("*", YES)]),
    (of!("ProviderWithAudiences"), &[("*", YES)]),
    (
        of!("JwtRequirement"),
        &[
            ("*", YES),
            ("extract_only_without_validation", Support::Later("a requirement that sets it is refused")),
        ],
    ),
    (of!("JwtRequirementOrList"), &[("*", YES)]),
    (of!("JwtRequirementAndList"), &[("*", YES)]),
    (of!("RequirementRule"), &[("*", YES)]),
    (of!("FilterStateRule"), &[("*", YES)]),
    (of!("JwtClaimToHeader"), &[("*", YES)]),
    (of!("JwtClaimToHeader.PathSegment"), &[("*", YES)]),
];

/// The longest set of keys that a file or the configuration may hold.
const LONGEST: usize = 1024 * 1024;
/// How long keys are kept where nothing is configured.
const KEEP: Duration = Duration::from_mins(5);
/// How long a fetch may take where nothing is configured.
const TIMEOUT: Duration = Duration::from_secs(1);
/// When keys are asked for again, whatever the policy's own conditions are.
const RETRY_ON: &str = "5xx,gateway-error,connect-failure,reset";
/// `clock_skew_seconds` where nothing is configured.
const SKEW: u64 = 60;
/// Deeper requirements are refused, so that they cannot exhaust the stack.
const DEEPEST: usize = 32;

type Providers = HashMap<String, Arc<Provider>>;

/// Makes the factory.
pub fn compile(bytes: &[u8], context: &FilterContext<'_>) -> Compiled<Arc<dyn HttpFilterFactory>> {
    let proto: pb::JwtAuthentication = payload(bytes)?;
    let mut errors = Vec::new();
    let prefix = match &*proto.stat_prefix {
        "" => format!("{}jwt_authn.", context.prefix),
        own => format!("{}jwt_authn.{own}.", context.prefix),
    };
    let counters = context.counters.counters(&prefix, COUNTERS);
    let mut names: Vec<&String> = proto.providers.keys().collect();
    names.sort();
    let mut providers = Providers::new();
    let mut ordered = Vec::new();
    for name in names {
        match provider(&proto.providers[name], &format!("providers[{name:?}]"), &counters) {
            Ok(provider) => {
                let provider = Arc::new(provider);
                ordered.push(Arc::clone(&provider));
                providers.insert(name.clone(), provider);
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let compile = Compile { providers: &providers, ordered: &ordered };
    let mut named = compile.map(&proto.requirement_map, "requirement_map", &mut errors);
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let mut rules = Vec::new();
    for (index, rule) in proto.rules.iter().enumerate() {
        match compile.rule(rule, &named, &format!("rules[{index}]")) {
            Ok(rule) => rules.push(rule),
            Err(error) => errors.push(error),
        }
    }
    let by_state = proto.filter_state_rules.as_ref().map(|rule| {
        (rule.name.as_str().into(), compile.map(&rule.requires, "filter_state_rules.requires", &mut errors))
    });
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Arc::new(JwtAuthn(Arc::new(Settings {
        providers: ordered,
        rules,
        named,
        by_state,
        bypass_preflight: proto.bypass_cors_preflight,
        silent: proto.strip_failure_response,
        counters,
    }))))
}

/// Compiles the configuration of a route or virtual host.
pub fn compile_route(bytes: &[u8], _: &FilterContext<'_>) -> Compiled<RouteConfig> {
    let proto: pb::PerRouteConfig = payload(bytes)?;
    Ok(Arc::new(match proto.requirement_specifier {
        Some(RequirementSpecifier::Disabled(true)) => RouteSettings::Off,
        Some(RequirementSpecifier::Disabled(false)) => {
            return Err(vec![ConfigError::new("disabled", "can only be true")]);
        }
        Some(RequirementSpecifier::RequirementName(name)) => RouteSettings::Named(name.into()),
        None => return Err(vec![ConfigError::new("", "neither disabled nor requirement_name is given")]),
    }))
}

fn provider(proto: &pb::JwtProvider, path: &str, counters: &Arc<Counters>) -> Result<Provider, ConfigError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let source = match &proto.jwks_source_specifier {
        Some(JwksSourceSpecifier::LocalJwks(local)) => {
            let at = under(path, "local_jwks");
            let text = data_source(local, LONGEST, &at)?;
            let keys = Keys::parse(&text);
            let reason = "the key set has no key that can be used";
            Source::Local(Arc::new(keys.ok_or_else(|| ConfigError::new(at, reason))?))
        }
        Some(JwksSourceSpecifier::RemoteJwks(remote)) => {
            Source::Remote(Arc::new(self::remote(remote, &under(path, "remote_jwks"), counters)?))
        }
        None => return Err(ConfigError::new(path, "neither remote_jwks nor local_jwks is given")),
    };
    let claims = proto.claim_to_headers.iter().map(|claim| {
        let path: Vec<Box<str>> = if claim.claim_path.is_empty() {
            claim.claim_name.split('.').map(Box::from).collect()
        } else {
            claim.claim_path.iter().map(|step| step.key.as_str().into()).collect()
        };
        (claim.header_name.to_ascii_lowercase().into(), path)
    });
    let lists = proto.normalize_payload_in_metadata.as_ref();
    let lists = lists.map(|proto| proto.space_delimited_claims.iter().map(|name| name.as_str().into()));
    let life = proto.max_lifetime.as_ref().map(|proto| duration(proto, &under(path, "max_lifetime")));
    let header = &proto.forward_payload_header;
    Ok(Provider {
        id: NEXT.fetch_add(1, Relaxed),
        issuer: proto.issuer.as_str().into(),
        audiences: Audiences::new(&proto.audiences),
        subjects: proto.subjects.as_ref().map(|rule| string(rule, &under(path, "subjects"))).transpose()?,
        must_expire: proto.require_expiration,
        longest_life: life.transpose()?,
        skew: if proto.clock_skew_seconds == 0 { SKEW } else { proto.clock_skew_seconds.into() },
        source,
        forward: proto.forward,
        places: places(proto),
        payload_header: (!header.is_empty())
            .then(|| (header.to_ascii_lowercase().into(), proto.pad_forward_payload_header)),
        claims: claims.collect(),
        payload_key: proto.payload_in_metadata.as_str().into(),
        header_key: proto.header_in_metadata.as_str().into(),
        failure_key: proto.failed_status_in_metadata.as_str().into(),
        lists: lists.map(Iterator::collect).unwrap_or_default(),
        clear_route: proto.clear_route_cache,
        cache: proto.jwt_cache_config.as_ref().map(|cache| {
            let or = |number: u32, default| if number == 0 { default } else { number as usize };
            (or(cache.jwt_cache_size, 100), or(cache.jwt_max_token_size, 4096))
        }),
    })
}

fn places(proto: &pb::JwtProvider) -> Vec<Place> {
    let mut headers: Vec<(Box<str>, Box<str>)> = proto
        .from_headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase().into(), header.value_prefix.as_str().into()))
        .collect();
    let mut parameters: Vec<Box<str>> = proto.from_params.iter().map(|name| name.as_str().into()).collect();
    let mut cookies: Vec<Box<str>> = proto.from_cookies.iter().map(|name| name.as_str().into()).collect();
    if headers.is_empty() && parameters.is_empty() && cookies.is_empty() {
        headers.push(("authorization".into(), "Bearer ".into()));
        parameters.push("access_token".into());
    }
    headers.sort();
    parameters.sort();
    cookies.sort();
    let headers = headers.into_iter().map(|(name, prefix)| Place::Header(name, prefix));
    let parameters = parameters.into_iter().map(Place::Parameter);
    headers.chain(parameters).chain(cookies.into_iter().map(Place::Cookie)).collect()
}

fn remote(proto: &pb::RemoteJwks, path: &str, counters: &Arc<Counters>) -> Result<Remote, ConfigError> {
    let time =
        |proto: Option<&_>, path: &str, default| proto.map_or(Ok(default), |proto| duration(proto, path));
    let retry = remote::retry(proto.retry_policy.as_ref(), Some(RETRY_ON), &under(path, "retry_policy"))?;
    let ahead = proto.async_fetch.as_ref().map(|fetch| {
        let at = under(path, "async_fetch.failed_refetch_duration");
        time(fetch.failed_refetch_duration.as_ref(), &at, TIMEOUT)
    });
    Ok(Remote {
        server: remote::http(proto.http_uri.as_ref(), TIMEOUT, &under(path, "http_uri"))?,
        keep: time(proto.cache_duration.as_ref(), &under(path, "cache_duration"), KEEP)?,
        retry,
        ahead: ahead.transpose()?.map(|pause| pause.max(Duration::from_millis(10))),
        kept: ArcSwapOption::empty(),
        started: AtomicBool::new(false),
        counters: Arc::clone(counters),
    })
}

/// What requirements are compiled with.
struct Compile<'c> {
    providers: &'c Providers,
    ordered: &'c [Arc<Provider>],
}

impl Compile<'_> {
    fn map(
        &self,
        protos: &HashMap<String, pb::JwtRequirement>,
        path: &str,
        errors: &mut Vec<ConfigError>,
    ) -> Vec<(Box<str>, Arc<Requirement>)> {
        let mut found = Vec::with_capacity(protos.len());
        for (name, proto) in protos {
            match self.requirement(proto, &[], &format!("{path}[{name:?}]"), 0) {
                Ok(requirement) => found.push((name.as_str().into(), Arc::new(requirement))),
                Err(error) => errors.push(error),
            }
        }
        found
    }

    fn rule(
        &self,
        proto: &pb::RequirementRule,
        named: &[(Box<str>, Arc<Requirement>)],
        path: &str,
    ) -> Result<Rule, ConfigError> {
        let at = under(path, "match");
        let Some(matcher) = &proto.r#match else { return Err(ConfigError::new(at, "is required")) };
        let requirement = match &proto.requirement_type {
            None => None,
            Some(RequirementType::Requires(requirement)) => {
                Some(Arc::new(self.requirement(requirement, &[], &under(path, "requires"), 0)?))
            }
            Some(RequirementType::RequirementName(name)) => {
                let known = named.iter().find(|(known, _)| **known == **name);
                let Some((_, requirement)) = known else {
                    let error =
                        ConfigError::new(under(path, "requirement_name"), "is not in requirement_map");
                    return Err(error.value(name));
                };
                Some(Arc::clone(requirement))
            }
        };
        Ok(Rule { matcher: route_match(matcher, &at)?, requirement })
    }

    fn requirement(
        &self,
        proto: &pb::JwtRequirement,
        beside: &[Arc<Provider>],
        path: &str,
        depth: usize,
    ) -> Result<Requirement, ConfigError> {
        if depth > DEEPEST {
            return Err(ConfigError::new(path, format!("nested more than {DEEPEST} deep")));
        }
        // Of the providers beside it in a list, or else of all of them.
        let some = || if beside.is_empty() { self.ordered.to_vec() } else { beside.to_vec() };
        Ok(match &proto.requires_type {
            None => Requirement::Nothing,
            Some(RequiresType::ProviderName(name)) => {
                Requirement::Provider(self.provider(name, &under(path, "provider_name"))?, None)
            }
            Some(RequiresType::ProviderAndAudiences(both)) => {
                let at = under(path, "provider_and_audiences.provider_name");
                let audiences = Audiences::new(&both.audiences);
                let own = (!audiences.is_empty()).then_some(audiences);
                Requirement::Provider(self.provider(&both.provider_name, &at)?, own)
            }
            Some(RequiresType::RequiresAll(all)) => {
                let path = under(path, "requires_all");
                let each = all.requirements.iter().enumerate();
                let each = each.map(|(index, one)| {
                    self.requirement(one, &[], &format!("{path}.requirements[{index}]"), depth + 1)
                });
                Requirement::All(each.collect::<Result<_, _>>()?)
            }
            Some(RequiresType::RequiresAny(any)) => {
                self.any(&any.requirements, &under(path, "requires_any"), depth)?
            }
            Some(RequiresType::AllowMissing(_)) => Requirement::AllowMissing(some()),
            Some(RequiresType::AllowMissingOrFailed(_)) => Requirement::AllowFailed(some()),
            Some(RequiresType::ExtractOnlyWithoutValidation(_)) => {
                let at = under(path, "extract_only_without_validation");
                return Err(ConfigError::new(at, "is not supported yet"));
            }
        })
    }

    /// What lets a request pass without a good token comes last, and only one of it counts.
    fn any(
        &self,
        protos: &[pb::JwtRequirement],
        path: &str,
        depth: usize,
    ) -> Result<Requirement, ConfigError> {
        let mut found = Vec::new();
        let mut beside = Vec::new();
        let mut bypass: Option<(usize, bool)> = None;
        for (index, proto) in protos.iter().enumerate() {
            let at = format!("{path}.requirements[{index}]");
            match &proto.requires_type {
                Some(RequiresType::AllowMissing(_)) => {
                    bypass.get_or_insert((index, false));
                    continue;
                }
                Some(RequiresType::AllowMissingOrFailed(_)) => {
                    if bypass.is_none_or(|(_, failed)| !failed) {
                        bypass = Some((index, true));
                    }
                    continue;
                }
                Some(RequiresType::ProviderName(name)) => beside.push(self.provider(name, &at)?),
                Some(RequiresType::ProviderAndAudiences(both)) => {
                    beside.push(self.provider(&both.provider_name, &at)?);
                }
                _ => {}
            }
            found.push(self.requirement(proto, &[], &at, depth + 1)?);
        }
        if let Some((index, _)) = bypass {
            let at = format!("{path}.requirements[{index}]");
            found.push(self.requirement(&protos[index], &beside, &at, depth + 1)?);
        }
        Ok(Requirement::Any(found))
    }

    fn provider(&self, name: &str, path: &str) -> Result<Arc<Provider>, ConfigError> {
        let known = self.providers.get(name).cloned();
        known.ok_or_else(|| ConfigError::new(path, "there is no provider of this name").value(name))
    }
}
