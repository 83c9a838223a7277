//! Regular expressions with RE2's meaning, on bytes.
//!
//! Envoy's `RegexMatcher` is RE2; we run on the `regex` crate, which has the same linear-time guarantee and nearly the
//! same syntax. [`translate`] bridges the rest: RE2 reads `{` as a literal when no repetition follows, `[` inside a class
//! as a literal, and knows `\Q..\E` and `\C`. Perl classes (`\d`, `\w`, `\s`, `\b`) are ASCII in RE2, so a pattern that
//! names no Unicode property is compiled without Unicode mode; that also makes `.` match bytes that are not UTF-8, which
//! keeps an inverted match from failing open on them.

use regex::bytes::RegexBuilder;

/// Upper bound of one compiled program, in bytes; over it the configuration is rejected.
const PROGRAM_LIMIT: usize = 4 << 20;

/// Why a pattern or a substitution was refused.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    /// The pattern does not compile.
    #[error("regular expression {pattern:?}: {reason}")]
    Pattern {
        /// The pattern as configured.
        pattern: String,
        /// What the engine said, on one line.
        reason: String,
    },
    /// The substitution refers to a group that does not exist, or has a bad escape.
    #[error("substitution {substitution:?}: {reason}")]
    Substitution {
        /// The substitution as configured.
        substitution: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A pattern that must match the whole input (RE2 `FullMatch`).
#[derive(Clone, Debug)]
pub struct FullRegex {
    source: Box<str>,
    compiled: regex::bytes::Regex,
}

impl FullRegex {
    /// Compiles `pattern`.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        // Compiled once without the anchors, so that an unbalanced `)` cannot escape the group around it.
        let body = translate(pattern);
        regex_syntax_check(pattern, &body)?;
        let compiled = compile(pattern, &format!(r"\A(?:{body})\z"))?;
        Ok(Self { source: pattern.into(), compiled })
    }

    /// Whether all of `input` matches.
    #[inline]
    pub fn is_match(&self, input: &[u8]) -> bool {
        self.compiled.is_match(input)
    }

    /// The pattern as configured.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The literal bytes that every match begins with; empty when none can be told cheaply.
    pub(crate) fn literal_prefix(&self) -> &str {
        literal_prefix(&self.source)
    }
}

impl PartialEq for FullRegex {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// `RegexMatchAndSubstitute`: every match is replaced (RE2 `GlobalReplace`).
#[derive(Clone, Debug)]
pub struct RegexRewrite {
    compiled: regex::bytes::Regex,
    parts: Box<[Part]>,
}

/// A piece of a substitution.
#[derive(Clone, Debug)]
enum Part {
    Literal(Box<[u8]>),
    Group(usize),
}

impl RegexRewrite {
    /// Compiles `pattern`, and parses `substitution`, in which `\0` to `\9` are groups and `\\` is a backslash.
    pub fn new(pattern: &str, substitution: &str) -> Result<Self, PatternError> {
        let compiled = compile(pattern, &translate(pattern))?;
        let parts = parse_substitution(substitution, compiled.captures_len())?;
        Ok(Self { compiled, parts })
    }

    /// Appends `input` to `out`, every match in it replaced.
    pub fn replace_all_into(&self, input: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        for captures in self.compiled.captures_iter(input) {
            let Some(whole) = captures.get(0) else { continue };
            out.extend_from_slice(&input[at..whole.start()]);
            for part in &self.parts {
                match part {
                    Part::Literal(bytes) => out.extend_from_slice(bytes),
                    Part::Group(group) => {
                        out.extend_from_slice(captures.get(*group).map_or(b"", |m| m.as_bytes()));
                    }
                }
            }
            at = whole.end();
        }
        out.extend_from_slice(&input[at..]);
    }

    /// `input` with every match replaced.
    pub fn replace_all(&self, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(input.len() + 16);
        self.replace_all_into(input, &mut out);
        out
    }
}

fn regex_syntax_check(pattern: &str, body: &str) -> Result<(), PatternError> {
    compile(pattern, body).map(|_| ())
}

/// Whether a pattern has a back-reference (`\\1`), which RE2 refuses; two or three octal digits are a character to both.
fn has_back_reference(body: &str) -> bool {
    let mut bytes = body.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\\'
            && let Some(digit @ b'1'..=b'9') = bytes.next()
            && (digit > b'7' || !matches!(bytes.peek(), Some(b'0'..=b'7')))
        {
            return true;
        }
    }
    false
}

fn compile(pattern: &str, body: &str) -> Result<regex::bytes::Regex, PatternError> {
    if has_back_reference(body) {
        let reason = "back-references are not supported".to_owned();
        return Err(PatternError::Pattern { pattern: pattern.to_owned(), reason });
    }
    let unicode = !body.is_ascii() || body.contains("\\p") || body.contains("\\P") || body.contains("\\x{");
    RegexBuilder::new(body).unicode(unicode).octal(true).size_limit(PROGRAM_LIMIT).build().map_err(|error| {
        PatternError::Pattern { pattern: pattern.to_owned(), reason: one_line(&error.to_string()) }
    })
}

/// The last line of a `regex` error is the message; those before it draw the pattern.
fn one_line(text: &str) -> String {
    text.lines().last().unwrap_or(text).trim().trim_start_matches("error: ").to_owned()
}

fn parse_substitution(text: &str, groups: usize) -> Result<Box<[Part]>, PatternError> {
    let fail = |reason: &str| PatternError::Substitution {
        substitution: text.to_owned(),
        reason: reason.to_owned(),
    };
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            literal.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => literal.push(b'\\'),
            Some(digit @ b'0'..=b'9') => {
                let group = usize::from(digit - b'0');
                if group >= groups {
                    return Err(fail(&format!("the pattern has no group {group}")));
                }
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal).into()));
                }
                parts.push(Part::Group(group));
            }
            Some(_) => return Err(fail(r"a backslash must be followed by a digit or a backslash")),
            None => return Err(fail("it ends with a single backslash")),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into()));
    }
    Ok(parts.into())
}

/// RE2 syntax to the `regex` crate's.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => translate_escape(after, &mut out),
            '[' => translate_class(after, &mut out),
            '{' if !is_repetition(after) => {
                out.push_str("\\{");
                after
            }
            _ => {
                out.push(c);
                after
            }
        };
    }
    out
}

/// Translates what follows a backslash outside of a class; returns what is left.
fn translate_escape<'p>(after: &'p str, out: &mut String) -> &'p str {
    if let Some(quoted) = after.strip_prefix('Q') {
        let (literal, tail) = quoted.split_once("\\E").unwrap_or((quoted, ""));
        out.push_str(&regex::escape(literal));
        return tail;
    }
    if let Some(tail) = after.strip_prefix('C') {
        out.push_str("(?s-u:.)");
        return tail;
    }
    if after.starts_with(['<', '>']) {
        // Word boundaries in the `regex` crate, the characters themselves in RE2.
        out.push_str(&after[..1]);
        return &after[1..];
    }
    copy_escape(after, out)
}

/// Copies an escape, `\p{Name}` and `\x{41}` with their braces; returns what is left.
fn copy_escape<'p>(after: &'p str, out: &mut String) -> &'p str {
    out.push('\\');
    let Some(escaped) = after.chars().next() else { return after };
    out.push(escaped);
    let rest = &after[escaped.len_utf8()..];
    if !matches!(escaped, 'p' | 'P' | 'x') || !rest.starts_with('{') {
        return rest;
    }
    let (braces, tail) = rest.split_at(rest.find('}').map_or(rest.len(), |at| at + 1));
    out.push_str(braces);
    tail
}

/// Translates a class whose `[` has been read; returns what is left after its `]`.
fn translate_class<'p>(after: &'p str, out: &mut String) -> &'p str {
    out.push('[');
    let mut rest = after;
    if let Some(tail) = rest.strip_prefix('^') {
        out.push('^');
        rest = tail;
    }
    if let Some(tail) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = tail;
    }
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            ']' => {
                out.push(']');
                return after;
            }
            '\\' => copy_escape(after, out),
            '[' if after.starts_with(':') && after.contains(":]") => {
                let (named, tail) = rest.split_at(rest.find(":]").map_or(rest.len(), |at| at + 2));
                out.push_str(named);
                tail
            }
            // Nested classes and set operations of the `regex` crate; plain characters in RE2.
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                after
            }
            _ => {
                out.push(c);
                after
            }
        };
    }
    rest
}

/// Whether the text after a `{` completes a repetition: `3}`, `3,}` or `3,5}`.
fn is_repetition(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

/// The plain characters that `pattern` begins with, minus the last one if an operator may make it optional.
fn literal_prefix(pattern: &str) -> &str {
    if pattern.contains('|') {
        return "";
    }
    let plain = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '~' | '%' | ':' | '@' | '=' | ',')
    };
    let end = pattern.find(|c| !plain(c)).unwrap_or(pattern.len());
    let optional = matches!(pattern[end..].chars().next(), Some('?' | '*' | '{' | '+'));
    &pattern[..if optional { end.saturating_sub(1) } else { end }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(pattern: &str, input: &[u8]) -> bool {
        FullRegex::new(pattern).unwrap().is_match(input)
    }

    #[test]
    fn matches_the_whole_input_only() {
        assert!(full("/a/[0-9]+", b"/a/12"));
        assert!(!full("/a/[0-9]+", b"/a/12/"));
        assert!(!full("a|ab", b"abc"));
        assert!(full("a|ab", b"ab"));
    }

    #[test]
    fn speaks_re2() {
        assert!(full("/{id}/x{2}", b"/{id}/xx"));
        assert!(full("a{,2}", b"a{,2}"));
        assert!(full(r"\Qa.b\E.", b"a.bc"));
        assert!(!full(r"\Qa.b\E.", b"axbc"));
        assert!(full("[[x]+", b"[x"));
        assert!(full("[]a]+", b"]a"));
        assert!(full("[^]a]+", b"bc"));
        assert!(full("[[:alpha:]&&]+", b"ab&"));
        assert!(full(r"\pL+", "é".as_bytes()));
        assert!(full(r"a\x{62}", b"ab"));
        assert!(!full(r"\d", "\u{0663}".as_bytes()));
        assert!(full(r"a\Cb", b"a\xffb"));
        assert!(full(r"\<a\>\_\-\/", b"<a>_-/"));
        assert!(full(r"[\]\[a]+", b"][a"));
    }

    #[test]
    fn dot_matches_bytes_that_are_not_utf8() {
        assert!(full(".*", b"\xff\xfe"));
    }

    #[test]
    fn refuses_bad_patterns_with_a_reason() {
        let error = FullRegex::new("a)(b").unwrap_err();
        assert!(error.to_string().contains("unopened group"), "{error}");
        assert!(FullRegex::new("(?=a)").is_err());
        assert!(FullRegex::new("(a{1000}){1000}").is_err());
    }

    #[test]
    fn rewrites_every_match() {
        let rewrite = RegexRewrite::new("^/service/([^/]+)(/.*)$", r"\2/instance/\1").unwrap();
        assert_eq!(rewrite.replace_all(b"/service/foo/v1/api"), b"/v1/api/instance/foo");
        let rewrite = RegexRewrite::new("one", r"two\\").unwrap();
        assert_eq!(rewrite.replace_all(b"/xxx/one/yyy/one"), br"/xxx/two\/yyy/two\");
    }

    #[test]
    fn refuses_bad_substitutions() {
        assert!(RegexRewrite::new("(a)", r"\2").is_err());
        assert!(RegexRewrite::new("(a)", r"\x").is_err());
        assert!(RegexRewrite::new("(a)", "\\").is_err());
    }

    #[test]
    fn literal_prefix_is_conservative() {
        assert_eq!(literal_prefix("/api/v1/.*"), "/api/v1/");
        assert_eq!(literal_prefix("/api/v1?"), "/api/v");
        assert_eq!(literal_prefix("/a|/b"), "");
        assert_eq!(literal_prefix("(?i)/a"), "");
        assert_eq!(literal_prefix("/a{2}"), "/");
        assert_eq!(literal_prefix(r"/a\d"), "/a");
    }
}
