//! Runtime values: named numbers and switches in layers, the last layer that knows a key deciding.

use std::collections::BTreeMap;
use std::sync::Arc;

use sampan_model::fraction::{FractionalPercent, RuntimeValues};

use crate::reference::Source;

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A switch.
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text.
    Text(Box<str>),
    /// A fraction (`{numerator, denominator}`).
    Fraction(FractionalPercent),
}

impl Value {
    /// As `/runtime` prints it.
    pub fn text(&self) -> String {
        match self {
            Value::Bool(on) => on.to_string(),
            Value::Number(n) => n.to_string(),
            Value::Text(text) => text.to_string(),
            Value::Fraction(f) => format!("{}/{}", f.numerator, f.denominator.value()),
        }
    }

    /// The value that text stands for, as `/runtime_modify` takes it.
    pub fn parse(text: &str) -> Self {
        match text {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => text
                .parse()
                .ok()
                .filter(|n: &f64| n.is_finite())
                .map_or_else(|| Value::Text(text.into()), Value::Number),
        }
    }
}

/// One layer.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// `name`
    pub name: Arc<str>,
    /// Whether `/runtime_modify` changes this one.
    pub admin: bool,
    /// The resource that fills it, for a layer that is discovered.
    pub discovered: Option<Discovered>,
    /// Its keys.
    pub values: BTreeMap<Box<str>, Value>,
}

/// `rtds_layer`
#[derive(Clone, Debug, PartialEq)]
pub struct Discovered {
    /// `name`
    pub name: Arc<str>,
    /// `rtds_config`
    pub source: Source,
}

/// All layers, in the order of precedence, lowest first.
#[derive(Clone, Debug, Default)]
pub struct Runtime {
    /// The layers.
    pub layers: Vec<Layer>,
}

impl Runtime {
    /// The value in force.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.layers.iter().rev().find_map(|layer| layer.values.get(key))
    }

    /// A whole number, e.g. a limit.
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Number(n) if *n >= 0.0 => Some(*n as u64),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A switch.
    pub fn switch(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(on) => Some(*on),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The same layers with keys of the admin layer changed; an empty text removes a key. `None` without one.
    pub fn modified<'a>(&self, changes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut next = self.clone();
        let admin = next.layers.iter_mut().rev().find(|layer| layer.admin)?;
        for (key, text) in changes {
            if text.is_empty() {
                admin.values.remove(key);
            } else {
                admin.values.insert(key.into(), Value::parse(text));
            }
        }
        Some(next)
    }
}

impl RuntimeValues for Runtime {
    fn integer(&self, key: &str) -> Option<u64> {
        self.number(key)
    }

    fn fraction(&self, key: &str) -> Option<FractionalPercent> {
        match self.value(key)? {
            Value::Fraction(fraction) => Some(*fraction),
            Value::Number(n) if *n >= 0.0 => {
                Some(FractionalPercent { numerator: *n as u32, ..FractionalPercent::ALWAYS })
            }
            _ => None,
        }
    }
}

impl sampan_filters_api::Runtime for Runtime {
    fn switch(&self, key: &str) -> Option<bool> {
        Runtime::switch(self, key)
    }

    fn number(&self, key: &str) -> Option<u64> {
        Runtime::number(self, key)
    }

    fn fraction(&self, key: &str) -> Option<(u32, u32)> {
        RuntimeValues::fraction(self, key).map(|share| (share.numerator, share.denominator.value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_layer_decides_and_admin_changes_one() {
        let layer = |name: &str, admin, value| Layer {
            name: name.into(),
            admin,
            discovered: None,
            values: [("k".into(), value)].into_iter().collect(),
        };
        let runtime = Runtime {
            layers: vec![layer("a", false, Value::Number(1.0)), layer("b", true, Value::Number(2.0))],
        };
        assert_eq!(runtime.number("k"), Some(2));
        assert_eq!(runtime.modified([("k", "")]).unwrap().number("k"), Some(1));
        assert_eq!(runtime.modified([("k", "true")]).unwrap().switch("k"), Some(true));
        assert_eq!(runtime.fraction("k").map(|f| f.numerator), Some(2));
        assert!(Runtime::default().modified([("k", "1")]).is_none());
    }
}
