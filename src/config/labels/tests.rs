use super::*;
use crate::{exporter, remediator};
use exporter_toolkit::process_metrics;

struct Host;

impl Placeholders for Host {
    fn hostname(&self) -> String {
        "bot-1".into()
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "TEAM").then(|| "red".into())
    }
}

fn labels(pairs: &[(&str, &str)]) -> Result<CustomLabels, String> {
    let pairs = pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    CustomLabels::new(pairs.collect())
}

#[test]
fn placeholders_are_filled_in() {
    let mut all = labels(&[("team", "${TEAM}"), ("host", "{hostname}.lan"), ("a", "b")]).unwrap();
    all.resolve(&Host).unwrap();
    let pairs: Vec<(&str, &str)> = all
        .pairs()
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(pairs, [("a", "b"), ("host", "bot-1.lan"), ("team", "red")]);
    let error = labels(&[("team", "${NOBODY}")])
        .unwrap()
        .resolve(&Host)
        .unwrap_err();
    assert!(error.starts_with("labels.team: "), "{error}");
    assert!(labels(&[("team", "{session}")]).is_err());
}

#[test]
fn names_of_the_programs_and_of_prometheus_are_refused() {
    let declared = [
        exporter::metrics::ALL,
        remediator::metrics::ALL,
        process_metrics::ALL,
    ];
    for name in declared
        .iter()
        .flat_map(|all| all.iter())
        .flat_map(|metric| metric.labels)
    {
        assert!(labels(&[(name, "x")]).is_err(), "{name}");
    }
    for name in [
        "instance", "__name__", "", "1a", "a-b", "ladder", "override",
    ] {
        assert!(labels(&[(name, "x")]).is_err(), "{name}");
    }
}
