//! `envoy.filters.http.header_mutation`: changes headers, and parameters of the query, on their way through the chain, so that later filters and the
//! route see them (unlike the header changes of routes, which come after all filters).
//!
//! The filter's own changes come first, then those of each level that has its own, the most specific one first or last.

pub mod config;
mod query;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use sampan_filters_api::format::{FormatContext, Template};
use sampan_filters_api::http::{
    Flow, HttpFilter, HttpFilterFactory, Phases, RouteConfig, Start, Stream, of_level,
};
use sampan_filters_api::{FieldName, Headers, RequestHead};
use sampan_model::route::StringMatch;

pub use self::query::QueryMutation;

/// Changes of one level.
#[derive(Debug, Default)]
pub struct Mutations {
    /// `request_mutations`
    pub request: Vec<Mutation>,
    /// `query_parameter_mutations`, made after those of the request.
    pub query: Vec<QueryMutation>,
    /// `response_mutations`
    pub response: Vec<Mutation>,
    /// `request_trailers_mutations`
    pub request_trailers: Vec<Mutation>,
    /// `response_trailers_mutations`
    pub response_trailers: Vec<Mutation>,
}

/// One change.
#[derive(Debug)]
pub enum Mutation {
    /// `remove`
    Remove(FieldName),
    /// `remove_on_match`: every field whose name, in lower case, matches.
    RemoveMatching(StringMatch),
    /// `append`
    Set {
        /// The header.
        name: FieldName,
        /// Its value.
        value: Template,
        /// What becomes of values that are there.
        action: Action,
        /// `keep_empty_value`
        keep_empty: bool,
    },
}

impl Mutations {
    fn phases(&self) -> Phases {
        let parts = [
            (!self.request.is_empty() || !self.query.is_empty(), Phases::REQUEST_HEAD),
            (!self.request_trailers.is_empty(), Phases::REQUEST_TRAILERS),
            (!self.response.is_empty(), Phases::RESPONSE_HEAD),
            (!self.response_trailers.is_empty(), Phases::RESPONSE_TRAILERS),
        ];
        parts
            .into_iter()
            .filter(|(takes_part, _)| *takes_part)
            .map(|(_, phase)| phase)
            .fold(Phases::NONE, Phases::and)
    }

    fn reads_facts(&self) -> bool {
        let lists = [&self.request, &self.response, &self.request_trailers, &self.response_trailers];
        !self.query.is_empty() || lists.into_iter().flatten().any(Mutation::reads_facts)
    }
}

impl Mutation {
    /// Whether its value is made of what is known of the stream.
    pub(crate) fn reads_facts(&self) -> bool {
        matches!(self, Self::Set { value, .. } if !value.is_literal())
    }
}

/// `HeaderAppendAction`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Beside what is there.
    Append,
    /// Only where nothing is there.
    IfAbsent,
    /// In place of what is there.
    Overwrite,
    /// Only in place of what is there.
    OverwriteIfThere,
}

impl Action {
    /// Whether it matters what is there.
    pub fn depends(self) -> bool {
        matches!(self, Self::IfAbsent | Self::OverwriteIfThere)
    }
}

/// The factory.
#[derive(Debug)]
pub struct HeaderMutation {
    /// The changes for every stream.
    pub all: Mutations,
    /// `most_specific_header_mutations_wins`
    pub most_specific_last: bool,
}

/// One stream.
struct Instance<'f> {
    own: &'f Mutations,
    /// Those of the route, in the order in which they are made.
    levels: Vec<Arc<Mutations>>,
}

impl HttpFilterFactory for HeaderMutation {
    fn phases(&self) -> Phases {
        Phases::REQUEST_HEAD
            .and(Phases::REQUEST_TRAILERS)
            .and(Phases::RESPONSE_HEAD)
            .and(Phases::RESPONSE_TRAILERS)
    }

    fn reads_facts(&self, route: Option<&RouteConfig>) -> bool {
        of_level(&self.all, route).is_none_or(Mutations::reads_facts)
    }

    fn passing(&self) -> Option<Phases> {
        Some(self.all.phases())
    }

    fn at_hook(&self, hook: &mut dyn FnMut(&mut dyn HttpFilter) -> Flow) -> Flow {
        hook(&mut Instance { own: &self.all, levels: Vec::new() })
    }

    fn create<'f>(&'f self, start: &Start<'_>) -> Option<Box<dyn HttpFilter + 'f>> {
        let mut levels: Vec<_> = start.levels().collect();
        if self.most_specific_last {
            levels.reverse();
        }
        Some(Box::new(Instance { own: &self.all, levels }))
    }
}

impl Instance<'_> {
    /// The filter's own changes, then those of the route.
    fn levels(&self) -> impl Iterator<Item = &Mutations> {
        std::iter::once(self.own).chain(self.levels.iter().map(|level| &**level))
    }
}

impl HttpFilter for Instance<'_> {
    fn phases(&self) -> Option<Phases> {
        Some(self.levels().map(Mutations::phases).fold(Phases::NONE, Phases::and))
    }

    fn on_request_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        for level in self.levels() {
            for mutation in &level.request {
                mutation.change_request(stream);
            }
            query::change(&level.query, stream);
        }
        Flow::Continue
    }

    fn on_response_head(&mut self, stream: &mut Stream<'_>, _end: bool) -> Flow {
        for mutation in self.levels().flat_map(|level| &level.response) {
            mutation.change_response(stream);
        }
        Flow::Continue
    }

    fn on_request_trailers(&mut self, stream: &mut Stream<'_>, trailers: &mut Headers) -> Flow {
        for mutation in self.levels().flat_map(|level| &level.request_trailers) {
            mutation.change_headers(trailers, stream);
        }
        Flow::Continue
    }

    fn on_response_trailers(&mut self, stream: &mut Stream<'_>, trailers: &mut Headers) -> Flow {
        for mutation in self.levels().flat_map(|level| &level.response_trailers) {
            mutation.change_headers(trailers, stream);
        }
        Flow::Continue
    }
}

impl Mutation {
    /// Changes the request head.
    pub fn change_request(&self, stream: &mut Stream<'_>) {
        match self {
            Self::Remove(name) => {
                stream.request.headers.remove_field(name);
            }
            Self::RemoveMatching(rule) => remove_matching(&mut stream.request.headers, rule),
            Self::Set { name, value, action, keep_empty } => {
                let text = render(value, stream);
                if !text.is_empty() || *keep_empty {
                    let there = action.depends() && stream.request.field(name.as_bytes()).is_some();
                    set_request(stream.request, name, &text, *action, there);
                }
            }
        }
    }

    /// Changes fields that are in no head: trailers, or those of a local reply.
    pub fn change_headers(&self, headers: &mut Headers, stream: &Stream<'_>) {
        match self {
            Self::Remove(name) => {
                headers.remove_field(name);
            }
            Self::RemoveMatching(rule) => remove_matching(headers, rule),
            Self::Set { name, value, action, keep_empty } => {
                let text = render(value, stream);
                if !text.is_empty() || *keep_empty {
                    let there = action.depends() && headers.value(&**name).is_some();
                    set(headers, name, &text, *action, there);
                }
            }
        }
    }

    /// Changes the response head.
    pub fn change_response(&self, stream: &mut Stream<'_>) {
        match self {
            Self::Remove(name) => {
                if let Some(head) = &mut stream.response {
                    head.headers.remove_field(name);
                }
            }
            Self::RemoveMatching(rule) => {
                if let Some(head) = &mut stream.response {
                    remove_matching(&mut head.headers, rule);
                }
            }
            Self::Set { name, value, action, keep_empty } => {
                let text = render(value, stream);
                if let Some(head) = stream.response.as_mut().filter(|_| !text.is_empty() || *keep_empty) {
                    let there = action.depends() && head.headers.value(&**name).is_some();
                    set(&mut head.headers, name, &text, *action, there);
                }
            }
        }
    }
}

fn remove_matching(headers: &mut Headers, rule: &StringMatch) {
    headers.retain(|_, name, _| !rule.is_match(&name.to_ascii_lowercase()));
}

fn render<'v>(value: &'v Template, stream: &Stream<'_>) -> Cow<'v, [u8]> {
    if let Some(literal) = value.literal() {
        return Cow::Borrowed(literal);
    }
    let context = FormatContext {
        request: Some(&*stream.request),
        response: stream.response.as_deref(),
        ..FormatContext::new(&*stream.info, Instant::now(), SystemTime::now())
    };
    let mut text = Vec::new();
    value.render(&context, &mut text);
    // What a header may hold: a value that operators bring in must not end the field.
    text.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
    Cow::Owned(text)
}

/// Sets a field of a request head, or a part of its request line; `there` says whether it has one, where the action depends on it.
pub fn set_request(head: &mut RequestHead, name: &FieldName, text: &[u8], action: Action, there: bool) {
    if head.pseudo(name.as_bytes()).is_none() {
        return set(&mut head.headers, name, text, action, there);
    }
    let wanted = match action {
        Action::IfAbsent => !there,
        Action::OverwriteIfThere => there,
        // There is one value only, and a second one would not be a request.
        Action::Append | Action::Overwrite => true,
    };
    if !wanted || text.is_empty() {
        return;
    }
    match &**name {
        ":path" => head.set_path(text),
        ":method" => head.set_method(text),
        ":scheme" => head.set_scheme(text),
        _ => head.set_authority(text),
    }
}

/// Sets a field; `there` says whether there is one, where the action depends on it.
pub fn set(headers: &mut Headers, name: &FieldName, text: &[u8], action: Action, there: bool) {
    match action {
        Action::Append => headers.append_field(name, text),
        Action::IfAbsent if there => {}
        Action::OverwriteIfThere if !there => {}
        Action::IfAbsent | Action::Overwrite | Action::OverwriteIfThere => headers.set(&**name, text),
    }
}
