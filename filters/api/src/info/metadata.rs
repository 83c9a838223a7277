//! Dynamic metadata: what filters leave for later ones, for routes and for logs.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

/// A value of dynamic metadata (the shape of `google.protobuf.Value`).
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataValue {
    /// null
    Null,
    /// boolean
    Bool(bool),
    /// number
    Number(f64),
    /// string
    String(Arc<str>),
    /// list
    List(Vec<MetadataValue>),
    /// map, in order of insertion
    Struct(Vec<(Arc<str>, MetadataValue)>),
}

impl MetadataValue {
    /// The value under `path`, following struct keys.
    pub fn at<'a>(&'a self, path: &[impl AsRef<str>]) -> Option<&'a MetadataValue> {
        path.iter().try_fold(self, |value, key| match value {
            MetadataValue::Struct(fields) => {
                fields.iter().find(|(k, _)| **k == *key.as_ref()).map(|(_, v)| v)
            }
            _ => None,
        })
    }
}

/// Whose metadata is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataOf {
    /// What filters have set.
    Stream,
    /// The matched route's.
    Route,
    /// The matched virtual host's.
    VirtualHost,
    /// The listener's.
    Listener,
    /// The filter chain's.
    Chain,
    /// The cluster's that was chosen.
    Cluster,
    /// The host's that was chosen.
    Host,
}

/// Dynamic metadata: a struct per namespace. Empty for most streams, and then allocates nothing. A filter that writes the same for many
/// streams shares the struct with them; it is copied where somebody else changes it.
#[derive(Clone, Debug, Default)]
pub struct DynamicMetadata(SmallVec<[(Cow<'static, str>, Arc<MetadataValue>); 1]>);

impl DynamicMetadata {
    /// The struct of a namespace.
    pub fn namespace(&self, name: &str) -> Option<&MetadataValue> {
        self.0.iter().find(|(n, _)| **n == *name).map(|(_, v)| &**v)
    }

    /// Every namespace with its struct, in order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MetadataValue)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Makes sure that there is a namespace, if with nothing in it.
    pub fn open(&mut self, namespace: &str) {
        self.fields(namespace);
    }

    /// Sets the keys that a struct has, whose names and values are at hand: where the namespace is new, nothing is copied.
    pub fn set_all(&mut self, namespace: &'static str, fields: &Arc<MetadataValue>) {
        if self.namespace(namespace).is_none() {
            self.0.push((Cow::Borrowed(namespace), Arc::clone(fields)));
        } else if let MetadataValue::Struct(fields) = &**fields {
            for (key, value) in fields {
                put(self.fields(namespace), key, value.clone());
            }
        }
    }

    /// Sets a key of a namespace.
    pub fn set(&mut self, namespace: &str, key: &str, value: MetadataValue) {
        put(self.fields(namespace), key, value);
    }

    /// The fields of a namespace, which is made if it is not there.
    fn fields(&mut self, namespace: &str) -> Option<&mut Vec<(Arc<str>, MetadataValue)>> {
        let at = self.0.iter().position(|(n, _)| **n == *namespace).unwrap_or_else(|| {
            self.0.push((Cow::Owned(namespace.to_owned()), Arc::new(MetadataValue::Struct(Vec::new()))));
            self.0.len() - 1
        });
        match Arc::make_mut(&mut self.0[at].1) {
            MetadataValue::Struct(fields) => Some(fields),
            _ => None,
        }
    }
}

fn put(fields: Option<&mut Vec<(Arc<str>, MetadataValue)>>, key: &str, value: MetadataValue) {
    let Some(fields) = fields else { return };
    match fields.iter_mut().find(|(known, _)| **known == *key) {
        Some((_, slot)) => *slot = value,
        None => fields.push((key.into(), value)),
    }
}
