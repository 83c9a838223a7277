//! What filters that transform bodies ask of headers.

use sampan_filters_api::Headers;

/// All values of a field, as one list; none if there is no such field.
pub fn joined(headers: &Headers, name: &[u8]) -> Option<Vec<u8>> {
    let mut values = headers.values(name);
    let mut all = values.next()?.to_vec();
    for value in values {
        all.push(b',');
        all.extend_from_slice(value);
    }
    Some(all)
}

/// Whether `cache-control` says `no-transform`.
pub fn forbids_transform(headers: &Headers) -> bool {
    let mut values = headers.values(b"cache-control");
    values.any(|value| {
        value.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
    })
}

/// A decimal number.
pub fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
