//! `layered_runtime` -> the runtime layers.

use std::collections::{BTreeMap, BTreeSet};

use sampan_api::envoy::config::bootstrap::v3::runtime_layer::LayerSpecifier;
use sampan_api::envoy::config::bootstrap::v3::{LayeredRuntime, RuntimeLayer};
use sampan_api::google::protobuf::Struct;
use sampan_api::google::protobuf::value::Kind;
use sampan_api::{MessageSupport, Support};
use sampan_model::fraction::{Denominator, FractionalPercent};

use super::{Scope, source};
use crate::runtime::{Discovered, Layer, Runtime, Value};

const YES: Support = Support::Supported;

/// How deep a static layer may be nested.
const MAX_DEPTH: usize = 32;

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    ("envoy.config.bootstrap.v3.LayeredRuntime", &[("layers", YES)]),
    (
        "envoy.config.bootstrap.v3.RuntimeLayer",
        &[
            ("name", YES),
            ("static_layer", YES),
            ("admin_layer", YES),
            ("disk_layer", Support::Later("the layer stays empty")),
            ("rtds_layer", YES),
        ],
    ),
    ("envoy.config.bootstrap.v3.RuntimeLayer.AdminLayer", &[("*", YES)]),
    ("envoy.config.bootstrap.v3.RuntimeLayer.RtdsLayer", &[("name", YES), ("rtds_config", YES)]),
    ("envoy.service.runtime.v3.Runtime", &[("name", YES), ("layer", YES)]),
];

/// The layers. An empty list stands for an admin layer, as in Envoy.
pub fn compile(proto: Option<&LayeredRuntime>, at: &Scope<'_>) -> Runtime {
    let Some(proto) = proto else { return Runtime::default() };
    if proto.layers.is_empty() {
        return Runtime { layers: vec![Layer { admin: true, ..Layer::default() }] };
    }
    let at = at.field("layers");
    let mut names = BTreeSet::new();
    let mut layers: Vec<Layer> = Vec::new();
    for (index, proto) in proto.layers.iter().enumerate() {
        let at = at.index(index);
        if !names.insert(proto.name.as_str()) {
            at.field("name").reject_value::<()>(&proto.name, "Duplicate layer name", "");
        }
        let layer = layer(proto, &at);
        if layer.admin && layers.iter().any(|other| other.admin) {
            at.field("admin_layer").reject::<()>(
                "Too many admin layers specified in LayeredRuntime, at most one may be specified",
            );
        }
        layers.push(layer);
    }
    Runtime { layers }
}

fn layer(proto: &RuntimeLayer, at: &Scope<'_>) -> Layer {
    let mut layer = Layer { name: proto.name.as_str().into(), ..Layer::default() };
    match &proto.layer_specifier {
        Some(LayerSpecifier::StaticLayer(fields)) => {
            walk(fields, "", 0, &at.field("static_layer"), &mut layer.values);
        }
        Some(LayerSpecifier::AdminLayer(_)) => layer.admin = true,
        Some(LayerSpecifier::RtdsLayer(proto)) => {
            let at = at.field("rtds_layer");
            let source = source::compile(proto.rtds_config.as_ref(), &at.field("rtds_config"));
            layer.discovered = source.map(|source| Discovered { name: proto.name.as_str().into(), source });
        }
        Some(LayerSpecifier::DiskLayer(_)) => {}
        None => {
            at.reject::<()>("the layer has no content");
        }
    }
    layer
}

/// The values of a layer that was discovered.
pub fn values(fields: Option<&Struct>, at: &Scope<'_>) -> BTreeMap<Box<str>, Value> {
    let mut values = BTreeMap::new();
    if let Some(fields) = fields {
        walk(fields, "", 0, at, &mut values);
    }
    values
}

/// Flattens a struct: the keys of nested structs are joined by dots.
fn walk(fields: &Struct, prefix: &str, depth: usize, at: &Scope<'_>, values: &mut BTreeMap<Box<str>, Value>) {
    for (key, value) in &fields.fields {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let at = at.key(key);
        let value = match &value.kind {
            Some(Kind::BoolValue(on)) => Value::Bool(*on),
            Some(Kind::NumberValue(number)) => Value::Number(*number),
            Some(Kind::StringValue(text)) => Value::parse(text),
            Some(Kind::StructValue(inner)) => match fraction(inner) {
                Some(fraction) => Value::Fraction(fraction),
                None if depth < MAX_DEPTH => {
                    walk(inner, &name, depth + 1, &at, values);
                    continue;
                }
                None => {
                    at.reject::<()>("is nested too deeply");
                    continue;
                }
            },
            None | Some(Kind::NullValue(_) | Kind::ListValue(_)) => {
                at.reject_value::<()>(
                    &name,
                    "Invalid runtime entry value",
                    "give a number, a switch or text",
                );
                continue;
            }
        };
        values.insert(name.into(), value);
    }
}

/// A struct with `numerator` or `denominator` is a fraction.
fn fraction(fields: &Struct) -> Option<FractionalPercent> {
    let named = |name: &str| fields.fields.get(name).and_then(|value| value.kind.as_ref());
    if named("numerator").is_none() && named("denominator").is_none() {
        return None;
    }
    let numerator = match named("numerator") {
        Some(Kind::NumberValue(number)) if *number >= 0.0 => *number as u32,
        _ => 0,
    };
    let denominator = match named("denominator") {
        Some(Kind::StringValue(name)) if name == "TEN_THOUSAND" => Denominator::TenThousand,
        Some(Kind::StringValue(name)) if name == "MILLION" => Denominator::Million,
        _ => Denominator::Hundred,
    };
    Some(FractionalPercent { numerator, denominator })
}

#[cfg(test)]
mod tests {
    use sampan_api::envoy::config::bootstrap::v3::runtime_layer::AdminLayer;
    use sampan_api::google::protobuf;

    use super::super::scope::Rejects;
    use super::*;

    fn number(value: f64) -> protobuf::Value {
        protobuf::Value { kind: Some(Kind::NumberValue(value)) }
    }

    fn structure(fields: Vec<(&str, protobuf::Value)>) -> Struct {
        Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    fn nested(fields: Vec<(&str, protobuf::Value)>) -> protobuf::Value {
        protobuf::Value { kind: Some(Kind::StructValue(structure(fields))) }
    }

    #[test]
    fn static_layers_are_flattened_and_fractions_kept() {
        let fields = structure(vec![
            ("a", nested(vec![("b", number(3.0))])),
            ("f", nested(vec![("numerator", number(7.0))])),
        ]);
        let layer =
            |name: &str, specifier| RuntimeLayer { name: name.into(), layer_specifier: Some(specifier) };
        let proto = LayeredRuntime {
            layers: vec![
                layer("s", LayerSpecifier::StaticLayer(fields)),
                layer("admin", LayerSpecifier::AdminLayer(AdminLayer::default())),
            ],
        };
        let rejects = Rejects::default();
        let runtime = compile(Some(&proto), &Scope::root("bootstrap", &rejects));
        assert!(rejects.is_empty());
        assert_eq!(runtime.number("a.b"), Some(3));
        assert!(matches!(runtime.value("f"), Some(Value::Fraction(f)) if f.numerator == 7));
        assert!(runtime.layers[1].admin);
    }

    #[test]
    fn faults_are_told() {
        let null = protobuf::Value { kind: None };
        let bad = RuntimeLayer {
            name: "x".into(),
            layer_specifier: Some(LayerSpecifier::StaticLayer(structure(vec![("k", null)]))),
        };
        let empty = RuntimeLayer { name: "x".into(), layer_specifier: None };
        let rejects = Rejects::default();
        compile(Some(&LayeredRuntime { layers: vec![bad, empty] }), &Scope::root("bootstrap", &rejects));
        let paths: Vec<_> = rejects.into_vec().into_iter().map(|r| r.path).collect();
        assert_eq!(paths, ["layers[0].static_layer[\"k\"]", "layers[1].name", "layers[1]"]);
    }
}
