//! One resource as the control plane holds it: a name and an `Any`, from YAML, JSON, a typed message or raw bytes.

use std::time::Duration;

use prost::Message as _;
use sampan_api::google::protobuf::Any;
use sampan_api::{Descriptors, Document, Format, Message, Policy, TypedStructs, UnknownFields, Value};

/// A named resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The name it is served by.
    pub name: String,
    /// Type URL and payload; nothing makes them fit together.
    pub body: Any,
    /// How long it is good for, where the protocol can say so.
    pub ttl: Option<Duration>,
}

impl Resource {
    /// A resource of the type, written in YAML. Its name is the message's.
    ///
    /// # Panics
    /// The YAML is not of that type.
    pub fn yaml(type_url: &str, yaml: &str) -> Self {
        let document = Document::parse(yaml, Format::Yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
        Self::decode(type_url, &document)
    }

    /// A resource from a JSON object that names its type by `@type`, as config dumps have them.
    ///
    /// # Panics
    /// The object is not of that type.
    pub fn json(value: &serde_json::Value) -> Self {
        let mut value = value.clone();
        let object = value.as_object_mut().expect("a resource is an object");
        let type_url = object.shift_remove("@type").expect("a resource has a type");
        Self::decode(type_url.as_str().expect("a type is a string"), &Document::from_json(value))
    }

    /// A typed message under a name.
    pub fn typed<M: prost::Message + prost::Name>(name: &str, message: &M) -> Self {
        Self::raw(name, &format!("type.googleapis.com/{}", M::full_name()), message.encode_to_vec())
    }

    /// Bytes that claim to be of a type.
    pub fn raw(name: &str, type_url: &str, value: Vec<u8>) -> Self {
        let body = Any { type_url: type_url.to_owned(), value };
        Self { name: name.to_owned(), body, ttl: None }
    }

    /// The same under another name; the message keeps its own.
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// The same with a time to live.
    pub fn with_ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// How many bytes it has on the wire.
    pub fn size(&self) -> usize {
        self.body.encoded_len()
    }

    fn decode(type_url: &str, document: &Document) -> Self {
        let name = sampan_api::type_url::full_name(type_url);
        // What is sent is what was written: typed structs stay, and a field that the API lacks is a test's error.
        let policy = Policy { unknown_fields: UnknownFields::Reject, typed_structs: TypedStructs::Keep };
        let (message, _) = sampan_api::decode_message(Descriptors::load(), name, document, policy)
            .unwrap_or_else(|errors| panic!("not a {name}: {errors:?}"));
        Self::raw(&name_of(&message), type_url, message.to_wire())
    }
}

/// The field that names a resource: `cluster_name` for load assignments, `name` for all others.
fn name_of(message: &Message) -> String {
    let named = message.named("name").or_else(|| message.named("cluster_name"));
    named.and_then(Value::as_str).unwrap_or_default().to_owned()
}
