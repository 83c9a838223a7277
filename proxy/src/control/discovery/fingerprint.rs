//! Whether two messages say the same, told by a number. Used to find the filter chains that an update leaves alone.
//!
//! The order of map entries does not count: a control plane may write a map in another order each time.

use std::hash::{BuildHasher as _, Hash, Hasher as _, RandomState};
use std::sync::OnceLock;

use sampan_api::{Message, Value};

/// The fingerprint of a message; good within this process only.
pub fn of(message: &Message) -> u128 {
    static KEYS: OnceLock<[RandomState; 2]> = OnceLock::new();
    let keys = KEYS.get_or_init(|| [RandomState::new(), RandomState::new()]);
    keys.iter().fold(0, |sum, key| (sum << 64) | u128::from(hash(key, message)))
}

fn hash(key: &RandomState, message: &Message) -> u64 {
    let mut hasher = key.build_hasher();
    message.message_type().full_name().hash(&mut hasher);
    for (field, value) in message.fields() {
        field.name().hash(&mut hasher);
        of_value(key, value).hash(&mut hasher);
    }
    hasher.finish()
}

fn of_value(key: &RandomState, value: &Value) -> u64 {
    let mut hasher = key.build_hasher();
    std::mem::discriminant(value).hash(&mut hasher);
    match value {
        Value::Bool(on) => on.hash(&mut hasher),
        Value::I32(number) | Value::Enum(number) => number.hash(&mut hasher),
        Value::I64(number) => number.hash(&mut hasher),
        Value::U32(number) => number.hash(&mut hasher),
        Value::U64(number) => number.hash(&mut hasher),
        Value::F32(number) => number.to_bits().hash(&mut hasher),
        Value::F64(number) => number.to_bits().hash(&mut hasher),
        Value::String(text) => text.hash(&mut hasher),
        Value::Bytes(bytes) => bytes.hash(&mut hasher),
        Value::Message(message) => hash(key, message).hash(&mut hasher),
        Value::List(items) => items.iter().for_each(|item| of_value(key, item).hash(&mut hasher)),
        // A sum does not care about order.
        Value::Map(entries) => entries
            .iter()
            .map(|(name, value)| key.hash_one((of_value(key, name), of_value(key, value))))
            .fold(0_u64, u64::wrapping_add)
            .hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use sampan_api::{Descriptors, Document, Format, Policy, decode_message};

    use super::*;

    fn fingerprint(yaml: &str) -> u128 {
        let document = Document::parse(yaml, Format::Yaml).unwrap();
        let name = "envoy.config.core.v3.Metadata";
        of(&decode_message(Descriptors::load(), name, &document, Policy::default()).unwrap().0)
    }

    #[test]
    fn the_order_of_a_map_does_not_count_and_everything_else_does() {
        let one = fingerprint("filter_metadata: {a: {x: 1, y: [1, 2]}, b: {}}");
        assert_eq!(one, fingerprint("filter_metadata: {b: {}, a: {y: [1, 2], x: 1}}"));
        assert_ne!(one, fingerprint("filter_metadata: {b: {}, a: {y: [2, 1], x: 1}}"));
        assert_ne!(one, fingerprint("filter_metadata: {a: {x: 1, y: [1, 2]}}"));
    }
}
