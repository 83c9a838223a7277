//! Header changes of configuration levels: `*_headers_to_remove`, then `*_headers_to_add`.
//!
//! Called by [`super::header_ops`] for the levels of a route and by [`super::reply`] for those of `local_reply_config`.
//!
//! Within a level, Envoy removes first, then works out every value from what is left, then replaces, then appends: so values
//! of one level do not see each other, and a replaced field moves to the end. Fields that Envoy keeps as one entry (most of
//! [`Known`]) are appended to within that entry, joined by a comma.

use std::time::{Instant, SystemTime};

use sampan_filters_api::format::FormatContext;
use sampan_filters_api::{Headers, Known, RequestHead, ResponseHead, StreamInfo};
use smallvec::SmallVec;

use super::config::{AppendAction, HeaderAdd, HeaderOps};
use super::forwarding::join;

/// Applies the request side of some levels.
pub fn request(levels: &[&HeaderOps], head: &mut RequestHead, info: &StreamInfo) {
    for level in levels {
        remove(&level.request_remove, &mut head.headers);
        if level.request_add.is_empty() {
            continue;
        }
        let context = || FormatContext { request: Some(head), ..moment(info) };
        let changes = Changes::of(&level.request_add, &head.headers, context);
        changes.apply(&mut head.headers);
    }
}

/// Applies the response side of some levels.
pub fn response(levels: &[&HeaderOps], request: &RequestHead, head: &mut ResponseHead, info: &StreamInfo) {
    for level in levels {
        remove(&level.response_remove, &mut head.headers);
        add_to_response(&level.response_add, request, head, info);
    }
}

/// Adds headers to a response.
pub fn add_to_response(
    adds: &[HeaderAdd],
    request: &RequestHead,
    head: &mut ResponseHead,
    info: &StreamInfo,
) {
    if adds.is_empty() {
        return;
    }
    let context = || FormatContext { request: Some(request), response: Some(head), ..moment(info) };
    let changes = Changes::of(adds, &head.headers, context);
    changes.apply(&mut head.headers);
}

/// A context of the stream at this moment.
pub(super) fn moment(info: &StreamInfo) -> FormatContext<'_> {
    FormatContext::new(info, Instant::now(), SystemTime::now())
}

fn remove(names: &[Box<str>], headers: &mut Headers) {
    for name in names {
        headers.remove(name.as_bytes());
    }
}

/// The additions of one level, with their values.
struct Changes<'o> {
    /// Values that are no constants.
    rendered: Vec<u8>,
    replaced: SmallVec<[Change<'o>; 4]>,
    appended: SmallVec<[Change<'o>; 4]>,
}

struct Change<'o> {
    name: &'o [u8],
    value: Value<'o>,
}

enum Value<'o> {
    Literal(&'o [u8]),
    /// A range of [`Changes::rendered`].
    Rendered(usize, usize),
}

impl<'o> Changes<'o> {
    fn of<'c>(adds: &'o [HeaderAdd], headers: &Headers, context: impl FnOnce() -> FormatContext<'c>) -> Self {
        let mut changes = Self { rendered: Vec::new(), replaced: SmallVec::new(), appended: SmallVec::new() };
        // Reading the clock is for those who need it.
        let context = adds.iter().any(|add| !add.value.is_literal()).then(context);
        for add in adds {
            let name = add.name.as_bytes();
            let present = || headers.value(name).is_some();
            let replaces = match add.action {
                AppendAction::AppendIfExistsOrAdd => false,
                AppendAction::AddIfAbsent if present() => continue,
                AppendAction::AddIfAbsent => false,
                AppendAction::OverwriteIfExistsOrAdd => true,
                AppendAction::OverwriteIfExists if present() => true,
                AppendAction::OverwriteIfExists => continue,
            };
            let value = match (add.value.literal(), &context) {
                (Some(text), _) => Value::Literal(text),
                (None, Some(context)) => {
                    let start = changes.rendered.len();
                    add.value.render(context, &mut changes.rendered);
                    Value::Rendered(start, changes.rendered.len())
                }
                (None, None) => continue,
            };
            if changes.text(&value).is_empty() && !add.keep_empty {
                continue;
            }
            let change = Change { name, value };
            if replaces { changes.replaced.push(change) } else { changes.appended.push(change) }
        }
        changes
    }

    fn text<'a>(&'a self, value: &'a Value<'_>) -> &'a [u8] {
        match value {
            Value::Literal(text) => text,
            Value::Rendered(start, end) => &self.rendered[*start..*end],
        }
    }

    fn apply(&self, headers: &mut Headers) {
        for change in &self.replaced {
            headers.remove(change.name);
            headers.append(change.name, self.text(&change.value));
        }
        for change in &self.appended {
            let value = self.text(&change.value);
            match Known::classify(change.name) {
                Some(known) if is_single(known) => join(headers, known, b",", value),
                _ => headers.append(change.name, value),
            }
        }
    }
}

/// Whether Envoy keeps a field as one entry, whatever is appended.
fn is_single(known: Known) -> bool {
    !matches!(
        known,
        Known::Accept
            | Known::Authorization
            | Known::Cookie
            | Known::Forwarded
            | Known::SecWebsocketAccept
            | Known::SecWebsocketKey
            | Known::SecWebsocketVersion
            | Known::Trailer
            | Known::XEnvoyOverloaded
            | Known::XEnvoyPeerMetadata
            | Known::XEnvoyPeerMetadataId
    )
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use sampan_filters_api::format::Template;
    use sampan_filters_api::{Address, ConnectionInfo};

    use super::*;

    fn add(name: &str, value: &str, action: AppendAction) -> HeaderAdd {
        let value = Template::parse_header_value(value).unwrap();
        HeaderAdd { name: name.into(), value, action, keep_empty: false }
    }

    fn info() -> StreamInfo {
        let local = Address::Socket("127.0.0.1:80".parse().unwrap());
        let connection = ConnectionInfo {
            id: 1,
            local_restored: false,
            remote: local.clone(),
            direct_remote: local.clone(),
            local,
            start: Instant::now(),
            listener: Arc::default(),
            chain: None,
            requested_server_name: None,
            tls: None,
            transport_failure: std::borrow::Cow::Borrowed(""),
            facts: None,
            state: std::cell::RefCell::default(),
        };
        StreamInfo::new(Rc::new(connection), Instant::now(), SystemTime::now())
    }

    fn lines(headers: &Headers) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        headers.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
    }

    fn level(tag: &str) -> HeaderOps {
        let request_add = vec![
            add("x-q", tag, AppendAction::AppendIfExistsOrAdd),
            add("x-set", tag, AppendAction::OverwriteIfExistsOrAdd),
            add("x-abs", tag, AppendAction::AddIfAbsent),
            add("x-owe", tag, AppendAction::OverwriteIfExists),
        ];
        HeaderOps { request_add, ..HeaderOps::default() }
    }

    /// As Envoy 1.40 does it.
    #[test]
    fn levels_apply_one_after_the_other() {
        let mut head = RequestHead::default();
        for name in ["x-q", "x-set", "x-owe"] {
            head.headers.append(name, "0");
        }
        let (first, second) = (level("a"), level("b"));
        request(&[&first, &second], &mut head, &info());
        let expected = ["x-q: 0", "x-q: a", "x-abs: a", "x-set: b", "x-owe: b", "x-q: b"];
        assert_eq!(lines(&head.headers), expected);
    }

    #[test]
    fn removal_comes_first_and_values_see_what_is_left() {
        let mut head = RequestHead::default();
        head.headers.append("x-gone", "1");
        head.headers.append("x-q", "0");
        let mut kept = add("x-kept", "%REQ(nope)%", AppendAction::AppendIfExistsOrAdd);
        kept.keep_empty = true;
        let ops = HeaderOps {
            request_remove: vec!["x-gone".into(), "x-q".into()],
            request_add: vec![
                add("x-q", "new", AppendAction::AppendIfExistsOrAdd),
                add("x-empty", "%REQ(nope)%", AppendAction::AppendIfExistsOrAdd),
                kept,
                add("x-copy", "%REQ(x-gone)%%REQ(x-q)%", AppendAction::AppendIfExistsOrAdd),
            ],
            ..HeaderOps::default()
        };
        request(&[&ops], &mut head, &info());
        assert_eq!(lines(&head.headers), ["x-q: new", "x-kept: "]);
    }

    #[test]
    fn single_fields_are_joined() {
        let mut head = RequestHead::default();
        head.headers.append("x-forwarded-for", "1.1.1.1");
        head.headers.append("accept", "a");
        let ops = HeaderOps {
            request_add: vec![
                add("x-forwarded-for", "ff", AppendAction::AppendIfExistsOrAdd),
                add("accept", "b", AppendAction::AppendIfExistsOrAdd),
            ],
            ..HeaderOps::default()
        };
        request(&[&ops], &mut head, &info());
        assert_eq!(lines(&head.headers), ["x-forwarded-for: 1.1.1.1,ff", "accept: a", "accept: b"]);
    }

    #[test]
    fn responses_see_both_heads() {
        let mut head = RequestHead::default();
        head.headers.append("x-q", "q");
        let mut answer = ResponseHead { status: 200, headers: Headers::new() };
        answer.headers.append("x-up", "up");
        let mut info = info();
        info.response_code = 200;
        let value = "%RESPONSE_CODE% %RESP(x-up)% %REQ(x-q)%";
        let ops = HeaderOps {
            response_add: vec![add("x-st", value, AppendAction::AppendIfExistsOrAdd)],
            response_remove: vec!["server".into()],
            ..HeaderOps::default()
        };
        response(&[&ops], &head, &mut answer, &info);
        assert_eq!(lines(&answer.headers), ["x-up: up", "x-st: 200 up q"]);
    }
}
