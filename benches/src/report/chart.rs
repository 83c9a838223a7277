//! The chart: CPU per unit of each proxy as a multiple of Envoy's, one group of bars per scenario.
//!
//! Plain SVG text with shapes and labels only, so that it shows anywhere a browser or a Markdown page does.

use super::{Report, ScenarioReport};
use crate::binaries::ProxyKind;
use std::fmt::{self, Write};

const LABEL_WIDTH: f64 = 120.0;
const BAR_WIDTH: f64 = 420.0;
const VALUE_WIDTH: f64 = 200.0;
const BAR_HEIGHT: f64 = 16.0;
const GROUP_GAP: f64 = 18.0;
const TOP: f64 = 56.0;
/// The longest bar that is drawn, as a multiple of Envoy's; longer ones are cut and say so by their label.
const MOST: f64 = 1.5;

/// The chart of a report.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    let bars: usize = report.scenarios.iter().map(|scenario| scenario.rows.len()).sum();
    let height = TOP + bars as f64 * BAR_HEIGHT + report.scenarios.len() as f64 * GROUP_GAP + 16.0;
    let width = LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH;
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">
<rect width="{width}" height="{height}" fill="#ffffff"/>
<text x="12" y="22" font-size="15" font-weight="bold">CPU per request (per MiB for bulk), relative to Envoy</text>
<text x="12" y="40" fill="#666666">shorter is better; one worker on one core; medians of {} rounds; {}</text>"##,
        report.settings.rounds,
        escape(&report.machine.cpu)
    )?;
    let mut y = TOP;
    for scenario in &report.scenarios {
        y = write_group(out, scenario, y)?;
    }
    let one = LABEL_WIDTH + BAR_WIDTH / MOST;
    writeln!(
        out,
        r##"<line x1="{one}" y1="{TOP}" x2="{one}" y2="{y}" stroke="#333333" stroke-dasharray="3 3"/>
</svg>"##
    )
}

/// Draws one scenario from `y` down and returns where the next begins.
fn write_group(out: &mut String, scenario: &ScenarioReport, y: f64) -> Result<f64, fmt::Error> {
    let middle = y + scenario.rows.len() as f64 * BAR_HEIGHT / 2.0 + 4.0;
    writeln!(out, r#"<text x="12" y="{middle}">{}</text>"#, escape(scenario.name))?;
    let envoy = scenario.median(ProxyKind::Envoy).map(|median| median.cpu_us);
    let mut y = y;
    for row in &scenario.rows {
        let label = match (&row.median, envoy) {
            (Some(median), Some(envoy)) if envoy > 0.0 => {
                let ratio = median.cpu_us / envoy;
                let length = ratio.clamp(0.0, MOST) / MOST * BAR_WIDTH;
                writeln!(
                    out,
                    r#"<rect x="{LABEL_WIDTH}" y="{}" width="{length:.1}" height="{}" fill="{}"/>"#,
                    y + 1.0,
                    BAR_HEIGHT - 2.0,
                    colour(row.proxy)
                )?;
                (length, format!("{} {:.2} ({:.1} us/{})", row.proxy, ratio, median.cpu_us, scenario.unit))
            }
            (Some(median), _) => (0.0, format!("{} {:.1} us/{}", row.proxy, median.cpu_us, scenario.unit)),
            (None, _) => (0.0, format!("{}: no figure", row.proxy)),
        };
        let (x, baseline) = (LABEL_WIDTH + label.0 + 6.0, y + BAR_HEIGHT - 4.0);
        writeln!(
            out,
            r##"<text x="{x:.1}" y="{baseline}" fill="#333333" font-size="11">{}</text>"##,
            escape(&label.1)
        )?;
        y += BAR_HEIGHT;
    }
    Ok(y + GROUP_GAP)
}

fn colour(proxy: ProxyKind) -> &'static str {
    match proxy {
        ProxyKind::Sampan => "#d1495b",
        ProxyKind::Envoy => "#8d99ae",
        ProxyKind::Haproxy => "#66a182",
        ProxyKind::Nginx => "#2e4057",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::Memory;
    use crate::report::{Row, Sample};
    use crate::scenario::SCENARIOS;

    #[test]
    fn a_group_has_a_bar_for_what_was_measured_and_a_word_for_what_was_not() {
        let mut envoy = Row::new(ProxyKind::Envoy);
        let memory = Memory::default();
        envoy.take(Ok(Sample { rate: 1.0, cpu_us: 30.0, busy: 1.0, latency: None, memory }));
        let report = ScenarioReport::new(&SCENARIOS[0], vec![envoy, Row::new(ProxyKind::Sampan)]);
        let mut out = String::new();
        write_group(&mut out, &report, 0.0).unwrap();
        assert_eq!(out.matches("<rect").count(), 1);
        assert!(out.contains("envoy 1.00 (30.0 us/req)") && out.contains("sampan: no figure"));
    }
}
