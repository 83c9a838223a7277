//! Expressions in CEL as configurations carry them: syntax trees (`google.api.expr.v1alpha1.Expr`) and texts.

use cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, ListExpr, LiteralValue, MapEntryExpr, MapExpr,
    SelectExpr,
};
use cel::common::types::{CelBool, CelBytes, CelDouble, CelInt, CelString, CelUInt};
use sampan_api::google::api::expr::v1alpha1 as pb;
use sampan_api::google::api::expr::v1alpha1::constant::ConstantKind;
use sampan_api::google::api::expr::v1alpha1::expr::ExprKind;
use sampan_api::google::api::expr::v1alpha1::expr::create_struct::entry::KeyKind;
use sampan_api::{MessageSupport, Support};
use sampan_filters_api::cel::Expression;

use super::ConfigError;

const YES: Support = Support::Supported;
const REFUSED: Support = Support::Later("an expression with a comprehension is refused, as in Envoy");
const TYPES: Support = Support::Ignored("types are those of the values");

/// What is read here.
pub const SUPPORT: &[MessageSupport] = &[
    ("google.api.expr.v1alpha1.CheckedExpr", &[("*", TYPES), ("expr", YES)]),
    ("google.api.expr.v1alpha1.Expr", &[("*", YES), ("comprehension_expr", REFUSED)]),
    ("google.api.expr.v1alpha1.Expr.Ident", &[("*", YES)]),
    ("google.api.expr.v1alpha1.Expr.Select", &[("*", YES)]),
    ("google.api.expr.v1alpha1.Expr.Call", &[("*", YES)]),
    ("google.api.expr.v1alpha1.Expr.CreateList", &[("*", YES)]),
    ("google.api.expr.v1alpha1.Expr.CreateStruct", &[("*", YES)]),
    ("google.api.expr.v1alpha1.Expr.CreateStruct.Entry", &[("*", YES)]),
    ("google.api.expr.v1alpha1.Constant", &[("*", YES)]),
];

/// Trees nested deeper are refused, so that they cannot exhaust the stack.
const DEEPEST: usize = 64;

/// The expression of a tree.
pub fn tree(proto: &pb::Expr, path: &str) -> Result<Expression, ConfigError> {
    let told = |reason: String| ConfigError::new(path, reason);
    let root = node(proto, 0).map_err(|reason| told(reason.to_owned()))?;
    Expression::from_tree(root).map_err(|error| told(error.reason))
}

fn node(proto: &pb::Expr, depth: usize) -> Result<IdedExpr, &'static str> {
    if depth > DEEPEST {
        return Err("the expression is nested too deeply");
    }
    let inner =
        |proto: Option<&pb::Expr>| node(proto.ok_or("a part of the expression is missing")?, depth + 1);
    let all = |protos: &[pb::Expr]| {
        protos.iter().map(|proto| node(proto, depth + 1)).collect::<Result<Vec<_>, _>>()
    };
    let expr = match proto.expr_kind.as_ref().ok_or("a part of the expression is empty")? {
        ExprKind::ConstExpr(constant) => Expr::Literal(literal(constant)?),
        ExprKind::IdentExpr(ident) => Expr::Ident(ident.name.clone()),
        ExprKind::SelectExpr(select) => Expr::Select(SelectExpr {
            operand: Box::new(inner(select.operand.as_deref())?),
            field: select.field.clone(),
            test: select.test_only,
        }),
        ExprKind::CallExpr(call) => Expr::Call(CallExpr {
            func_name: call.function.clone(),
            target: match &call.target {
                Some(target) => Some(Box::new(inner(Some(target))?)),
                None => None,
            },
            args: all(&call.args)?,
        }),
        ExprKind::ListExpr(list) => Expr::List(ListExpr::new(all(&list.elements)?)),
        ExprKind::StructExpr(map) if map.message_name.is_empty() => {
            let entries = map.entries.iter().map(|entry| {
                let Some(KeyKind::MapKey(key)) = &entry.key_kind else {
                    return Err("a map's entry has no key");
                };
                let (key, value) = (node(key, depth + 1)?, inner(entry.value.as_ref())?);
                let entry = MapEntryExpr { key, value, optional: false };
                Ok(IdedEntryExpr { id: 0, expr: EntryExpr::MapEntry(entry) })
            });
            Expr::Map(MapExpr { entries: entries.collect::<Result<_, _>>()? })
        }
        ExprKind::StructExpr(_) => return Err("messages cannot be built in an expression"),
        ExprKind::ComprehensionExpr(_) => {
            return Err("comprehensions (all, exists, exists_one, filter, map) are not supported");
        }
    };
    Ok(IdedExpr { id: proto.id.unsigned_abs(), expr })
}

fn literal(constant: &pb::Constant) -> Result<LiteralValue, &'static str> {
    Ok(match constant.constant_kind.as_ref().ok_or("a constant is empty")? {
        ConstantKind::NullValue(_) => LiteralValue::Null,
        ConstantKind::BoolValue(truth) => LiteralValue::Boolean(CelBool::from(*truth)),
        ConstantKind::Int64Value(number) => LiteralValue::Int(CelInt::from(*number)),
        ConstantKind::Uint64Value(number) => LiteralValue::UInt(CelUInt::from(*number)),
        ConstantKind::DoubleValue(number) => LiteralValue::Double(CelDouble::from(*number)),
        ConstantKind::StringValue(text) => LiteralValue::String(CelString::from(text.clone())),
        ConstantKind::BytesValue(bytes) => LiteralValue::Bytes(CelBytes::from(bytes.clone())),
        #[expect(deprecated, reason = "the API has them still")]
        ConstantKind::DurationValue(_) | ConstantKind::TimestampValue(_) => {
            return Err("constants of time are written as duration('1s') and timestamp('…')");
        }
    })
}
