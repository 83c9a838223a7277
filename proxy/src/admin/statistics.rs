//! `/stats`, `/stats/prometheus` and `/reset_counters`: the stats registry reads the parameters and prints.

use http::StatusCode;

use super::{Admin, Reply, Request, vitals};
use crate::telemetry::stats::{QueryError, StatsQuery, render};

pub(super) fn stats(admin: &Admin, request: &Request) -> Reply {
    match request.parameter("format") {
        Some("html" | "active-html") => page(admin, request),
        _ => printed(admin, StatsQuery::parse(&request.raw_query)),
    }
}

pub(super) fn prometheus(admin: &Admin, request: &Request) -> Reply {
    printed(admin, StatsQuery::parse_prometheus(&request.raw_query))
}

pub(super) fn reset_counters(admin: &Admin, _: &Request) -> Reply {
    admin.stats.reset_counters();
    Reply::ok()
}

pub(super) fn recent_lookups(_: &Admin, _: &Request) -> Reply {
    Reply::text("Lookup tracking does not exist: stats are not looked up by name.\n\ntotal: 0\n")
}

pub(super) fn no_recent_lookups(_: &Admin, _: &Request) -> Reply {
    Reply::status(
        StatusCode::NOT_IMPLEMENTED,
        "Lookup tracking does not exist: stats are not looked up by name.\n",
    )
}

fn printed(admin: &Admin, query: Result<StatsQuery, QueryError>) -> Reply {
    match query {
        Ok(query) => {
            vitals::refresh(admin);
            let rendered = render(&admin.stats, &query);
            Reply { status: StatusCode::OK, content_type: rendered.content_type, body: rendered.body.into() }
        }
        Err(error) => Reply::status(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

/// The text form as a page, for people who come from the home page.
fn page(admin: &Admin, request: &Request) -> Reply {
    let rest: Vec<&str> = request.raw_query.split('&').filter(|p| !p.starts_with("format=")).collect();
    let query = StatsQuery::parse(&rest.join("&"));
    if query.is_err() {
        return printed(admin, query);
    }
    let text = printed(admin, query);
    let text = String::from_utf8_lossy(&text.body).replace('&', "&amp;").replace('<', "&lt;");
    Reply::html(format!("<!DOCTYPE html>\n<html lang='en'>\n<body>\n<pre>\n{text}</pre>\n</body>\n</html>\n"))
}
