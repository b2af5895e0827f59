use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn reading(session: &str, accumulated: Option<usize>) -> Reading {
    Reading {
        session: session.into(),
        accumulated,
        thresholds: Thresholds::default(),
    }
}

/// The tiers of `bot` that fire after these readings, one every 15 seconds.
fn firing(counts: &[Option<usize>]) -> Vec<Vec<Tier>> {
    let mut ladder = Ladder::default();
    let steps = counts.iter().enumerate().map(|(nth, count)| {
        let now = SECOND * 15 * u32::try_from(nth).unwrap();
        let standings = ladder.evaluate(now, &[reading("bot", *count)]);
        let of_bot = standings.first().map(|standing| &standing.firing);
        of_bot.map_or_else(Vec::new, |firing| firing.keys().copied().collect())
    });
    steps.collect()
}

fn repeat(count: Option<usize>, times: usize) -> Vec<Option<usize>> {
    vec![count; times]
}

#[test]
fn a_tier_fires_when_it_was_held_for_two_minutes() {
    let seen = firing(&repeat(Some(151), 9));
    assert!(seen[..8].iter().all(Vec::is_empty), "{seen:?}");
    assert_eq!(seen[8], [Tier::Monitor, Tier::Warning, Tier::Cleanup]);
    // The threshold itself is in.
    assert_eq!(
        firing(&repeat(Some(150), 9))[8].last(),
        Some(&Tier::Cleanup)
    );
    assert_eq!(
        firing(&repeat(Some(149), 9))[8].last(),
        Some(&Tier::Warning)
    );
}

#[test]
fn fatal_is_held_for_a_quarter_of_an_hour() {
    let seen = firing(&repeat(Some(387), 61));
    assert_eq!(seen[8].last(), Some(&Tier::Emergency));
    assert_eq!(seen[59].last(), Some(&Tier::Emergency));
    assert_eq!(seen[60].last(), Some(&Tier::Fatal));
}

#[test]
fn a_reading_below_ends_it_at_once_and_the_time_begins_again() {
    let mut counts = repeat(Some(160), 8);
    counts.push(Some(149));
    counts.extend(repeat(Some(160), 9));
    let seen = firing(&counts);
    assert!(
        seen[..17]
            .iter()
            .all(|tiers| !tiers.contains(&Tier::Cleanup))
    );
    assert!(seen[17].contains(&Tier::Cleanup), "{seen:?}");
    // Each tier counts by itself.
    assert!(seen[8].contains(&Tier::Monitor));
}

#[test]
fn a_folder_that_cannot_be_read_stays_where_it_was_for_five_minutes() {
    let mut counts = repeat(Some(160), 5);
    counts.extend(repeat(None, 20));
    counts.push(Some(160));
    let seen = firing(&counts);
    // It was read last at 1:00.
    assert!(seen[8].contains(&Tier::Cleanup), "held over the gap");
    assert!(seen[24].contains(&Tier::Cleanup), "{seen:?}");
    assert!(seen[25].contains(&Tier::Cleanup), "no break");

    let mut counts = repeat(Some(160), 9);
    counts.extend(repeat(None, 21));
    counts.extend(repeat(Some(160), 9));
    let seen = firing(&counts);
    assert!(seen[28].contains(&Tier::Cleanup));
    assert!(seen[29].is_empty(), "not known any more");
    assert!(seen[30..38].iter().all(Vec::is_empty), "{seen:?}");
    assert!(seen[38].contains(&Tier::Cleanup));
}

/// No evaluation took place in between, as where a file system hung.
#[test]
fn a_long_pause_of_the_evaluations_is_a_break() {
    let mut ladder = Ladder::default();
    let bot = [reading("bot", Some(160))];
    ladder.evaluate(Duration::ZERO, &bot);
    let seen = ladder.evaluate(SECOND * 300, &bot);
    assert!(seen[0].firing.contains_key(&Tier::Cleanup));
    let seen = ladder.evaluate(SECOND * 616, &bot);
    assert!(seen[0].firing.is_empty(), "{seen:?}");
}

#[test]
fn sessions_do_not_touch_each_other_and_a_vanished_one_is_forgotten() {
    let mut ladder = Ladder::default();
    let both = [reading("a", Some(160)), reading("b", Some(90))];
    for step in 0..9 {
        ladder.evaluate(SECOND * 15 * step, &both);
    }
    let seen = ladder.evaluate(SECOND * 135, &both[1..]);
    assert_eq!(seen.len(), 2);
    assert!(!seen[0].is_read && seen[1].is_read);
    assert_eq!(seen[0].firing[&Tier::Cleanup], SECOND * 15);
    assert!(seen[1].firing.is_empty());
    let seen = ladder.evaluate(SECOND * 421, &both[1..]);
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn other_thresholds_count_from_the_next_reading() {
    let mut ladder = Ladder::default();
    ladder.evaluate(Duration::ZERO, &[reading("bot", Some(160))]);
    let raised = Reading {
        thresholds: Thresholds {
            cleanup: 170,
            ..Thresholds::default()
        },
        ..reading("bot", Some(160))
    };
    let seen = ladder.evaluate(SECOND * 120, &[raised]);
    let tiers: Vec<Tier> = seen[0].firing.keys().copied().collect();
    assert_eq!(tiers, [Tier::Monitor, Tier::Warning]);
}
