//! The rows as a picture: a panel for each case, a bar for each peer.

use std::fmt::Write as _;

use crate::report::Row;

const COLUMNS: usize = 3;
const PANEL: usize = 320;
/// From one bar to the next.
const LINE: usize = 16;
const BAR: usize = 11;
/// Where bars begin within a panel, and how long the longest is.
const LEFT: usize = 82;
const LONGEST: f64 = 140.0;
/// Above the bars of a panel, and below.
const TITLE: usize = 26;
const GAP: usize = 14;
const OURS: &str = "#2b6cb0";
const THEIRS: &str = "#a0aec0";

/// Bars of messages a second where a case has no rate, else of delay: p50 over a paler p99. Each
/// panel has a scale of its own; the figures stand beside the bars.
pub fn svg(rows: &[Row]) -> String {
    let panels: Vec<&[Row]> = rows.chunk_by(|a, b| a.name == b.name).collect();
    let mut body = String::new();
    let mut top = 0;
    for line in panels.chunks(COLUMNS) {
        for (column, panel) in line.iter().enumerate() {
            draw(&mut body, panel, column * PANEL, top);
        }
        let bars = line.iter().map(|panel| panel.len()).max().unwrap_or(0);
        top += TITLE + bars * LINE + GAP;
    }
    let width = COLUMNS * PANEL;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {top}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"#1a202c\">\n\
         <rect width=\"{width}\" height=\"{top}\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn draw(out: &mut String, panel: &[Row], left: usize, top: usize) {
    let Some(first) = panel.first() else { return };
    text(out, left + 8, top + 16, " font-weight=\"bold\"", &first.name);
    let most = panel.iter().map(|row| bars(row).0).fold(f64::MIN_POSITIVE, f64::max);
    for (number, row) in panel.iter().enumerate() {
        let y = top + TITLE + number * LINE;
        let colour = if row.peer.starts_with("selvedge") { OURS } else { THEIRS };
        text(out, left + 8, y + BAR - 2, "", row.peer);
        let (long, short, figures) = bars(row);
        for (value, opacity) in [(long, 0.4), (short, 1.0)] {
            let _ = writeln!(
                out, // a String takes all
                "<rect x=\"{}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\" \
                 fill-opacity=\"{opacity}\"/>",
                left + LEFT,
                value / most * LONGEST
            );
        }
        let end = left + LEFT + (long / most * LONGEST) as usize;
        text(out, end + 4, y + BAR - 2, "", &figures);
    }
}

/// A paler bar, one over it, and what they say.
fn bars(row: &Row) -> (f64, f64, String) {
    match (row.p50_us, row.p99_us) {
        (Some(p50), Some(p99)) => (p99, p50, format!("{} / {}", time(p50), time(p99))),
        _ => {
            let rate = row.messages_per_second;
            let lost = row.lost as f64 / row.expected.max(1) as f64 * 100.0;
            let lost = if row.lost > 0 { format!(", {lost:.0} % lost") } else { String::new() };
            (rate, rate, format!("{}/s{lost}", short(rate)))
        }
    }
}

/// Microseconds, or milliseconds.
fn time(us: f64) -> String {
    if us >= 1e4 { format!("{:.0} ms", us / 1e3) } else { format!("{us:.0} µs") }
}

/// Three digits.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e7 => format!("{:.1} M", v / 1e6),
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e5 => format!("{:.0} k", v / 1e3),
        v if v >= 1e3 => format!("{:.1} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

fn text(out: &mut String, x: usize, y: usize, style: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\"{style}>{text}</text>"); // a String takes all
}
