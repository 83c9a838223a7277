//! Expressions in CEL (cel.dev) about a stream: conditions of access logs and RBAC, values in formats.
//!
//! An expression is compiled once. What it names of Envoy's attributes is found out then, so that an evaluation builds these alone:
//!
//! ```text
//! text, or a syntax tree --check, which attributes?--> Expression --FormatContext--> their values --> the `cel` crate --> result
//! ```
//!
//! An evaluation is bounded by the size of the expression: there are no loops, for comprehensions (`exists`, `map`, …) are refused, as
//! in Envoy. An attribute that a stream does not have makes the evaluation fail, unless `has()` asks for it; a condition that fails
//! does not hold.

mod attributes;
mod named;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Env, Value};

use self::attributes::Need;
use crate::format::FormatContext;
use crate::info::MetadataValue;

pub use cel;

/// A compiled expression.
#[derive(Clone)]
pub struct Expression(Arc<Inner>);

struct Inner {
    root: IdedExpr,
    needs: Box<[Need]>,
    text: Box<str>,
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CelError {
    /// What is wrong.
    pub reason: String,
}

impl CelError {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// What is known of a path of names as an expression is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constant {
    /// Nothing: it may be an attribute.
    Not,
    /// It will never have a value: an evaluation that needs one fails.
    Absent,
    /// Its value.
    Text(String),
}

/// The standard functions.
static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Expressions nested deeper, or longer, are refused, so that they cannot exhaust the stack.
const DEEPEST: usize = 64;
const LONGEST: usize = 16 * 1024;

impl Expression {
    /// Compiles a text.
    ///
    /// # Errors
    /// It is no expression, or asks for what there is not.
    pub fn parse(text: &str) -> Result<Self, CelError> {
        Self::compile(tree(text)?, text)
    }

    /// Compiles a text in which some paths of names (`a.b['c']`) are constants: `known` says which. What begins with a name that nobody knows
    /// is refused.
    ///
    /// # Errors
    /// It is no expression, or asks for what there is not.
    pub fn parse_with(text: &str, known: &dyn Fn(&[&str]) -> Constant) -> Result<Self, CelError> {
        let mut root = tree(text)?;
        named::settle(&mut root, known, DEEPEST * 4);
        if let Some(name) = named::strange(&root, DEEPEST * 4) {
            return Err(CelError::new(format!("there is no attribute {name}")));
        }
        Self::compile(root, text)
    }

    /// Takes a syntax tree, which [`cel`] has the types of.
    ///
    /// # Errors
    /// It asks for what there is not.
    pub fn from_tree(root: IdedExpr) -> Result<Self, CelError> {
        Self::compile(root, "")
    }
    fn compile(root: IdedExpr, text: &str) -> Result<Self, CelError> {
        let mut needs = Vec::new();
        walk(&root, 0, &mut needs)?;
        Ok(Self(Arc::new(Inner { root, needs: needs.into(), text: text.into() })))
    }

    /// The value for a stream; none if the evaluation fails.
    pub fn value(&self, context: &FormatContext<'_>) -> Option<Value> {
        let mut variables = Context::with_env(Arc::clone(&STANDARD));
        for need in &self.0.needs {
            need.bind(context, &mut variables);
        }
        // A panic in the evaluation costs the value and nothing else.
        let evaluated = catch_unwind(AssertUnwindSafe(|| Value::resolve(&self.0.root, &variables)));
        evaluated.ok().and_then(Result::ok)
    }

    /// The value as metadata have it.
    pub fn metadata(&self, context: &FormatContext<'_>) -> Option<MetadataValue> {
        self.value(context).map(|value| values::plain(&value))
    }

    /// Whether the value is `true`.
    pub fn holds(&self, context: &FormatContext<'_>) -> bool {
        matches!(self.value(context), Some(Value::Bool(true)))
    }

    /// Appends the value as text; false if there is none.
    pub fn write(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        match self.value(context) {
            None => return false,
            Some(Value::String(text)) => out.extend_from_slice(text.as_bytes()),
            Some(Value::Bytes(bytes)) => out.extend_from_slice(&bytes),
            Some(Value::Int(number)) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
            Some(Value::UInt(number)) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
            Some(Value::Float(number)) => out.extend_from_slice(number.to_string().as_bytes()),
            Some(Value::Bool(truth)) => out.extend_from_slice(truth.to_string().as_bytes()),
            Some(Value::Timestamp(time)) => out.extend_from_slice(time.to_rfc3339().as_bytes()),
            Some(Value::Duration(span)) => {
                let text = format!("{}ms", span.num_milliseconds());
                out.extend_from_slice(text.as_bytes());
            }
            Some(Value::Null) => out.extend_from_slice(b"null"),
            Some(other) => out.extend_from_slice(format!("{other:?}").as_bytes()),
        }
        true
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.0.text).finish()
    }
}

/// The syntax tree of a text.
fn tree(text: &str) -> Result<IdedExpr, CelError> {
    if text.len() > LONGEST {
        return Err(CelError::new(format!("the expression is longer than {LONGEST} bytes")));
    }
    if nesting(text) > DEEPEST {
        return Err(CelError::new(format!("the expression is nested more than {DEEPEST} deep")));
    }
    // The parser is another's, and its input a control plane's.
    let program = catch_unwind(|| STANDARD.compile(text))
        .map_err(|_| CelError::new("the expression cannot be parsed"))?
        .map_err(|error| CelError::new(error.to_string().trim().replace('\n', " ")))?;
    Ok(program.expression().clone())
}

/// How deep brackets are nested, wherever they stand.
fn nesting(text: &str) -> usize {
    let (mut depth, mut most) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' | b'!' | b'-' | b'?' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

/// Checks an expression, and notes the attributes that it names.
fn walk(expr: &IdedExpr, depth: usize, needs: &mut Vec<Need>) -> Result<(), CelError> {
    if depth > DEEPEST * 4 {
        return Err(CelError::new("the expression is nested too deeply"));
    }
    let mut all = |each: &[IdedExpr]| each.iter().try_for_each(|expr| walk(expr, depth + 1, needs));
    match &expr.expr {
        Expr::Unspecified => Err(CelError::new("a part of the expression is empty")),
        Expr::Literal(_) => Ok(()),
        Expr::Ident(name) => attributes::note(needs, name, None),
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(name) if !select.test => attributes::note(needs, name, Some(&select.field)),
            _ => walk(&select.operand, depth + 1, needs),
        },
        Expr::Call(call) => {
            all(&call.args)?;
            call.target.as_deref().map_or(Ok(()), |target| walk(target, depth + 1, needs))
        }
        Expr::List(list) => all(&list.elements),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                walk(&entry.key, depth + 1, needs)?;
                walk(&entry.value, depth + 1, needs)
            }
            EntryExpr::StructField(field) => walk(&field.value, depth + 1, needs),
        }),
        Expr::Struct(_) => Err(CelError::new("messages cannot be built in an expression")),
        Expr::Comprehension(_) => {
            Err(CelError::new("comprehensions (all, exists, exists_one, filter, map) are not supported"))
        }
    }
}
