//! How a line is written.

use sampan_filters_api::format::{FormatContext, FormatError, StructTemplate, Template};

/// Envoy's format where none is configured.
pub const ENVOY_DEFAULT: &str = concat!(
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" "#,
    r"%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    r#"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "#,
    r#""%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%""#,
    "\n"
);

/// The text format that Istio configures by default.
pub const ISTIO_DEFAULT: &str = concat!(
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" "#,
    r"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    r#""%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "#,
    r#"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "#,
    r#""%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% "#,
    r"%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    r"%REQUESTED_SERVER_NAME% %ROUTE_NAME%",
    "\n"
);

/// A line's format.
#[derive(Debug)]
pub enum LineFormat {
    /// Text, which carries its own line end.
    Text(Template),
    /// One JSON object; the line end is added.
    Json(StructTemplate),
}

impl LineFormat {
    /// Envoy's default.
    ///
    /// # Errors
    /// Never with this version's operators; a test sees to it.
    pub fn envoy_default() -> Result<Self, FormatError> {
        Ok(LineFormat::Text(Template::parse(ENVOY_DEFAULT)?))
    }

    /// Appends the line.
    pub fn render(&self, context: &FormatContext<'_>, line: &mut Vec<u8>) {
        match self {
            LineFormat::Text(template) => template.render(context, line),
            LineFormat::Json(template) => {
                template.render_json(context, line);
                line.push(b'\n');
            }
        }
    }
}
