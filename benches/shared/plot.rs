//! Growth plots: both axes logarithmic, so that linear growth is a line of slope 1.

use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

/// What was measured at several sizes.
pub struct Line {
    pub name: String,
    /// Size and cost; both above zero.
    pub points: Vec<(f64, f64)>,
}

/// Colours that people with a colour vision deficiency tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];

fn range(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(0.0, f64::max);
    10f64.powf(least.log10().floor())..10f64.powf(most.log10().ceil())
}

/// Writes docs/plots/`file`.
pub fn growth(file: &str, title: &str, x: &str, y: &str, lines: &[Line]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plots");
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join(file);
    let area = SVGBackend::new(&path, (720, 420)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let points = lines.iter().flat_map(|line| &line.points);
    let (xs, ys) = (
        range(points.clone().map(|point| point.0)),
        range(points.map(|point| point.1)),
    );
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .margin_right(32)
        .caption(title, ("sans-serif", 18))
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(xs.log_scale(), ys.log_scale())
        .unwrap();
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&|x| format!("{x}"))
        .y_label_formatter(&|y| format!("{y}"))
        .light_line_style(WHITE)
        .draw()
        .unwrap();
    for (line, colour) in lines.iter().zip(COLOURS) {
        let points = || line.points.iter().copied();
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))
            .unwrap()
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart
            .draw_series(points().map(|point| Circle::new(point, 4, colour.filled())))
            .unwrap();
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .draw()
        .unwrap();
    area.present().unwrap();
}
