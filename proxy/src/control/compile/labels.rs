//! `envoy.lb` metadata: what hosts have of it, and what routes ask for.
//!
//! Values are compared as text: JSON with sorted keys, the same for values that are equal.

use std::fmt::Write as _;
use std::sync::Arc;

use sampan_api::envoy::config::core::v3 as core;
use sampan_api::google::protobuf::value::Kind;
use sampan_api::google::protobuf::{Struct, Value};
use sampan_model::lb::{Criteria, Label, Labels};

const NAMESPACE: &str = "envoy.lb";
const FALLBACK_LIST: &str = "fallback_list";

/// A value as text.
fn canonical(value: &Value) -> Box<str> {
    let mut out = String::new();
    write_value(value, &mut out);
    out.into()
}

fn write_value(value: &Value, out: &mut String) {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => out.push_str("null"),
        // Writing to a String cannot fail.
        Some(Kind::BoolValue(on)) => drop(write!(out, "{on}")),
        Some(Kind::NumberValue(number)) => drop(write!(out, "{number:?}")),
        Some(Kind::StringValue(text)) => drop(write!(out, "{text:?}")),
        Some(Kind::ListValue(list)) => {
            out.push('[');
            for value in &list.values {
                write_value(value, out);
                out.push(',');
            }
            out.push(']');
        }
        Some(Kind::StructValue(fields)) => {
            out.push('{');
            for (key, value) in entries(fields) {
                // Writing to a String cannot fail.
                let _ = write!(out, "{key:?}:{value},");
            }
            out.push('}');
        }
    }
}

/// The entries of a struct, sorted by key.
pub fn entries(fields: &Struct) -> Vec<(Box<str>, Box<str>)> {
    let mut entries: Vec<(Box<str>, Box<str>)> =
        fields.fields.iter().map(|(key, value)| (key.as_str().into(), canonical(value))).collect();
    entries.sort();
    entries
}

fn own(metadata: Option<&core::Metadata>) -> Option<&Struct> {
    metadata?.filter_metadata.get(NAMESPACE)
}

/// What a host has.
pub fn labels(metadata: Option<&core::Metadata>) -> Option<Arc<Labels>> {
    let fields = own(metadata)?;
    let label = |(key, value): (&String, &Value)| Label {
        key: key.as_str().into(),
        value: canonical(value),
        elements: match &value.kind {
            Some(Kind::ListValue(list)) => list.values.iter().map(canonical).collect(),
            _ => Vec::new(),
        },
    };
    let hash_key = match fields.fields.get("hash_key").and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(key)) => Some(key.as_str().into()),
        _ => None,
    };
    Some(Arc::new(Labels::new(fields.fields.iter().map(label).collect(), hash_key)))
}

/// Whether a host is marked as a canary.
pub fn canary(metadata: Option<&core::Metadata>) -> bool {
    let value = own(metadata).and_then(|fields| fields.fields.get("canary"));
    matches!(value.and_then(|value| value.kind.as_ref()), Some(Kind::BoolValue(true)))
}

/// What a route asks for, and where it has a weighted cluster, what that asks for over it.
pub fn criteria(route: Option<&core::Metadata>, weighted: Option<&core::Metadata>) -> Option<Criteria> {
    let (route, weighted) = (own(route), own(weighted));
    if route.is_none() && weighted.is_none() {
        return None;
    }
    let base = merged(route.map(entries).unwrap_or_default(), weighted);
    let list = [weighted, route].into_iter().flatten().find_map(|fields| fields.fields.get(FALLBACK_LIST));
    let fallbacks = match list.and_then(|list| list.kind.as_ref()) {
        Some(Kind::ListValue(list)) => {
            let mut without = base.clone();
            without.retain(|(key, _)| &**key != FALLBACK_LIST);
            let each = list.values.iter().filter_map(|value| match &value.kind {
                Some(Kind::StructValue(fields)) => Some(merged(without.clone(), Some(fields))),
                _ => None,
            });
            let each: Vec<_> = each.collect();
            if each.is_empty() { vec![without] } else { each }
        }
        _ => Vec::new(),
    };
    Some(Criteria { entries: base, fallbacks })
}

/// `base` with what `over` has in its place.
fn merged(mut base: Vec<(Box<str>, Box<str>)>, over: Option<&Struct>) -> Vec<(Box<str>, Box<str>)> {
    let Some(over) = over else { return base };
    base.retain(|(key, _)| !over.fields.contains_key(&**key));
    base.extend(entries(over));
    base.sort();
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value { kind: Some(Kind::StringValue(value.into())) }
    }

    fn metadata(fields: &[(&str, Value)]) -> core::Metadata {
        let fields = fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let namespace = (NAMESPACE.to_owned(), Struct { fields });
        core::Metadata { filter_metadata: [namespace].into_iter().collect(), ..core::Metadata::default() }
    }

    #[test]
    fn equal_values_have_equal_text() {
        let number = |number| canonical(&Value { kind: Some(Kind::NumberValue(number)) });
        assert_eq!(&*number(2.0), "2.0");
        assert_ne!(canonical(&text("2.0")), number(2.0));
        let fields = |keys: [&str; 2]| Struct { fields: keys.map(|k| (k.to_owned(), text(k))).into() };
        let both = [["a", "b"], ["b", "a"]]
            .map(|keys| canonical(&Value { kind: Some(Kind::StructValue(fields(keys))) }));
        assert_eq!(both[0], both[1]);
    }

    #[test]
    fn a_weighted_cluster_overrides_its_route() {
        let route = metadata(&[("v", text("1")), ("z", text("a"))]);
        let weighted = metadata(&[("v", text("2"))]);
        let found = criteria(Some(&route), Some(&weighted)).unwrap();
        let shown: Vec<_> = found.entries.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(shown, ["v=\"2\"", "z=\"a\""]);
        assert!(found.fallbacks.is_empty() && criteria(None, None).is_none());
    }
}
