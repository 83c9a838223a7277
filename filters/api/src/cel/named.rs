//! Expressions about more than a stream: names whose values are known as they are compiled, and which names nobody knows.

use cel::common::ast::operators::INDEX;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, MapExpr};

use super::{Constant, attributes};

/// Puts values in the place of paths of names (`a.b['c']`), and answers in the place of `has()` of one; `known` says which. Nothing is done
/// below `depth` levels.
pub(super) fn settle(expr: &mut IdedExpr, known: &dyn Fn(&[&str]) -> Constant, depth: usize) {
    if depth == 0 {
        return;
    }
    let found = path(expr, depth).map_or(Constant::Not, |path| known(&path));
    let asked = matches!(&expr.expr, Expr::Select(select) if select.test);
    expr.expr = match found {
        Constant::Not => return each(&mut expr.expr, &mut |child| settle(child, known, depth - 1)),
        found if asked => Expr::Literal(LiteralValue::Boolean((found != Constant::Absent).into())),
        Constant::Text(text) => Expr::Literal(LiteralValue::String(text.into())),
        Constant::Absent => missing(),
    };
}

/// An expression that fails: `{}['']`.
fn missing() -> Expr {
    let of = |expr| IdedExpr { id: 0, expr };
    let nothing = Expr::Map(MapExpr { entries: Vec::new() });
    let key = Expr::Literal(LiteralValue::String(String::new().into()));
    Expr::Call(CallExpr { func_name: INDEX.into(), target: None, args: vec![of(nothing), of(key)] })
}

/// A name that the expression begins a path with, or a field of it, that nobody knows.
pub(super) fn strange(expr: &IdedExpr, depth: usize) -> Option<String> {
    if depth == 0 {
        return None;
    }
    match &expr.expr {
        Expr::Ident(name) => (!attributes::knows(name, None)).then(|| name.clone()),
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(name) => {
                let field = Some(&*select.field);
                (!attributes::knows(name, field)).then(|| format!("{name}.{}", select.field))
            }
            _ => strange(&select.operand, depth - 1),
        },
        Expr::Call(call) => {
            call.args.iter().chain(call.target.as_deref()).find_map(|child| strange(child, depth - 1))
        }
        Expr::List(list) => list.elements.iter().find_map(|child| strange(child, depth - 1)),
        Expr::Map(map) => map.entries.iter().find_map(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                [&entry.key, &entry.value].into_iter().find_map(|child| strange(child, depth - 1))
            }
            EntryExpr::StructField(_) => None,
        }),
        // What is no value, and what is refused anyway.
        Expr::Unspecified | Expr::Literal(_) | Expr::Struct(_) | Expr::Comprehension(_) => None,
    }
}

/// The names of `a.b['c']`, also within `has()`; none of what is more than that.
fn path(expr: &IdedExpr, depth: usize) -> Option<Vec<&str>> {
    let (operand, name) = match &expr.expr {
        Expr::Ident(name) => return Some(vec![name]),
        Expr::Select(select) => (&*select.operand, &*select.field),
        Expr::Call(call) if call.func_name == INDEX && call.target.is_none() => match &*call.args {
            [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(key)), .. }] => {
                (operand, key.inner())
            }
            _ => return None,
        },
        _ => return None,
    };
    let mut path = path(operand, depth.checked_sub(1)?)?;
    path.push(name);
    Some(path)
}

fn each(expr: &mut Expr, act: &mut dyn FnMut(&mut IdedExpr)) {
    match expr {
        Expr::Select(select) => act(&mut select.operand),
        Expr::Call(call) => call.args.iter_mut().chain(call.target.as_deref_mut()).for_each(act),
        Expr::List(list) => list.elements.iter_mut().for_each(act),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    act(&mut entry.key);
                    act(&mut entry.value);
                }
            }
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) | Expr::Comprehension(_) => {}
    }
}
