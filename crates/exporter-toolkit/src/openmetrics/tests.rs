use super::*;
use crate::exposition;
use crate::metric_families::{MetricDeclaration, MetricFamilies};
use proptest::prelude::*;

fn openmetrics(families: MetricFamilies<'_>) -> String {
    let bytes = exposition::encode(families, exposition::Format::OpenMetrics, false).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn golden() {
    const RUNS: MetricDeclaration =
        MetricDeclaration::counter("app_runs_total", &["action"], "Runs.");
    const CPU: MetricDeclaration =
        MetricDeclaration::counter("app_cpu_seconds_total", &[], "Time.");
    const INFO: MetricDeclaration =
        MetricDeclaration::gauge("app_build_info", &["version", "os"], "Build.");
    const SIZE: MetricDeclaration = MetricDeclaration::gauge(
        "app_size_bytes",
        &[],
        "Size with \"quotes\",\na line and \\.",
    );
    const UP: MetricDeclaration = MetricDeclaration::gauge("app_up", &[], "Up.");
    let mut families = MetricFamilies::default();
    families.add(&RUNS, |out| {
        out.add(&["plan"], 3.0);
        out.add(&["a\\b\"c\nd"], 1.0);
    });
    families.add_value(&CPU, 0.00001);
    families.add(&INFO, |out| out.add(&["1.0", "linux"], 1.0));
    families.add_value(&SIZE, 1_763_930_123.5);
    families.add_value(&UP, -1.0);
    assert_eq!(
        openmetrics(families),
        r#"# TYPE app_build info
# HELP app_build Build.
app_build_info{version="1.0",os="linux"} 1.0
# TYPE app_cpu_seconds counter
# UNIT app_cpu_seconds seconds
# HELP app_cpu_seconds Time.
app_cpu_seconds_total 1e-5
# TYPE app_runs counter
# HELP app_runs Runs.
app_runs_total{action="plan"} 3.0
app_runs_total{action="a\\b\"c\nd"} 1.0
# TYPE app_size_bytes gauge
# UNIT app_size_bytes bytes
# HELP app_size_bytes Size with \"quotes\",\na line and \\.
app_size_bytes 1763930123.5
# TYPE app_up gauge
# HELP app_up Up.
app_up -1.0
# EOF
"#
    );
    assert_eq!(openmetrics(MetricFamilies::default()), END);
}

const VALUE: MetricDeclaration = MetricDeclaration::gauge("app_value", &[], "A value.");

fn written(value: f64) -> String {
    let mut families = MetricFamilies::default();
    families.add_value(&VALUE, value);
    let text = openmetrics(families);
    let sample = text.lines().find(|line| line.starts_with("app_value "));
    sample.unwrap()["app_value ".len()..].to_owned()
}

#[test]
fn a_value_is_written_with_no_more_digits_than_it_needs() {
    for (value, text) in [
        (0.0, "0.0"),
        (-7.0, "-7.0"),
        (0.1, "0.1"),
        (999_999_999_999_999.0, "999999999999999.0"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e16"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(written(value), text);
    }
}

proptest! {
    #[test]
    fn a_value_that_is_written_can_be_read(value in prop_oneof![any::<f64>(), any::<i32>().prop_map(f64::from)]) {
        prop_assume!(!value.is_nan());
        let read: f64 = written(value).parse().unwrap();
        prop_assert_eq!(read, value);
    }

    #[test]
    fn escapes_can_be_undone(value in any::<String>()) {
        let mut text = String::new();
        escape(&mut text, &value);
        prop_assert!(!text.contains('\n'));
        let mut back = String::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            prop_assert_ne!(char, '"');
            back.push(match char {
                '\\' => match chars.next() {
                    Some('n') => '\n',
                    Some(char) => char,
                    None => return Err(TestCaseError::fail("a lone backslash")),
                },
                char => char,
            });
        }
        prop_assert_eq!(back, value);
    }
}
