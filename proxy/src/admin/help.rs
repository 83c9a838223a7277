//! `/` and `/help`: the table, as text and as a page.

use std::fmt::Write as _;

use super::table::{ENDPOINTS, Endpoint, Parameter, ParameterKind};
use super::{Admin, Reply, Request};

const STYLE: &str = "body{font-family:sans-serif;font-size:medium}table{border-collapse:collapse}\
td{padding:4px;text-align:left;vertical-align:top}tr.command td{padding-top:10px}td.option{padding-left:20px;text-align:right}";

pub(super) fn help(_: &Admin, _: &Request) -> Reply {
    Reply::text(commands())
}

/// The list of commands, for `/help` and for an unknown path.
pub(super) fn commands() -> String {
    let mut out = String::from("admin commands are:\n");
    for endpoint in ENDPOINTS {
        let post = if endpoint.mutates { " (POST)" } else { "" };
        let _ = writeln!(out, "  {}{post}: {}", endpoint.path, endpoint.help);
        for parameter in endpoint.parameters {
            let _ = write!(out, "      {}: {}", parameter.name, parameter.help);
            if let ParameterKind::OneOf(values) = parameter.kind {
                let _ = write!(out, "; One of ({})", values.join(", "));
            }
            out.push('\n');
        }
    }
    out
}

pub(super) fn home(_: &Admin, _: &Request) -> Reply {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n  <title>Envoy Admin</title>\n  <style>{STYLE}</style>\n\
         </head>\n<body>\n  <table class='home-table'>\n    <thead>\n      <tr>\n        \
         <th class='home-data'>Command</th>\n        <th class='home-data'>Description</th>\n      </tr>\n    \
         </thead>\n    <tbody>\n"
    );
    for endpoint in ENDPOINTS.iter().filter(|e| e.path != "/") {
        row(&mut out, endpoint);
    }
    out.push_str("    </tbody>\n  </table>\n</body>\n</html>\n");
    Reply::html(out)
}

fn row(out: &mut String, endpoint: &Endpoint) {
    // Paths are relative, so that the page works behind a prefix (`kubectl proxy`).
    let path = endpoint.path.trim_start_matches('/');
    let method = if endpoint.mutates { "post" } else { "get" };
    let command = if endpoint.mutates || !endpoint.parameters.is_empty() {
        format!("<form action='{path}' method='{method}' id='{path}'><button>{path}</button></form>")
    } else {
        format!("<a href='{path}'>{path}</a>")
    };
    let help = escaped(endpoint.help);
    let _ = writeln!(
        out,
        "<tr class='command'><td class='home-data'>{command}</td><td class='home-data'>{help}</td></tr>"
    );
    for parameter in endpoint.parameters {
        let input = input(path, parameter);
        let help = escaped(parameter.help);
        let _ = writeln!(out, "<tr><td class='option'>{input}</td><td class='home-data'>{help}</td></tr>");
    }
}

fn input(form: &str, parameter: &Parameter) -> String {
    let name = parameter.name;
    match parameter.kind {
        ParameterKind::Flag => format!("<input type='checkbox' name='{name}' form='{form}'>"),
        ParameterKind::Text => format!("<input type='text' name='{name}' form='{form}'>"),
        ParameterKind::OneOf(values) => {
            let options: String =
                values.iter().flat_map(|v| ["<option value='", v, "'>", v, "</option>"]).collect();
            format!("<select name='{name}' form='{form}'>{options}</select>")
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}
