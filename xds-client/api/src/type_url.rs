//! Type URLs: the text in front of the last slash is a host that nobody looks at, the rest is a message name.

/// What Envoy and this proxy put in front of a message name.
pub const PREFIX: &str = "type.googleapis.com/";

/// The two payloads that carry an arbitrary struct and the name of the message it stands for.
pub const TYPED_STRUCTS: [&str; 2] = ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"];

/// The message name in a type URL. A bare name is returned as it is.
///
/// ```
/// assert_eq!(sampan_api::type_url::full_name("type.googleapis.com/envoy.Foo"), "envoy.Foo");
/// ```
pub fn full_name(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

/// The type URL of a message name.
pub fn of(full_name: &str) -> String {
    format!("{PREFIX}{full_name}")
}

/// Whether the payload is one of [`TYPED_STRUCTS`].
pub fn is_typed_struct(type_url: &str) -> bool {
    TYPED_STRUCTS.contains(&full_name(type_url))
}
