//! A resource that came over the wire, read the same way as one from a file.

use super::{Decoded, Policy, TypedStructs, UnknownFields, resolve_typed_structs};
use crate::error::{FieldError, NoteKind};
use crate::message::Message;
use crate::schema::Descriptors;

/// Decodes the wire bytes of a message: the payload of an `Any` that a control plane sent. Typed structs are resolved
/// and unknown fields handled as the policy says. Constraints are not checked; see [`crate::validate`].
///
/// # Errors
/// The bytes are malformed, or every field that cannot be accepted.
pub fn decode_wire<M>(
    descriptors: Descriptors,
    bytes: &[u8],
    policy: impl Into<Policy>,
) -> Result<Decoded<M>, Vec<FieldError>>
where
    M: prost::Message + prost::Name + Default,
{
    let policy = policy.into();
    let name = M::full_name();
    let Some(message_type) = descriptors.message(&name) else {
        return Err(vec![FieldError::new("", "", format!("the API has no message {name}"))]);
    };
    let read = Message::from_wire(message_type, bytes)
        .map_err(|error| vec![FieldError::new(error.path, "", error.reason)])?;
    let (mut message, mut notes) = (read.message, read.notes);
    if policy.unknown_fields == UnknownFields::Reject
        && notes.iter().any(|note| note.kind == NoteKind::UnknownField)
    {
        let unknown = notes.into_iter().filter(|note| note.kind == NoteKind::UnknownField);
        return Err(unknown.map(|note| FieldError::new(note.path, "", note.text)).collect());
    }
    let mut value = M::decode(bytes);
    if policy.typed_structs == TypedStructs::Resolve && contains_typed_struct(&message) {
        notes.extend(resolve_typed_structs(&mut message, policy.unknown_fields)?);
        value = message.to_prost();
    }
    let value = value.map_err(|error| vec![FieldError::new("", "", error.to_string())])?;
    Ok(Decoded { value, message, notes })
}

fn contains_typed_struct(message: &Message) -> bool {
    use crate::message::Value;
    fn within(value: &Value) -> bool {
        match value {
            Value::Message(message) => contains_typed_struct(message),
            Value::List(items) => items.iter().any(within),
            Value::Map(entries) => entries.iter().any(|(_, value)| within(value)),
            _ => false,
        }
    }
    message.as_any().is_some_and(|(url, _)| crate::type_url::is_typed_struct(url))
        || message.fields().any(|(_, value)| within(value))
}
