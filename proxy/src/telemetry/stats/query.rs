//! The parameters of `/stats` and `/stats/prometheus`, with Envoy's names and refusals.

use thiserror::Error;

use super::config::Pattern;

/// How stats are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `name: value` lines.
    Text,
    /// One JSON object.
    Json,
    /// The Prometheus text exposition format.
    Prometheus,
}

/// How histograms are printed (`histogram_buckets`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buckets {
    /// Not given, or `none`: quantiles in text and JSON, cumulative buckets for Prometheus unless `none` was said.
    Unset,
    /// `summary`: quantiles.
    Summary,
    /// `cumulative`: how many values lie below each bound.
    Cumulative,
    /// `disjoint`: how many values lie between bounds.
    Disjoint,
    /// `detailed`: the bins themselves, and quantiles.
    Detailed,
}

/// A request for stats.
#[derive(Debug)]
pub struct StatsQuery {
    /// `format`
    pub format: Format,
    /// `usedonly`: only what was written at least once.
    pub used_only: bool,
    /// `text_readouts`: Prometheus prints them as gauges.
    pub text_readouts: bool,
    /// `histogram_buckets`
    pub buckets: Buckets,
    pub(super) only: Option<Only>,
    pub(super) filter: Option<Pattern>,
    pub(super) invert_filter: bool,
}

/// `type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Only {
    Counters,
    Gauges,
    Histograms,
    TextReadouts,
}

/// A parameter that is not understood. Answered with 400 and this text.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum QueryError {
    /// `format` is none of ours.
    #[error("usage: /stats?format=(html|active-html|json|prometheus|text)\n\n")]
    Format,
    /// HTML is not served.
    #[error("format=html is not served here; use text, json or prometheus\n")]
    Html,
    /// `type` is not known.
    #[error("invalid &type= param")]
    Type,
    /// `filter` is not a regular expression.
    #[error("Invalid re2 regex: {0}")]
    Filter(String),
    /// `histogram_buckets` is not known.
    #[error("usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n")]
    Buckets,
    /// Native histograms need the protobuf format.
    #[error("unsupported prometheusnative histogram type when not using protobuf exposition format")]
    Native,
}

impl StatsQuery {
    /// Reads the query string of `/stats` (what follows the `?`, still encoded).
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let mut parsed = Self::empty(Format::Text);
        parsed.read(query, true)?;
        Ok(parsed)
    }

    /// Reads the query string of `/stats/prometheus`, where `format` says nothing.
    pub fn parse_prometheus(query: &str) -> Result<Self, QueryError> {
        let mut parsed = Self::empty(Format::Prometheus);
        parsed.read(query, false)?;
        Ok(parsed)
    }

    fn empty(format: Format) -> Self {
        Self {
            format,
            used_only: false,
            text_readouts: false,
            buckets: Buckets::Unset,
            only: None,
            filter: None,
            invert_filter: false,
        }
    }

    fn read(&mut self, query: &str, with_format: bool) -> Result<(), QueryError> {
        let mut buckets = String::new();
        for (key, value) in parameters(query) {
            match key.as_str() {
                "usedonly" => self.used_only = true,
                "text_readouts" => self.text_readouts = true,
                "invert_filter" => self.invert_filter = true,
                "filter" if !value.is_empty() => {
                    self.filter = Some(Pattern::new(&value).map_err(QueryError::Filter)?);
                }
                "format" if with_format => self.format = format_of(&value)?,
                "type" => self.only = type_of(&value)?,
                "histogram_buckets" => buckets = value,
                // Envoy too accepts parameters that it does not know.
                _ => {}
            }
        }
        self.buckets = match buckets.as_str() {
            "" => Buckets::Unset,
            "none" if self.format == Format::Prometheus => Buckets::Summary,
            "none" => Buckets::Unset,
            "summary" => Buckets::Summary,
            "cumulative" => Buckets::Cumulative,
            "disjoint" => Buckets::Disjoint,
            "detailed" => Buckets::Detailed,
            "prometheusnative" => return Err(QueryError::Native),
            _ => return Err(QueryError::Buckets),
        };
        Ok(())
    }

    /// Whether a stat of this full name is asked for.
    pub(super) fn names(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_match(name) != self.invert_filter)
    }
}

fn format_of(value: &str) -> Result<Format, QueryError> {
    match value {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        "prometheus" => Ok(Format::Prometheus),
        "html" | "active-html" => Err(QueryError::Html),
        _ => Err(QueryError::Format),
    }
}

fn type_of(value: &str) -> Result<Option<Only>, QueryError> {
    match value {
        "All" => Ok(None),
        "Counters" => Ok(Some(Only::Counters)),
        "Gauges" => Ok(Some(Only::Gauges)),
        "Histograms" => Ok(Some(Only::Histograms)),
        "TextReadouts" => Ok(Some(Only::TextReadouts)),
        _ => Err(QueryError::Type),
    }
}

/// The parameters of a query string, percent-decoded.
fn parameters(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(key), decode(value))
    })
}

/// Percent-decodes. What is no valid escape stays as it is. A `+` stays too: it means itself in a regular expression.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = (byte == b'%').then(|| after.first_chunk::<2>()).flatten();
        let value = digits.and_then(|digits| Some(hex(digits[0])? << 4 | hex(digits[1])?));
        bytes.push(value.unwrap_or(byte));
        rest = if value.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = StatsQuery::parse("usedonly&filter=%5E(server%5C.state%7Cx+)$&type=Gauges").unwrap();
        assert!(query.used_only && query.only == Some(Only::Gauges) && query.format == Format::Text);
        assert!(query.names("server.state") && query.names("xx") && !query.names("server_state"));
        assert!(StatsQuery::parse("filter=a&invert_filter").unwrap().names("b"));
        assert_eq!(decode("%4%zz%41%"), "%4%zzA%");
    }

    #[test]
    fn what_is_not_understood_is_refused_in_envoys_words() {
        let refused = |query| StatsQuery::parse(query).unwrap_err().to_string();
        assert_eq!(refused("type=Foo"), "invalid &type= param");
        assert!(refused("format=foo").starts_with("usage: /stats?format="));
        assert!(refused("filter=(").starts_with("Invalid re2 regex: "));
        assert!(refused("histogram_buckets=foo").contains("prometheusnative"));
        assert_eq!(StatsQuery::parse("format=html").unwrap_err(), QueryError::Html);
        assert_eq!(StatsQuery::parse_prometheus("format=foo").unwrap().format, Format::Prometheus);
    }
}
