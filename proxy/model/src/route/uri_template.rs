//! `envoy.path.match.uri_template` and `envoy.path.rewrite.uri_template`.
//!
//! A template is a path whose segments may hold `*` (one or more characters of a segment), `**` (anything, slashes included; must be
//! the last operator), `{name}` (a named `*`) and `{name=pattern}`. It becomes one anchored regular expression with a
//! group per variable. The rewrite is text with `{name}` references.

use regex::bytes::Regex;

/// Characters that a path segment may have (RFC 3986 `pchar` without `*`).
const SEGMENT: &str = r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+";
/// The same with `/`, possibly none.
const REST: &str = r"[a-zA-Z0-9\-._~%!$&'()+,;:@=/]*";
const MAX_VARIABLES: usize = 5;
const MAX_NAME: usize = 16;

/// Why a template was refused.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("path template {template:?}: {reason}")]
pub struct UriTemplateError {
    /// The template as configured.
    pub template: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A compiled match template.
#[derive(Clone, Debug)]
pub struct UriTemplate {
    source: Box<str>,
    regex: Regex,
    variables: Vec<Box<str>>,
    literal: Box<str>,
}

/// A compiled rewrite, bound to the variables of its match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriTemplateRewrite {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// A group of the match's regex.
    Variable(usize),
}

impl UriTemplate {
    /// Parses and compiles `template`.
    pub fn new(template: &str) -> Result<Self, UriTemplateError> {
        let fail = |reason: String| UriTemplateError { template: template.to_owned(), reason };
        let mut parser = Parser::default();
        parser.path(template).map_err(fail)?;
        let regex =
            Regex::new(&format!(r"(?-u)\A{}\z", parser.regex)).map_err(|error| fail(error.to_string()))?;
        let literal = &template[..template.find(['*', '{']).unwrap_or(template.len())];
        Ok(Self { source: template.into(), regex, variables: parser.variables, literal: literal.into() })
    }

    /// Whether `path`, without its query, matches.
    pub fn is_match(&self, path: &[u8]) -> bool {
        self.regex.is_match(path)
    }

    /// The template as configured.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn literal_prefix(&self) -> &str {
        &self.literal
    }
}

impl PartialEq for UriTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl UriTemplateRewrite {
    /// Parses `rewrite`, whose variables must be those of `template`.
    pub fn new(rewrite: &str, template: &UriTemplate) -> Result<Self, UriTemplateError> {
        let fail =
            |reason: &str| UriTemplateError { template: rewrite.to_owned(), reason: reason.to_owned() };
        if !rewrite.starts_with('/') {
            return Err(fail("it must begin with '/'"));
        }
        let mut parts = Vec::new();
        let mut rest = rewrite;
        while let Some(open) = rest.find('{') {
            let (literal, tail) = rest.split_at(open);
            push_literal(&mut parts, literal).map_err(fail)?;
            let (name, tail) = tail[1..].split_once('}').ok_or_else(|| fail("a variable is not closed"))?;
            let group = template.variables.iter().position(|known| **known == *name);
            parts.push(Part::Variable(
                group.ok_or_else(|| fail("it names a variable that the match does not have"))? + 1,
            ));
            rest = tail;
        }
        push_literal(&mut parts, rest).map_err(fail)?;
        Ok(Self { parts: parts.into() })
    }

    /// The rewritten path (without query) of `path`, which `template` matches; `None` if it does not.
    pub fn apply(&self, template: &UriTemplate, path: &[u8]) -> Option<Vec<u8>> {
        let captures = template.regex.captures(path)?;
        let mut out = Vec::with_capacity(path.len() + 16);
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(group) => {
                    out.extend_from_slice(captures.get(*group).map_or(b"", |m| m.as_bytes()));
                }
            }
        }
        Some(out)
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) -> Result<(), &'static str> {
    // A `*` here is itself, as in Envoy.
    if !text.bytes().all(|byte| is_path_byte(byte) || byte == b'*') {
        return Err("text outside of variables must be a plain path");
    }
    if text.contains("//") {
        return Err("it has an empty segment");
    }
    if !text.is_empty() {
        parts.push(Part::Literal(text.into()));
    }
    Ok(())
}

/// Whether a path may hold `byte` outside of operators.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=/".contains(&byte)
}

/// What has been read of a template.
#[derive(Default)]
struct Parser {
    regex: String,
    variables: Vec<Box<str>>,
    /// A `**` was read, so no operator may follow.
    closed: bool,
}

impl Parser {
    fn path(&mut self, template: &str) -> Result<(), String> {
        if !template.starts_with('/') {
            return Err("it must begin with '/'".into());
        }
        let mut rest = template;
        let mut adjacent = false;
        while let Some(c) = rest.chars().next() {
            let was_operator = std::mem::take(&mut adjacent);
            rest = match c {
                '{' | '*' if was_operator => return Err("two operators follow each other".into()),
                '{' => {
                    adjacent = true;
                    let (inside, tail) = rest[1..].split_once('}').ok_or("a variable is not closed")?;
                    self.variable(inside)?;
                    tail
                }
                '*' => {
                    adjacent = true;
                    self.operator(rest)?
                }
                _ => self.literal(rest)?,
            };
        }
        Ok(())
    }

    fn variable(&mut self, inside: &str) -> Result<(), String> {
        let (name, mut pattern) = inside.split_once('=').unwrap_or((inside, "*"));
        let letters = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !letters || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') || name.len() > MAX_NAME
        {
            return Err(format!(
                "variable name {name:?} must be 1 to {MAX_NAME} letters, digits or '_', a letter first"
            ));
        }
        if self.variables.iter().any(|known| **known == *name) {
            return Err(format!("variable {name:?} occurs twice"));
        }
        if self.variables.len() == MAX_VARIABLES {
            return Err(format!("more than {MAX_VARIABLES} variables"));
        }
        if pattern.is_empty() || pattern.starts_with('/') || pattern.ends_with('/') {
            return Err(format!("the pattern of variable {name:?} is empty, or begins or ends with '/'"));
        }
        self.variables.push(name.into());
        self.regex.push('(');
        while let Some(c) = pattern.chars().next() {
            pattern = match c {
                '*' => self.operator(pattern)?,
                '{' => return Err("a variable inside a variable".into()),
                _ => self.literal(pattern)?,
            };
        }
        self.regex.push(')');
        Ok(())
    }

    fn operator<'t>(&mut self, rest: &'t str) -> Result<&'t str, String> {
        if self.closed {
            return Err("'**' must be the last operator".into());
        }
        if let Some(tail) = rest.strip_prefix("**") {
            self.closed = true;
            self.regex.push_str(REST);
            return Ok(tail);
        }
        self.regex.push_str(SEGMENT);
        Ok(&rest[1..])
    }

    fn literal<'t>(&mut self, rest: &'t str) -> Result<&'t str, String> {
        let end = rest.find(['*', '{']).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(end);
        if text.contains("//") {
            return Err("it has an empty segment".into());
        }
        if let Some(bad) = text.bytes().find(|byte| !is_path_byte(*byte)) {
            return Err(format!("character {:?} is not allowed", char::from(bad)));
        }
        self.regex.push_str(&regex::escape(text));
        Ok(tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(template: &str, path: &str) -> bool {
        UriTemplate::new(template).unwrap().is_match(path.as_bytes())
    }

    #[test]
    fn matches_the_documented_examples() {
        assert!(hit("/videos/*/*/*.m4s", "/videos/123414/hls/1080p5000_00001.m4s"));
        assert!(hit("/videos/{file}", "/videos/1080p5000_00001.m4s"));
        assert!(hit("/**.mpd", "/content/123/india/dash/55/manifest.mpd"));
        assert!(hit("/api/v{version}/users/{id}.json", "/api/v2/users/456.json"));
    }

    #[test]
    fn a_segment_is_not_empty() {
        assert!(hit("/t/{a}/{b}", "/t/x/y"));
        assert!(!hit("/t/{a}/{b}", "/t//y"));
        assert!(!hit("/t/{a}/{b}", "/t/x/"));
        assert!(!hit("/t/*", "/t/x/y"));
        assert!(hit("/t/**", "/t/"));
    }

    #[test]
    fn rewrites_by_name() {
        let template = UriTemplate::new("/content/{format}/{lang}/{id}/{file}.vtt").unwrap();
        let rewrite = UriTemplateRewrite::new("/{lang}/{format}/{file}.vtt", &template).unwrap();
        let path = rewrite.apply(&template, b"/content/hls/en-us/12345/en_193913.vtt").unwrap();
        assert_eq!(path, b"/en-us/hls/en_193913.vtt");
        assert!(UriTemplateRewrite::new("/{nope}", &template).is_err());
        for bad in ["{lang}", "/x//y", "/x#", "/x?y", "/x y", "/{lang", "/lang}", "//{lang}", "/{lang=*}"] {
            assert!(UriTemplateRewrite::new(bad, &template).is_err(), "{bad}");
        }
        assert!(UriTemplateRewrite::new("/*", &template).is_ok());
    }

    #[test]
    fn refuses_bad_templates() {
        for template in [
            "", "a", "/{a", "/{1a}", "/{a}/{a}", "/**/*", "/a//b", "/{a={b}}", "/a b", "/{a=}", "/{a=/b}",
            "/{a=b/}", "/{a}{b}", "/}",
        ] {
            assert!(UriTemplate::new(template).is_err(), "{template}");
        }
    }
}
