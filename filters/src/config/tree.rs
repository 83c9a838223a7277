//! `xds.type.matcher.v3.Matcher` -> [`Tree`], for filters whose rules may be one.

use prost::Message;
use sampan_api::envoy::extensions::matching::common_inputs::network::v3::FilterStateInput;
use sampan_api::envoy::extensions::matching::input_matchers::ip::v3::Ip;
use sampan_api::envoy::r#type::matcher::v3 as types;
use sampan_api::google::protobuf::Any;
use sampan_api::xds::core::v3 as xds_core;
use sampan_api::xds::r#type::matcher::v3 as pb;
use sampan_api::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;
use sampan_api::xds::r#type::matcher::v3::matcher::matcher_list::predicate::{
    MatchType, PredicateList, single_predicate,
};
use sampan_api::xds::r#type::matcher::v3::matcher::matcher_tree::{MatchMap, TreeType};
use sampan_api::xds::r#type::matcher::v3::matcher::{MatcherType, OnMatch, on_match};
use sampan_api::{CelMatcher, MessageSupport, Support, type_url};
use sampan_filters_api::cel::Expression;
use sampan_filters_api::format::HeaderName;
use sampan_model::route::StringMatch;

use super::ConfigError;
use super::matcher::{self, under};
use crate::tree::{Branches, Condition, Input, Next, Tree};

const YES: Support = Support::Supported;

const NETWORK: &str = "envoy.extensions.matching.common_inputs.network.v3.";
const TLS: &str = "envoy.extensions.matching.common_inputs.ssl.v3.";
const HTTP: &str = "envoy.type.matcher.v3.";
const ATTRIBUTES: &str = "xds.type.matcher.v3.HttpAttributesCelMatchInput";
const IP: &str = "envoy.extensions.matching.input_matchers.ip.v3.Ip";
const CEL: &str = "xds.type.matcher.v3.CelMatcher";

/// What is read here; the messages of trees themselves are listed by the listener's.
pub const SUPPORT: &[MessageSupport] = &[
    ("envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput", &[]),
    ("envoy.type.matcher.v3.HttpResponseStatusCodeClassMatchInput", &[]),
    ("envoy.type.matcher.v3.HttpResponseLocalReplyMatchInput", &[]),
    ("envoy.type.matcher.v3.HttpResponseHeaderMatchInput", &[("header_name", YES)]),
    ("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", &[("header_name", YES)]),
    ("envoy.type.matcher.v3.HttpRequestQueryParamMatchInput", &[("query_param", YES)]),
    (
        "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput",
        &[("key", YES), ("field", Support::Later("objects have no fields"))],
    ),
    ("envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput", &[]),
    ("envoy.extensions.matching.common_inputs.ssl.v3.DnsSanInput", &[]),
    ("envoy.extensions.matching.common_inputs.ssl.v3.SubjectInput", &[]),
    (ATTRIBUTES, &[]),
    (CEL, &[("expr_match", YES), ("description", Support::Ignored("it is a comment"))]),
    (
        "xds.type.v3.CelExpression",
        &[
            ("cel_expr_string", YES),
            ("parsed_expr", YES),
            ("checked_expr", YES),
            ("cel_expr_parsed", Support::Later("give cel_expr_string")),
            ("cel_expr_checked", Support::Later("give cel_expr_string")),
        ],
    ),
];

/// Deeper trees are refused, so that they cannot exhaust the stack.
const DEEPEST: usize = 32;

/// When a tree is asked: that settles what can be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// About requests or connections.
    Before,
    /// About requests and their responses.
    WithResponse,
}

/// How a tree is read: what stands at its ends, and what may be looked at.
struct Reader<'a, A> {
    action: &'a mut dyn FnMut(&Any, &str) -> Result<A, ConfigError>,
    asked: Asked,
}

/// Compiles a tree. `action` reads what stands at its ends.
pub fn compile<A>(
    proto: &pb::Matcher,
    path: &str,
    asked: Asked,
    action: &mut dyn FnMut(&Any, &str) -> Result<A, ConfigError>,
) -> Result<Tree<A>, ConfigError> {
    tree(proto, path, &mut Reader { action, asked }, 0)
}

fn tree<A>(
    proto: &pb::Matcher,
    path: &str,
    reader: &mut Reader<'_, A>,
    depth: usize,
) -> Result<Tree<A>, ConfigError> {
    shallow(path, depth)?;
    let branches = match &proto.matcher_type {
        None => Branches::None,
        Some(MatcherType::MatcherList(list)) => {
            let mut branches = Vec::new();
            for (index, field) in list.matchers.iter().enumerate() {
                let at = format!("{path}.matcher_list.matchers[{index}]");
                let condition =
                    condition(field.predicate.as_ref(), &under(&at, "predicate"), reader.asked, 0)?;
                let next = next(field.on_match.as_ref(), &under(&at, "on_match"), reader, depth)?;
                branches.push((condition, next));
            }
            Branches::List(branches)
        }
        Some(MatcherType::MatcherTree(tree)) => {
            let at = under(path, "matcher_tree");
            let input = input(tree.input.as_ref(), &under(&at, "input"), reader.asked)?;
            let mut map = |map: &MatchMap, field: &str| {
                let each = map.map.iter().map(|(key, value)| {
                    let at = format!("{at}.{field}.map[{key:?}]");
                    Ok::<_, ConfigError>((
                        Box::<str>::from(key.as_str()),
                        next(Some(value), &at, reader, depth)?,
                    ))
                });
                each.collect::<Result<Vec<_>, _>>()
            };
            match &tree.tree_type {
                Some(TreeType::ExactMatchMap(exact)) => {
                    Branches::Exact(input, map(exact, "exact_match_map")?.into_iter().collect())
                }
                Some(TreeType::PrefixMatchMap(prefixes)) => {
                    let mut entries = map(prefixes, "prefix_match_map")?;
                    entries.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
                    Branches::Prefix(input, entries)
                }
                Some(TreeType::CustomMatch(custom)) => {
                    let error =
                        ConfigError::new(under(&at, "custom_match"), "there is no such matcher tree here");
                    return Err(error.value(shown(custom)).hint("use exact_match_map or prefix_match_map"));
                }
                None => return Err(ConfigError::new(at, "no map is given")),
            }
        }
    };
    let otherwise = proto.on_no_match.as_ref();
    let otherwise =
        otherwise.map(|proto| next(Some(proto), &under(path, "on_no_match"), reader, depth)).transpose()?;
    Ok(Tree { branches, otherwise })
}

fn shallow(path: &str, depth: usize) -> Result<(), ConfigError> {
    if depth > DEEPEST {
        return Err(ConfigError::new(path, format!("nested more than {DEEPEST} deep")));
    }
    Ok(())
}

fn next<A>(
    proto: Option<&OnMatch>,
    path: &str,
    reader: &mut Reader<'_, A>,
    depth: usize,
) -> Result<Next<A>, ConfigError> {
    let proto = proto.ok_or_else(|| ConfigError::new(path, "is required"))?;
    if proto.keep_matching {
        let at = under(path, "keep_matching");
        return Err(ConfigError::new(at, "what matches ends the search here").hint("leave it out"));
    }
    match &proto.on_match {
        Some(on_match::OnMatch::Matcher(nested)) => {
            Ok(Next::Tree(Box::new(tree(nested, &under(path, "matcher"), reader, depth + 1)?)))
        }
        Some(on_match::OnMatch::Action(extension)) => {
            let at = under(path, "action.typed_config");
            let any = extension.typed_config.as_ref().ok_or_else(|| ConfigError::new(&*at, "is required"))?;
            (reader.action)(any, &at).map(Next::Action)
        }
        None => Err(ConfigError::new(path, "neither an action nor a matcher is given")),
    }
}

fn condition(
    proto: Option<&Predicate>,
    path: &str,
    asked: Asked,
    depth: usize,
) -> Result<Condition, ConfigError> {
    shallow(path, depth)?;
    let several = |list: &PredicateList, field: &str| {
        let each = list.predicate.iter().enumerate();
        each.map(|(i, one)| condition(Some(one), &format!("{path}.{field}.predicate[{i}]"), asked, depth + 1))
            .collect::<Result<Vec<_>, _>>()
    };
    match proto.and_then(|predicate| predicate.match_type.as_ref()) {
        Some(MatchType::AndMatcher(list)) => several(list, "and_matcher").map(Condition::And),
        Some(MatchType::OrMatcher(list)) => several(list, "or_matcher").map(Condition::Or),
        Some(MatchType::NotMatcher(one)) => {
            let one = condition(Some(one), &under(path, "not_matcher"), asked, depth + 1)?;
            Ok(Condition::Not(Box::new(one)))
        }
        Some(MatchType::SinglePredicate(single)) => {
            let at = under(path, "single_predicate");
            let input = input(single.input.as_ref(), &under(&at, "input"), asked)?;
            match &single.matcher {
                Some(single_predicate::Matcher::ValueMatch(text)) if input != Input::Attributes => {
                    Ok(Condition::Text(input, string(text, &under(&at, "value_match"))?))
                }
                Some(single_predicate::Matcher::CustomMatch(custom)) => {
                    custom_match(input, custom, &under(&at, "custom_match"))
                }
                Some(single_predicate::Matcher::ValueMatch(_)) => {
                    Err(ConfigError::new(at, "attributes are matched by a CelMatcher alone"))
                }
                None => Err(ConfigError::new(at, "no matcher is given")),
            }
        }
        None => Err(ConfigError::new(path, "no condition is given")),
    }
}

fn custom_match(
    input: Input,
    custom: &xds_core::TypedExtensionConfig,
    path: &str,
) -> Result<Condition, ConfigError> {
    let at = under(path, "typed_config");
    let any = custom.typed_config.as_ref();
    match (any.map_or("", |any| type_url::full_name(&any.type_url)), any) {
        (IP, Some(any)) if input.is_address() => {
            let ip: Ip = decoded(any, &at)?;
            let each = ip.cidr_ranges.iter().enumerate();
            let ranges = each.map(|(i, range)| matcher::cidr(range, &format!("{at}.cidr_ranges[{i}]")));
            Ok(Condition::Ranges(input, ranges.collect::<Result<_, _>>()?))
        }
        (CEL, Some(any)) if input == Input::Attributes => {
            let cel: CelMatcher = decoded(any, &at)?;
            let at = under(&at, "expr_match");
            let proto = cel.expr_match.ok_or_else(|| ConfigError::new(&*at, "is required"))?;
            expression(&proto, &at).map(Condition::Cel)
        }
        _ => {
            let error =
                ConfigError::new(path, "there is no such matcher for this input").value(shown(custom));
            Err(error.hint(
                "use value_match, envoy.matching.matchers.ip for addresses, or a CelMatcher for attributes",
            ))
        }
    }
}

#[expect(deprecated, reason = "1.40 accepts the older syntax trees")]
fn expression(
    proto: &sampan_api::xds::r#type::v3::CelExpression,
    path: &str,
) -> Result<Expression, ConfigError> {
    use sampan_api::xds::r#type::v3::cel_expression::ExprSpecifier;
    if !proto.cel_expr_string.is_empty() {
        let at = under(path, "cel_expr_string");
        return Expression::parse(&proto.cel_expr_string)
            .map_err(|error| ConfigError::new(at, error.reason).value(&proto.cel_expr_string));
    }
    let tree = match &proto.expr_specifier {
        Some(ExprSpecifier::ParsedExpr(parsed)) => parsed.expr.as_ref(),
        Some(ExprSpecifier::CheckedExpr(checked)) => checked.expr.as_ref(),
        None => None,
    };
    let tree = tree.ok_or_else(|| ConfigError::new(path, "no expression is given that can be read"))?;
    super::cel::tree(tree, path)
}

fn input(
    proto: Option<&xds_core::TypedExtensionConfig>,
    path: &str,
    asked: Asked,
) -> Result<Input, ConfigError> {
    let proto = proto.ok_or_else(|| ConfigError::new(path, "is required"))?;
    let at = under(path, "typed_config");
    let any = proto.typed_config.as_ref().ok_or_else(|| ConfigError::new(&*at, "is required"))?;
    let name = type_url::full_name(&any.type_url);
    let unknown = || {
        let error = ConfigError::new(path, "nothing can be decided by this input").value(shown(proto));
        error
            .hint("headers, query parameters, addresses, ports, names, certificates and attributes are known")
    };
    if name == ATTRIBUTES {
        return Ok(Input::Attributes);
    }
    if let Some(name) = name.strip_prefix(HTTP) {
        let input = match name {
            "HttpResponseStatusCodeMatchInput" => Ok(Input::Status),
            "HttpResponseStatusCodeClassMatchInput" => Ok(Input::StatusClass),
            "HttpResponseLocalReplyMatchInput" => Ok(Input::LocalReply),
            "HttpResponseHeaderMatchInput" => {
                let input: types::HttpResponseHeaderMatchInput = decoded(any, &at)?;
                match input.header_name.as_str() {
                    "" => Err(ConfigError::new(under(&at, "header_name"), "is required")),
                    name => Ok(Input::ResponseHeader(name.to_ascii_lowercase().into())),
                }
            }
            "HttpRequestHeaderMatchInput" => {
                let input: types::HttpRequestHeaderMatchInput = decoded(any, &at)?;
                let name = Some(&input.header_name).filter(|name| !name.is_empty());
                let name = name.and_then(|name| HeaderName::parse(name));
                name.map(Input::Header).ok_or_else(|| {
                    ConfigError::new(under(&at, "header_name"), "is no header name").value(&input.header_name)
                })
            }
            "HttpRequestQueryParamMatchInput" => {
                let input: types::HttpRequestQueryParamMatchInput = decoded(any, &at)?;
                Ok(Input::QueryParam(input.query_param.as_str().into()))
            }
            _ => Err(unknown()),
        };
        return match input {
            Ok(input) if input.is_of_response() && asked == Asked::Before => {
                let error = ConfigError::new(path, "there is no response yet when this is decided");
                Err(error.value(shown(proto)).hint("use an input of the request or connection"))
            }
            input => input,
        };
    }
    match (name.strip_prefix(NETWORK), name.strip_prefix(TLS)) {
        (Some("DestinationIPInput"), _) => Ok(Input::DestinationIp),
        (Some("DestinationPortInput"), _) => Ok(Input::DestinationPort),
        (Some("SourceIPInput"), _) => Ok(Input::SourceIp),
        (Some("SourcePortInput"), _) => Ok(Input::SourcePort),
        (Some("DirectSourceIPInput"), _) => Ok(Input::DirectSourceIp),
        (Some("ServerNameInput"), _) => Ok(Input::ServerName),
        (Some("FilterStateInput"), _) => {
            let input: FilterStateInput = decoded(any, &at)?;
            Ok(Input::FilterState(input.key.as_str().into()))
        }
        (_, Some("UriSanInput")) => Ok(Input::UriSans),
        (_, Some("DnsSanInput")) => Ok(Input::DnsSans),
        (_, Some("SubjectInput")) => Ok(Input::Subject),
        _ => Err(unknown()),
    }
}

/// The payload of an extension whose type is known.
pub fn decoded<M: Message + Default>(any: &Any, path: &str) -> Result<M, ConfigError> {
    M::decode(&*any.value)
        .map_err(|error| ConfigError::new(path, format!("the payload is malformed: {error}")))
}

/// The message has the shape of Envoy's own; so the meaning is one.
fn string(proto: &pb::StringMatcher, path: &str) -> Result<StringMatch, ConfigError> {
    let same = types::StringMatcher::decode(&*proto.encode_to_vec());
    let same = same.map_err(|error| ConfigError::new(path, format!("the payload is malformed: {error}")))?;
    matcher::string(&same, path)
}

fn shown(extension: &xds_core::TypedExtensionConfig) -> &str {
    match &extension.typed_config {
        Some(any) if !any.type_url.is_empty() => &any.type_url,
        _ => &extension.name,
    }
}
