//! A header block: names and values in the order and case in which they came.
//!
//! All text lives in one byte arena; an entry is four numbers. Filling a block from a parsed head is
//! one copy and no allocation once the arena is warm, and a block is reused for the next request
//! ([`Headers::clear`]). Names compare without regard to case; those in [`Known`] by number.

use crate::known::{FieldName, Known, UNKNOWN};

/// A place in the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Span,
    value: Span,
    id: u8,
}

/// An ordered multimap of header fields.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// Bit n is set when an entry with `Known` number n may be present.
    present: u64,
}

impl Headers {
    /// An empty block; allocates nothing.
    pub const fn new() -> Self {
        Self { arena: Vec::new(), entries: Vec::new(), present: 0 }
    }

    /// Empties the block and keeps its memory for the next one.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
        self.present = 0;
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of memory held for text.
    pub fn capacity(&self) -> usize {
        self.arena.capacity()
    }

    /// The bytes that all names and values take.
    pub fn byte_size(&self) -> usize {
        self.entries.iter().map(|e| (e.name.len + e.value.len) as usize).sum()
    }

    /// Adds a field behind the others.
    pub fn append(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let name = name.as_ref();
        self.append_classified(Known::classify(name), name, value);
    }

    /// As [`Headers::append`], for a name that was [classified](Known::classify).
    pub fn append_classified(
        &mut self,
        known: Option<Known>,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) {
        let (name, value) = (name.as_ref(), value.as_ref());
        self.arena.reserve(name.len() + value.len());
        let name = self.store(name);
        let value = self.store(value);
        self.push(Entry { name, value, id: known.map_or(UNKNOWN, |known| known as u8) });
    }

    /// Adds a field with a known name.
    pub fn append_known(&mut self, known: Known, value: impl AsRef<[u8]>) {
        self.append_classified(Some(known), known.name(), value);
    }

    /// The first value of a field.
    pub fn value(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.values(name.as_ref()).next()
    }

    /// The first value of a known field.
    #[inline]
    pub fn known(&self, known: Known) -> Option<&[u8]> {
        if self.present & known.bit() == 0 {
            return None;
        }
        let entry = self.entries.iter().find(|e| e.id == known as u8)?;
        Some(self.text(entry.value))
    }

    /// Whether a known field may be present; false is certain.
    #[inline]
    pub fn has(&self, known: Known) -> bool {
        self.known(known).is_some()
    }

    /// How often a known field is present.
    pub fn count(&self, known: Known) -> usize {
        if self.present & known.bit() == 0 {
            return 0;
        }
        self.entries.iter().filter(|e| e.id == known as u8).count()
    }

    /// All values of a field, in order.
    pub fn values<'a>(&'a self, name: &[u8]) -> Values<'a> {
        let id = Known::id_of(name);
        let absent = id != UNKNOWN && self.present & (1 << id) == 0;
        // An unknown name is looked for by its text; the search starts at its first occurrence,
        // so that the iterator need not borrow the caller's name.
        let first = if absent {
            self.entries.len()
        } else {
            self.entries.iter().position(|e| self.is(e, id, name)).unwrap_or(self.entries.len())
        };
        Values { headers: self, at: first, first }
    }

    /// All fields as (name as it came, value), in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|e| (self.text(e.name), self.text(e.value)))
    }

    /// All fields with their known number, where they have one.
    pub fn iter_known(&self) -> impl Iterator<Item = (Option<Known>, &[u8], &[u8])> {
        self.entries.iter().map(|e| {
            let known = Known::ALL.get(usize::from(e.id)).copied();
            (known, self.text(e.name), self.text(e.value))
        })
    }

    /// Sets a field to one value: the first occurrence keeps its place and its name's case, others go.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let name = name.as_ref();
        let id = Known::id_of(name);
        let Some(first) = self.entries.iter().position(|e| self.is(e, id, name)) else {
            return self.append(name, value);
        };
        self.entries[first].value = self.store(value.as_ref());
        if !self.entries[first + 1..].iter().any(|e| self.is(e, id, name)) {
            return;
        }
        let kept = self.entries[first].name;
        self.retain_entries(|entry, same| !same(entry) || entry.name == kept, id, name);
    }

    /// As [`Headers::set`], for a known field.
    pub fn set_known(&mut self, known: Known, value: impl AsRef<[u8]>) {
        if self.present & known.bit() == 0 {
            return self.append_known(known, value);
        }
        self.set(known.name(), value);
    }

    /// Removes every occurrence of a field; tells whether there was one.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> bool {
        let name = name.as_ref();
        self.remove_classified(Known::classify(name), name)
    }

    /// As [`Headers::remove`], for a name of the configuration.
    pub fn remove_field(&mut self, name: &FieldName) -> bool {
        self.remove_classified(name.known(), name.as_bytes())
    }

    /// As [`Headers::append`], for a name of the configuration.
    pub fn append_field(&mut self, name: &FieldName, value: impl AsRef<[u8]>) {
        self.append_classified(name.known(), &**name, value);
    }

    fn remove_classified(&mut self, known: Option<Known>, name: &[u8]) -> bool {
        let id = known.map_or(UNKNOWN, |known| known as u8);
        if id != UNKNOWN && self.present & (1 << id) == 0 {
            return false;
        }
        // Most that are to be removed are not there.
        if !self.entries.iter().any(|e| self.is(e, id, name)) {
            return false;
        }
        self.retain_entries(|entry, same| !same(entry), id, name);
        if id != UNKNOWN {
            self.present &= !(1 << id);
        }
        true
    }

    /// As [`Headers::remove`], for a known field.
    #[inline]
    pub fn remove_known(&mut self, known: Known) -> bool {
        if self.present & known.bit() == 0 {
            return false;
        }
        let before = self.entries.len();
        self.entries.retain(|e| e.id != known as u8);
        self.present &= !known.bit();
        before != self.entries.len()
    }

    /// Keeps the fields for which `keep(known, name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(Option<Known>, &[u8], &[u8]) -> bool) {
        let arena = &self.arena;
        self.entries.retain(|e| {
            let known = Known::ALL.get(usize::from(e.id)).copied();
            keep(known, slice(arena, e.name), slice(arena, e.value))
        });
        self.present = self.entries.iter().filter(|e| e.id != UNKNOWN).fold(0, |m, e| m | 1 << e.id);
    }

    /// Copies every field of `other` behind the own ones.
    pub fn extend_from(&mut self, other: &Headers) {
        for entry in &other.entries {
            let name = self.store(other.text(entry.name));
            let value = self.store(other.text(entry.value));
            self.push(Entry { name, value, id: entry.id });
        }
    }

    /// Puts text into the arena for use outside the entries (a pseudo-header).
    pub(crate) fn store(&mut self, text: &[u8]) -> Span {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(text);
        Span { start, len: text.len() as u32 }
    }

    #[inline]
    pub(crate) fn text(&self, span: Span) -> &[u8] {
        slice(&self.arena, span)
    }

    #[inline]
    fn push(&mut self, entry: Entry) {
        if entry.id != UNKNOWN {
            self.present |= 1 << entry.id;
        }
        self.entries.push(entry);
    }

    #[inline]
    fn is(&self, entry: &Entry, id: u8, name: &[u8]) -> bool {
        is_named(&self.arena, entry, id, name)
    }

    fn retain_entries(
        &mut self,
        keep: impl Fn(&Entry, &dyn Fn(&Entry) -> bool) -> bool,
        id: u8,
        name: &[u8],
    ) {
        let arena = &self.arena;
        let same = |e: &Entry| is_named(arena, e, id, name);
        self.entries.retain(|e| keep(e, &same));
    }
}

/// The values of one field. See [`Headers::values`].
#[derive(Clone, Debug)]
pub struct Values<'a> {
    headers: &'a Headers,
    at: usize,
    first: usize,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let headers = self.headers;
        let wanted = headers.entries.get(self.first)?;
        let name = headers.text(wanted.name);
        while let Some(entry) = headers.entries.get(self.at) {
            self.at += 1;
            if headers.is(entry, wanted.id, name) {
                return Some(headers.text(entry.value));
            }
        }
        None
    }
}

#[inline]
fn slice(arena: &[u8], span: Span) -> &[u8] {
    &arena[span.start as usize..(span.start + span.len) as usize]
}

#[inline]
fn is_named(arena: &[u8], entry: &Entry, id: u8, name: &[u8]) -> bool {
    if id != UNKNOWN || entry.id != UNKNOWN {
        return entry.id == id;
    }
    entry.name.len as usize == name.len() && slice(arena, entry.name).eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Headers {
        let mut headers = Headers::new();
        headers.append("Host", "a");
        headers.append("X-Own", "1");
        headers.append("x-own", "2");
        headers.append("Cookie", "c");
        headers
    }

    #[test]
    fn keeps_order_and_case() {
        let names: Vec<_> = sample().iter().map(|(n, _)| n.to_vec()).collect();
        assert_eq!(names, [b"Host".to_vec(), b"X-Own".to_vec(), b"x-own".to_vec(), b"Cookie".to_vec()]);
    }

    #[test]
    fn finds_every_value_in_any_case() {
        let headers = sample();
        assert_eq!(headers.values(b"X-OWN").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(headers.value("HOST"), Some(&b"a"[..]));
        assert_eq!(headers.known(Known::Cookie), Some(&b"c"[..]));
        assert_eq!(headers.value("absent"), None);
        assert_eq!(headers.known(Known::Te), None);
    }

    #[test]
    fn set_keeps_the_first_place_and_drops_the_rest() {
        let mut headers = sample();
        headers.set("x-own", "3");
        let all: Vec<_> = headers.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
        assert_eq!(all[1], (b"X-Own".to_vec(), b"3".to_vec()));
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn remove_forgets_presence() {
        let mut headers = sample();
        assert!(headers.remove("host"));
        assert!(!headers.remove("host"));
        assert!(headers.remove_known(Known::Cookie));
        assert!(!headers.has(Known::Cookie));
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn names_of_the_configuration_are_as_others() {
        let mut headers = sample();
        let [own, host, absent] = ["X-OWN", "Host", "x-absent"].map(FieldName::new);
        assert_eq!((&*own, host.known(), own.known()), ("x-own", Some(Known::Host), None));
        headers.append_field(&own, "3");
        headers.append_field(&host, "b");
        assert_eq!(headers.values(b"x-own").collect::<Vec<_>>(), [b"1", b"2", b"3"]);
        assert_eq!(headers.count(Known::Host), 2);
        assert!(!headers.remove_field(&absent));
        assert!(headers.remove_field(&own) && headers.remove_field(&host));
        assert!(!headers.remove_field(&own) && !headers.has(Known::Host));
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn retain_rebuilds_presence() {
        let mut headers = sample();
        headers.retain(|known, _, _| known != Some(Known::Host));
        assert!(!headers.has(Known::Host));
        assert!(headers.has(Known::Cookie));
    }
}
