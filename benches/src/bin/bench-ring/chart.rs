//! The table as a picture: one bar per row from 1 ns on a logarithmic scale, a tick at the 99th percentile.

use crate::results::Results;
use std::fmt::Write as _;

const LEFT: f64 = 190.0;
const WIDTH: f64 = 560.0;
const ROW: f64 = 22.0;
const TOP: f64 = 44.0;
/// 1 ns to 1 ms.
const DECADES: f64 = 6.0;

fn x(ns: f64) -> f64 {
    LEFT + WIDTH * (ns.max(1.0).log10() / DECADES).min(1.0)
}

fn color(name: &str) -> &'static str {
    match name {
        _ if name.starts_with("raw") => "#7f7f7f",
        _ if name.starts_with("ring_bare") => "#9ecae1",
        _ if name.starts_with("ring") => "#1f77b4",
        _ => "#d0893c",
    }
}

/// The whole file.
pub fn svg(results: &Results) -> String {
    let bottom = TOP + ROW * results.rows.len() as f64;
    let (width, height) = (LEFT + WIDTH + 90.0, bottom + 34.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"14\">One way between two processes (array_queue, rtrb: threads) on two \
         cores, per buffer: median, and the 99th percentile as a tick</text>\n"
    );
    for (decade, label) in ["1 ns", "10 ns", "100 ns", "1 us", "10 us", "100 us", "1 ms"].into_iter().enumerate() {
        let at = LEFT + WIDTH * decade as f64 / DECADES;
        let _ = writeln!(
            text,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            bottom + 18.0
        );
    }
    for (n, row) in results.rows.iter().enumerate() {
        let (y, name) = (TOP + ROW * n as f64, row.contender.name);
        let base = y + 15.0;
        let _ = writeln!(text, "<text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{name}</text>", LEFT - 8.0);
        let _ = match row.summary() {
            Ok((_, median, p99)) => writeln!(
                text,
                "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\
                 <line x1=\"{p:.1}\" y1=\"{:.1}\" x2=\"{p:.1}\" y2=\"{:.1}\" stroke=\"black\" stroke-width=\"2\"/>\
                 <text x=\"{:.1}\" y=\"{base:.1}\">{}</text>",
                y + 3.0,
                x(median) - LEFT,
                ROW - 6.0,
                color(name),
                y + 3.0,
                y + ROW - 3.0,
                x(median.max(p99)) + 6.0,
                benches::figures::number(median),
                p = x(p99),
            ),
            // The reason stands in the table; it may hold characters that mean something here.
            Err(_) => writeln!(text, "<text x=\"{:.1}\" y=\"{base:.1}\" fill=\"red\">failed</text>", LEFT + 6.0),
        };
    }
    text + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_logarithmic_and_bounded() {
        assert!((x(1_000.0) - (LEFT + WIDTH / 2.0)).abs() < 1e-9);
        assert!((x(0.0) - LEFT).abs() < 1e-9 && (x(1e9) - LEFT - WIDTH).abs() < 1e-9);
    }

    #[test]
    fn every_row_is_there() {
        let results = Results::new();
        let text = svg(&results);
        assert_eq!(text.matches(">failed<").count(), results.rows.len());
        assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
    }
}
