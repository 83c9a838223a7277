//! What an authorization service may change: fields and query parameters, and the rules for that
//! (`decoder_header_mutation_rules`, `validate_mutations`).

use sampan_filters_api::{FieldName, Headers, RequestHead};
use sampan_model::pattern::FullRegex;

use crate::http::header_mutation::{Action, set, set_request};

/// A field to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name, in lower case.
    pub name: FieldName,
    /// Its value.
    pub value: Vec<u8>,
    /// What becomes of values that are there.
    pub action: Action,
    /// It came by the older `append: true`: added to the value that is there, and left out where there is none.
    pub joined: bool,
}

/// `HeaderMutationRules`
#[derive(Debug, Default)]
pub struct Rules {
    /// `allow_all_routing`
    pub routing: bool,
    /// `allow_envoy`
    pub envoy: bool,
    /// `disallow_system`
    pub no_system: bool,
    /// `disallow_all`
    pub nothing: bool,
    /// `allow_expression`
    pub allowed: Option<FullRegex>,
    /// `disallow_expression`
    pub disallowed: Option<FullRegex>,
    /// `disallow_is_error`
    pub is_error: bool,
}

/// A change that the rules, or the syntax of HTTP, do not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

impl Rules {
    /// Whether a field may be changed.
    fn allows(&self, name: &str) -> bool {
        let is = |pattern: &Option<FullRegex>| pattern.as_ref().is_some_and(|p| p.is_match(name.as_bytes()));
        if is(&self.disallowed) {
            return false;
        }
        if is(&self.allowed) {
            return true;
        }
        let routing = matches!(name, "host" | ":authority" | ":scheme" | ":method");
        !(self.nothing
            || (self.no_system && name.starts_with(':'))
            || (!self.envoy && name.starts_with("x-envoy"))
            || (!self.routing && routing))
    }

    /// Whether a change is made; an error if the rules make one of it.
    fn admits(rules: Option<&Rules>, name: &str) -> Result<bool, Invalid> {
        match rules {
            Some(rules) if !rules.allows(name) => {
                if rules.is_error {
                    Err(Invalid)
                } else {
                    Ok(false)
                }
            }
            _ => Ok(true),
        }
    }
}

impl Change {
    /// Whether it is a field that HTTP can carry.
    pub fn is_valid(&self) -> bool {
        let name = self.name.strip_prefix(':').unwrap_or(&self.name);
        is_token(name) && !self.value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
    }

    fn change(&self, head: &mut RequestHead) {
        let there = head.field(self.name.as_bytes()).is_some();
        if !self.joined {
            return set_request(head, &self.name, &self.value, self.action, there);
        }
        if let Some(old) = head.field(self.name.as_bytes()) {
            let value = [old, b",", &self.value].concat();
            set_request(head, &self.name, &value, Action::Overwrite, true);
        }
    }

    /// Sets it in fields that go down.
    pub fn change_headers(&self, headers: &mut Headers) {
        if self.is_valid() && !self.name.starts_with(':') {
            let there = headers.value(&*self.name).is_some();
            set(headers, &self.name, &self.value, self.action, there);
        }
    }
}

/// Changes the fields of a request. What HTTP cannot carry is left out, whatever is configured.
pub fn set_fields(head: &mut RequestHead, changes: &[Change], rules: Option<&Rules>) -> Result<(), Invalid> {
    for change in changes.iter().filter(|change| change.is_valid()) {
        if Rules::admits(rules, &change.name)? {
            change.change(head);
        }
    }
    Ok(())
}

/// Takes fields out of a request, but none that it needs.
pub fn remove_fields(
    head: &mut RequestHead,
    names: &[Box<str>],
    rules: Option<&Rules>,
) -> Result<(), Invalid> {
    for name in names {
        let needed = name.is_empty() || name.starts_with(':') || &**name == "host";
        if !needed && Rules::admits(rules, name)? {
            head.headers.remove(&**name);
        }
    }
    Ok(())
}

/// Sets and removes parameters of the query. What is set goes where the first parameter of the name was, or to the end.
pub fn set_query(head: &mut RequestHead, set: &[(String, String)], remove: &[String]) {
    if set.is_empty() && remove.is_empty() {
        return;
    }
    let text = String::from_utf8_lossy(head.path()).into_owned();
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    let mut parameters: Vec<(&str, &str)> = query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .collect();
    for (name, value) in set {
        match parameters.iter().position(|(known, _)| known == name) {
            Some(at) => {
                parameters[at].1 = value;
                let mut index = 0;
                parameters.retain(|(known, _)| {
                    index += 1;
                    known != name || index - 1 == at
                });
            }
            None => parameters.push((name, value)),
        }
    }
    parameters.retain(|(name, _)| !remove.iter().any(|gone| gone == name));
    let shown: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let question = if shown.is_empty() { "" } else { "?" };
    head.set_path(format!("{path}{question}{}", shown.join("&")).as_bytes());
}

/// Whether a parameter can stand in a query as it is.
pub fn is_query_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'&' | b'"' | b'<' | b'>'))
}

/// RFC 9110 §5.6.2
fn is_token(name: &str) -> bool {
    let other = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || other(byte))
}
