//! Values that `set_filter_state` leaves in the filter state; for requests and for connections.

use std::rc::Rc;
use std::time::{Instant, SystemTime};

use sampan_filters_api::format::{FormatContext, Template};
use sampan_filters_api::info::{FilterState, StateObject};
use sampan_filters_api::{RequestHead, StreamInfo};

/// `FilterStateValue`
#[derive(Debug)]
pub struct StateValue {
    /// `object_key`
    pub key: Box<str>,
    /// `format_string`
    pub value: Template,
    /// `skip_if_empty`
    pub skip_if_empty: bool,
    /// `factory_key: envoy.hashable_string`
    pub hashable: bool,
}

/// An object that is a text.
pub struct Text {
    /// The text.
    pub text: String,
    /// Hash policies may hash it.
    pub hashable: bool,
}

impl Text {
    /// A text that hash policies do not see.
    pub fn of(text: impl Into<String>) -> Self {
        Self { text: text.into(), hashable: false }
    }
}

impl StateObject for Text {
    fn plain(&self) -> String {
        self.text.clone()
    }

    fn hashed(&self) -> Option<&str> {
        self.hashable.then_some(&self.text)
    }
}

/// Texts beyond this are cut, for they can be a client's.
const LONGEST: usize = 64 * 1024;

impl StateValue {
    /// The object for a stream, unless there is nothing to set.
    fn object(&self, request: Option<&RequestHead>, info: &StreamInfo) -> Option<Rc<dyn StateObject>> {
        let mut out = Vec::new();
        let context =
            FormatContext { request, ..FormatContext::new(info, Instant::now(), SystemTime::now()) };
        self.value.render(&context, &mut out);
        out.truncate(LONGEST);
        let text = String::from_utf8_lossy(&out).into_owned();
        if text.is_empty() && self.skip_if_empty {
            return None;
        }
        Some(Rc::new(Text { text, hashable: self.hashable }))
    }

    /// Sets it for a request.
    pub fn set(&self, request: &RequestHead, info: &mut StreamInfo) {
        if let Some(object) = self.object(Some(request), info) {
            info.filter_state.set(&self.key, object);
        }
    }

    /// Sets it for a connection.
    pub fn set_for_connection(&self, info: &StreamInfo) {
        if let Some(object) = self.object(None, info) {
            let state: &mut FilterState = &mut info.connection.state.borrow_mut();
            state.set(&self.key, object);
        }
    }
}
