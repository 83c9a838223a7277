//! Role-based access control: policies, and what they say of a request or a connection. The HTTP and the network filter share it.
//!
//! ```text
//! policy = some permission (what is asked) and some principal (who asks)
//! ALLOW: allowed if a policy matches    DENY: allowed if none does    LOG: always allowed, and noted whether one matches
//! ```
//! Policies are asked in the order of their names; the first that matches is the one that is told.

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use sampan_filters_api::cel::Expression;
use sampan_filters_api::format::FormatContext;
use sampan_filters_api::info::{MetadataValue, TlsInfo};
use sampan_filters_api::{Counters, RequestHead};
use sampan_model::route::{HeaderMatch, StringMatch, UriTemplate, path_without_query};

use crate::matcher::{Cidr, MetadataMatch, View};
use crate::tree::Tree;

pub use crate::tree::Subject;

/// Which address a range is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOf {
    /// The address that the client connected to.
    Local,
    /// The peer of the connection.
    DirectRemote,
    /// The other end of the connection, as the PROXY protocol says, else the peer.
    Connection,
    /// The client, after `x-forwarded-for` and its like were considered.
    Remote,
}

/// A permission or a principal.
#[derive(Debug)]
pub enum Condition {
    /// `any`
    Always,
    /// `and_rules`, `and_ids`
    And(Vec<Condition>),
    /// `or_rules`, `or_ids`
    Or(Vec<Condition>),
    /// `not_rule`, `not_id`
    Not(Box<Condition>),
    /// `header` of `:method`, or several of them in `or_rules`: one of these.
    Method(Vec<Box<[u8]>>),
    /// `header`
    Header(HeaderMatch),
    /// `url_path`: the path without its query.
    Path(StringMatch),
    /// `uri_template`
    Template(UriTemplate),
    /// `destination_ip`, `source_ip`, `direct_remote_ip`, `remote_ip`
    Address(AddressOf, Cidr),
    /// `destination_port`, `destination_port_range`: from the first, below the second.
    Port(u32, u32),
    /// `requested_server_name`
    ServerName(StringMatch),
    /// `authenticated`: some peer, or one of this name.
    Authenticated(Option<StringMatch>),
    /// `metadata`, `sourced_metadata` of dynamic metadata
    Metadata(MetadataMatch),
    /// `filter_state.string_match`
    FilterState(Box<str>, StringMatch),
}

/// One policy.
#[derive(Debug)]
pub struct Policy {
    /// Its name.
    pub name: Arc<str>,
    /// `permissions`: what; one suffices.
    pub permissions: Vec<Condition>,
    /// `principals`: who; one suffices.
    pub principals: Vec<Condition>,
    /// `condition`, `checked_condition`: what must hold besides.
    pub expression: Option<Expression>,
    /// `allowed`, `denied`, `shadow_allowed` and `shadow_denied` of this policy, where they are wanted.
    pub counters: Option<Arc<Counters>>,
    /// What is told of requests that pass by it; made by the first of them.
    pub told: OnceLock<Arc<MetadataValue>>,
}

/// What a match means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Only who matches may pass.
    Allow,
    /// Who matches may not pass.
    Deny,
    /// Everyone may pass; a match is noted for access logs.
    Log,
}

/// Policies and what a match of one means.
#[derive(Debug)]
pub struct Rules {
    /// What a match means.
    pub action: Action,
    /// In the order of their names.
    pub policies: Vec<Policy>,
}

/// `rules`, or a `matcher` in their place.
#[derive(Debug)]
pub enum Engine {
    /// `rules`
    Rules(Rules),
    /// `matcher`; where it leads nowhere, nobody passes.
    Tree {
        /// The tree.
        tree: Tree<Leaf>,
        /// An end of it logs.
        logs: bool,
    },
}

/// An end of a matcher tree: `envoy.config.rbac.v3.Action`.
#[derive(Debug)]
pub struct Leaf {
    /// `action`
    pub action: Action,
    /// `name`, as a policy without conditions.
    pub policy: Policy,
}

impl Engine {
    /// Whether it asks for more of a stream than its request, its connection, metadata and state. Trees and expressions may.
    pub(crate) fn reads_facts(&self) -> bool {
        match self {
            Self::Rules(rules) => rules.policies.iter().any(|policy| policy.expression.is_some()),
            Self::Tree { .. } => true,
        }
    }

    /// What is said of a subject.
    pub fn decide(&self, subject: Subject<'_>) -> Decision<'_> {
        match self {
            Self::Rules(rules) => rules.decide(&subject),
            Self::Tree { tree, logs } => match tree.find(subject) {
                Some(leaf) => Decision {
                    allowed: leaf.action != Action::Deny,
                    policy: Some(&leaf.policy),
                    hint: logs.then_some(leaf.action == Action::Log),
                },
                None => Decision { allowed: false, policy: None, hint: None },
            },
        }
    }
}

/// What rules say.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'r> {
    /// Whether to let it pass.
    pub allowed: bool,
    /// The policy that matched.
    pub policy: Option<&'r Policy>,
    /// `access_log_hint`, where the rules give one.
    pub hint: Option<bool>,
}

impl Rules {
    /// What the rules say of a subject.
    pub fn decide(&self, subject: &Subject<'_>) -> Decision<'_> {
        let policy = self.policies.iter().find(|policy| policy.matches(subject));
        let allowed = match self.action {
            Action::Allow => policy.is_some(),
            Action::Deny => policy.is_none(),
            Action::Log => true,
        };
        let hint = (self.action == Action::Log).then_some(policy.is_some());
        Decision { allowed, policy, hint }
    }
}

impl Decision<'_> {
    /// `rbac_access_denied_matched_policy[…]`, in which white space would end a field of an access log.
    pub fn details(&self) -> String {
        let name = self.policy.map_or("none", |policy| &policy.name);
        let name: String = name.chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect();
        format!("rbac_access_denied_matched_policy[{name}]")
    }

    /// `allowed` or `denied`, as metadata have it.
    pub fn result(&self) -> MetadataValue {
        MetadataValue::String(if self.allowed { "allowed" } else { "denied" }.into())
    }
}

impl Policy {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        self.permissions.iter().any(|condition| condition.holds(subject))
            && self.principals.iter().any(|condition| condition.holds(subject))
            && self.expression.as_ref().is_none_or(|expression| {
                let base = FormatContext::new(subject.info, Instant::now(), SystemTime::now());
                expression.holds(&FormatContext { request: subject.request, ..base })
            })
    }
}

impl Condition {
    /// All of them. Control planes wrap single ones, too.
    pub fn all(of: Vec<Condition>) -> Self {
        Self::alone(of).unwrap_or_else(Self::And)
    }

    /// One of them.
    pub fn any(of: Vec<Condition>) -> Self {
        let methods = |condition: &Self| match condition {
            Self::Method(methods) => Some(methods.clone()),
            _ => None,
        };
        // Control planes list methods so, and each is asked of many requests.
        if let Some(methods) =
            of.iter().map(methods).collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())
        {
            return Self::Method(methods.concat());
        }
        Self::alone(of).unwrap_or_else(Self::Or)
    }

    /// What a header is like.
    pub fn header(matcher: HeaderMatch) -> Self {
        match matcher.exact_method() {
            Some(method) => Self::Method(vec![method.into()]),
            None => Self::Header(matcher),
        }
    }

    fn alone(mut of: Vec<Condition>) -> Result<Self, Vec<Condition>> {
        match (of.pop(), of.is_empty()) {
            (Some(only), true) => Ok(only),
            (last, _) => {
                of.extend(last);
                Err(of)
            }
        }
    }

    /// Whether the condition holds.
    pub fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::And(all) => all.iter().all(|condition| condition.holds(subject)),
            Self::Or(some) => some.iter().any(|condition| condition.holds(subject)),
            Self::Not(condition) => !condition.holds(subject),
            Self::Method(methods) => subject.request.is_some_and(|request| {
                let asked = request.method();
                !asked.is_empty() && methods.iter().any(|method| **method == *asked)
            }),
            Self::Path(matcher) => path(subject).is_some_and(|path| matcher.is_match_of_path(path)),
            Self::Header(matcher) => match subject.request {
                Some(request) => matcher.is_match(&View { request, tls: None }),
                None => matcher.is_match(&View { request: &RequestHead::default(), tls: None }),
            },
            other => other.holds_of_the_rest(subject),
        }
    }

    /// The rest: those that are about the connection, and the rare ones. Apart, so that a nest of the others costs little.
    #[inline(never)]
    fn holds_of_the_rest(&self, subject: &Subject<'_>) -> bool {
        let connection = &*subject.info.connection;
        match self {
            Self::Template(template) => {
                path(subject).is_some_and(|path| template.is_match(path_without_query(path)))
            }
            Self::Address(AddressOf::Local, range) => range.contains(&connection.local),
            Self::Address(AddressOf::DirectRemote, range) => range.contains(&connection.direct_remote),
            Self::Address(AddressOf::Connection, range) => range.contains(&connection.remote),
            Self::Address(AddressOf::Remote, range) => range.contains(subject.info.remote()),
            Self::Port(start, end) => {
                let port = connection.local.socket().map(|address| u32::from(address.port()));
                port.is_some_and(|port| (*start..*end).contains(&port))
            }
            Self::ServerName(matcher) => {
                matcher.is_match(connection.requested_server_name.as_deref().unwrap_or_default().as_bytes())
            }
            Self::Authenticated(name) => {
                connection.tls.as_deref().is_some_and(|tls| is_authenticated(tls, name.as_ref()))
            }
            Self::Metadata(matcher) => matcher.holds(&subject.info.metadata),
            Self::FilterState(key, matcher) => {
                let object = subject.info.state(key);
                object.is_some_and(|object| matcher.is_match(object.plain().as_bytes()))
            }
            Self::Always
            | Self::And(_)
            | Self::Or(_)
            | Self::Not(_)
            | Self::Path(_)
            | Self::Method(_)
            | Self::Header(_) => self.holds(subject),
        }
    }
}

fn path<'s>(subject: &Subject<'s>) -> Option<&'s [u8]> {
    subject.request.filter(|request| request.has_path()).map(RequestHead::path)
}

/// A peer's names are its URI SANs, its DNS SANs, and its subject.
fn is_authenticated(tls: &TlsInfo, name: Option<&StringMatch>) -> bool {
    let Some(name) = name else { return true };
    let Some(peer) = tls.peer() else { return name.is_match(b"") };
    let sans = peer.uri_sans.iter().chain(&peer.dns_sans);
    sans.chain([&peer.subject]).any(|text| name.is_match(text.as_bytes()))
}
