use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    collectors: CollectorFlags,
}

fn groups(section: &[(&str, bool)], flags: &[&str]) -> MetricGroups {
    let section = section.iter().map(|(name, on)| ((*name).to_owned(), *on));
    let mut groups = MetricGroups::build(section.collect()).unwrap();
    let args = [&["program"], flags].concat();
    groups.apply(&Cli::try_parse_from(args).ok().unwrap().collectors);
    groups
}

#[test]
fn a_flag_wins_over_the_file_and_the_last_flag_over_the_others() {
    use MetricGroup::{Files, Logs, Size};
    let shown = |section: &[(&str, bool)], flags: &[&str]| {
        let groups = groups(section, flags);
        [Files, Logs, Size].map(|group| groups.has(group))
    };
    assert_eq!(shown(&[], &[]), [true, true, false]);
    assert_eq!(
        shown(&[("logs", false), ("size", true)], &[]),
        [true, false, true]
    );
    assert_eq!(
        shown(&[("logs", false)], &["--collector.logs"]),
        [true, true, false]
    );
    assert_eq!(
        shown(
            &[],
            &[
                "--collector.size",
                "--no-collector.size",
                "--no-collector.files"
            ]
        ),
        [false, true, false]
    );
    assert_eq!(
        shown(
            &[],
            &[
                "--no-collector.size",
                "--collector.size",
                "--collector.size"
            ]
        ),
        [true, true, true]
    );
}

#[test]
fn an_unknown_collector_is_refused_with_the_names_of_all() {
    let error = MetricGroups::build([("sizes".to_owned(), true)].into()).unwrap_err();
    assert!(error.starts_with("collectors.sizes: "), "{error}");
    for group in MetricGroup::ALL {
        assert!(error.contains(group.name()), "{error}");
    }
}

#[test]
fn the_names_are_sorted() {
    assert!(
        MetricGroup::ALL
            .iter()
            .map(|group| group.name())
            .is_sorted()
    );
}
