use super::super::judge;
use super::*;

const MS: Duration = Duration::from_millis(1);

fn list(pid: u32, env: &str) -> Vec<Pm2Process> {
    let entry = format!(r#"[{{"name":"bot","pm_id":1,"pid":{pid},"pm2_env":{{{env}}}}}]"#);
    serde_json::from_str(&entry).unwrap()
}

/// Looks at these lists at these times; whether it has ended by the last one, and whether a
/// further look is needed.
fn looks(lists: Vec<(u32, Vec<Pm2Process>)>) -> (bool, bool) {
    let began = Instant::now();
    let mut before = Vec::new();
    for (at, mut list) in lists {
        let asked = began + MS * at;
        Pm2Process::find_given_up(&mut list, &before, asked, asked + MS * 50);
        before = list;
    }
    let entries: Vec<&Pm2Process> = before.iter().collect();
    let has_ended = judge(&entries).unwrap().is_none();
    assert_eq!(has_ended, before[0].has_ended());
    (has_ended, before[0].unclear_for().is_some())
}

const WAITS: &str = r#""status":"waiting restart","pm_uptime":1000"#;

/// As pm2 6.0.13 shows it after `max_restarts` with a `restart_delay`.
#[test]
fn what_waits_for_nothing_at_two_looks_has_ended() {
    let waits = || list(0, WAITS);
    assert_eq!(looks(vec![(0, waits())]), (false, true));
    assert_eq!(looks(vec![(0, waits()), (560, waits())]), (true, false));
    // However often it is looked at, the first look counts.
    let often = (0..6).map(|n| (n * 100, waits())).collect();
    assert_eq!(looks(often), (false, true));
    let often = (0..7).map(|n| (n * 100, waits())).collect();
    assert_eq!(looks(often), (true, false));
}

#[test]
fn what_pm2_stops_or_starts_in_between_has_not_ended() {
    let waits = || list(0, WAITS);
    // It waits, and names the process that has ended.
    let pending = || list(77, WAITS);
    assert_eq!(
        looks(vec![(0, pending()), (900, pending())]),
        (false, false)
    );
    assert_eq!(looks(vec![(0, pending()), (900, waits())]), (false, true));
    // `pm2 restart`.
    let started = || list(78, r#""status":"online","pm_uptime":2000"#);
    assert_eq!(looks(vec![(0, waits()), (560, started())]), (false, false));
    let again = || list(0, r#""status":"waiting restart","pm_uptime":2000"#);
    assert_eq!(looks(vec![(0, waits()), (560, again())]), (false, true));
    // `pm2 stop`.
    let stopped = || list(0, r#""status":"stopped","pm_uptime":1000"#);
    assert_eq!(looks(vec![(0, waits()), (560, stopped())]), (true, false));
}

#[test]
fn the_second_look_comes_after_the_next_check_of_pm2() {
    let waits = || list(0, &format!(r#"{WAITS},"kill_retry_time":2000"#));
    assert_eq!(waits()[0].unclear_for(), Some(MS * 4300));
    assert_eq!(looks(vec![(0, waits()), (4300, waits())]), (false, true));
    assert_eq!(looks(vec![(0, waits()), (4360, waits())]), (true, false));
}

/// As pm2 6.0.13 shows it where it cannot spawn: with an interpreter that is gone, for example.
#[test]
fn what_pm2_calls_started_without_a_process_has_ended_at_the_second_look() {
    for status in ["online", "launching"] {
        let without = || list(0, &format!(r#""status":"{status}","pm_uptime":1000"#));
        assert_eq!(looks(vec![(0, without())]), (false, true), "{status}");
        let early = vec![(0, without()), (900, without())];
        assert_eq!(looks(early), (false, true), "{status}");
        let late = vec![(0, without()), (1060, without())];
        assert_eq!(looks(late), (true, false), "{status}");
        // It has a process by then, or pm2 has tried once more.
        let started = list(78, &format!(r#""status":"{status}","pm_uptime":1000"#));
        assert_eq!(looks(vec![(0, without()), (1060, started)]), (false, false));
        let again = list(0, &format!(r#""status":"{status}","pm_uptime":2000"#));
        assert_eq!(looks(vec![(0, without()), (1060, again)]), (false, true));
        // What it waited before counts for nothing.
        let waited = vec![(0, list(0, WAITS)), (1060, without())];
        assert_eq!(looks(waited), (false, true), "{status}");
    }
}

/// One of a name that has no process does not make another one that runs unsettled.
#[test]
fn what_has_ended_beside_what_runs() {
    let mut ended = list(0, r#""status":"launching""#);
    ended[0].is_given_up = true;
    let runs = list(7, r#""status":"online""#);
    let seen = judge(&[&ended[0], &runs[0]]).unwrap();
    assert!(matches!(seen, Some(crate::Observation::Running { pids, .. }) if pids == [7]));
}
