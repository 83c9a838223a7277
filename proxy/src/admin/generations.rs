//! `/generations` and `/generations/diff`: the history of the configuration. Not Envoy endpoints.

use http::StatusCode;

use super::{Admin, Reply, Request};

pub(super) fn list(admin: &Admin, _: &Request) -> Reply {
    Reply::json(&admin.config.generations())
}

pub(super) fn diff(admin: &Admin, request: &Request) -> Reply {
    let number = |name: &str| match request.parameter(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            Reply::status(StatusCode::BAD_REQUEST, format!("{name}={text}: a generation is a whole number\n"))
        }),
    };
    match (number("from"), number("to")) {
        (Err(refused), _) | (_, Err(refused)) => refused,
        (Ok(from), Ok(to)) => match admin.config.generations_diff(from, to) {
            Ok(diff) => Reply::json(&diff),
            Err(reason) => Reply::status(StatusCode::NOT_FOUND, format!("{reason}\n")),
        },
    }
}
