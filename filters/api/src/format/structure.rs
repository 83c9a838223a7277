//! JSON lines: a tree of templates.
//!
//! As in Envoy, keys come sorted, a string that is exactly one operator keeps the operator's type
//! (`"%DURATION%"` is a number), an absent value is `null`, and with `omit_empty_values` absent values
//! go, and with them the objects that are left empty. Keys and fixed values are turned into JSON when
//! the tree is parsed.

use std::fmt::Write;

use super::context::FormatContext;
use super::error::StructError;
use super::escape;
use super::json;
use super::template::{Single, Template};
use crate::info::MetadataValue;

/// A parsed tree.
#[derive(Clone, Debug)]
pub struct StructTemplate {
    root: Node,
    omit_empty: bool,
}

#[derive(Clone, Debug)]
enum Node {
    Null,
    /// JSON that never changes.
    Fixed(Box<[u8]>),
    Template(Template),
    List(Vec<Node>),
    /// With each key as it is written: `"key":`.
    Struct(Vec<(Box<[u8]>, Node)>),
}

impl StructTemplate {
    /// Parses the strings of a tree (a `google.protobuf.Struct`).
    ///
    /// # Errors
    /// The first string that is no valid format, with its place in the tree; a tree that is too deep.
    pub fn parse(tree: &MetadataValue, omit_empty: bool) -> Result<Self, StructError> {
        let mut path = String::new();
        Ok(Self { root: parse(tree, omit_empty, &mut path, 0)?, omit_empty })
    }

    /// Appends one JSON value, without a line end.
    pub fn render_json(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        if !self.write(&self.root, context, out) {
            out.extend_from_slice(b"{}");
        }
    }

    /// Appends a node; false, with nothing appended, if it is to be left out.
    fn write(&self, node: &Node, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        match node {
            Node::Null => self.absent(out),
            Node::Fixed(json) => {
                out.extend_from_slice(json);
                true
            }
            Node::Template(template) => self.write_template(template, context, out),
            Node::List(items) => {
                out.push(b'[');
                self.write_all(items, |item| (&b""[..], item), context, out);
                out.push(b']');
                true
            }
            Node::Struct(fields) => {
                let start = out.len();
                out.push(b'{');
                self.write_all(fields, |(key, value)| (&**key, value), context, out);
                if self.omit_empty && out.len() == start + 1 {
                    out.truncate(start);
                    return false;
                }
                out.push(b'}');
                true
            }
        }
    }

    fn write_all<'a, T>(
        &self,
        items: &'a [T],
        split: impl Fn(&'a T) -> (&'a [u8], &'a Node),
        context: &FormatContext<'_>,
        out: &mut Vec<u8>,
    ) {
        let mut first = true;
        for item in items {
            let (key, node) = split(item);
            let before = out.len();
            if !first {
                out.push(b',');
            }
            out.extend_from_slice(key);
            if self.write(node, context, out) {
                first = false;
            } else {
                out.truncate(before);
            }
        }
    }

    fn write_template(&self, template: &Template, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.push(b'"');
        let inside = out.len();
        match template.render_value(context, out) {
            Single::Text => {
                escape::json(out, inside);
                out.push(b'"');
                true
            }
            // The quote was for text.
            Single::Number => {
                out.remove(start);
                true
            }
            Single::Value(value) => {
                out.truncate(start);
                json::value(&value, out);
                true
            }
            Single::Absent => {
                out.truncate(start);
                self.absent(out)
            }
        }
    }

    fn absent(&self, out: &mut Vec<u8>) -> bool {
        if !self.omit_empty {
            out.extend_from_slice(b"null");
        }
        !self.omit_empty
    }
}

/// Deeper trees are refused, so that rendering cannot exhaust the stack.
const DEEPEST: usize = 64;

fn parse(
    tree: &MetadataValue,
    omit_empty: bool,
    path: &mut String,
    depth: usize,
) -> Result<Node, StructError> {
    if depth > DEEPEST {
        let error = super::FormatError::new("{", format!("nested more than {DEEPEST} deep"), "flatten it");
        return Err(StructError { path: path.clone(), error });
    }
    let mark = path.len();
    let node = match tree {
        MetadataValue::Null => Node::Null,
        MetadataValue::Bool(_) | MetadataValue::Number(_) => {
            let mut text = Vec::new();
            json::value(tree, &mut text);
            Node::Fixed(text.into())
        }
        MetadataValue::String(text) => {
            let template =
                Template::parse(text).map_err(|error| StructError { path: path.clone(), error })?;
            template_node(template.omitting_empty(omit_empty))
        }
        MetadataValue::List(items) => {
            let mut nodes = Vec::with_capacity(items.len());
            for (i, item) in items.iter().enumerate() {
                // Writing to a String cannot fail.
                let _ = write!(path, "[{i}]");
                nodes.push(parse(item, omit_empty, path, depth + 1)?);
                path.truncate(mark);
            }
            Node::List(nodes)
        }
        MetadataValue::Struct(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
            let mut nodes = Vec::with_capacity(sorted.len());
            for (key, value) in sorted {
                if mark > 0 {
                    path.push('.');
                }
                path.push_str(key);
                let mut json_key = Vec::new();
                json::string(key.as_bytes(), &mut json_key);
                json_key.push(b':');
                nodes.push((json_key.into(), parse(value, omit_empty, path, depth + 1)?));
                path.truncate(mark);
            }
            Node::Struct(nodes)
        }
    };
    Ok(node)
}

fn template_node(template: Template) -> Node {
    match template.literal() {
        Some(text) => {
            let mut fixed = Vec::new();
            json::string(text, &mut fixed);
            Node::Fixed(fixed.into())
        }
        None => Node::Template(template),
    }
}
