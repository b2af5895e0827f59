use super::*;
use jiff::civil::{DateTime, date};
use jiff::{Span, ZonedDateTime};
use proptest::prelude::*;

fn window(days: &[&str], from: &str, to: &str, zone: &str) -> Window {
    let days: Vec<String> = days.iter().map(|day| (*day).to_owned()).collect();
    Window::parse((!days.is_empty()).then_some(&days), from, to, zone).unwrap()
}

fn at(zone: &str, time: &str) -> Timestamp {
    let local: DateTime = time.parse().unwrap();
    stamp(
        &TimeZone::get(zone)
            .unwrap()
            .to_zoned_datetime(local)
            .unwrap(),
    )
}

fn utc(time: &str) -> Timestamp {
    at("UTC", time)
}

fn stamp(zoned: &ZonedDateTime) -> Timestamp {
    Timestamp::from_nanos(i64::try_from(zoned.timestamp().as_nanosecond()).unwrap())
}

#[test]
fn days_and_times() {
    // 2026-11-23 was a Monday.
    let lima = window(&["mon", "tue"], "03:00", "04:30", "America/Lima");
    for (time, inside) in [
        ("2026-11-23T03:00", true),
        ("2026-11-23T04:29:59.999", true),
        ("2026-11-23T04:30", false),
        ("2026-11-23T02:59:59", false),
        ("2026-11-24T04:00", true),
        ("2026-11-25T04:00", false),
        ("2026-11-22T04:00", false),
    ] {
        assert_eq!(lima.contains(at("America/Lima", time)), inside, "{time}");
    }
    assert!(
        lima.contains(utc("2026-11-23T08:00")),
        "Lima is five hours behind"
    );
    assert!(!lima.contains(utc("2026-11-23T03:30")));
}

#[test]
fn across_midnight_the_day_is_that_of_the_beginning() {
    let night = window(&["sun"], "23:30", "01:00", "UTC");
    for (time, inside) in [
        ("2026-11-22T23:29", false),
        ("2026-11-22T23:30", true),
        ("2026-11-23T00:59", true),
        ("2026-11-23T01:00", false),
        ("2026-11-23T23:45", false),
        ("2026-11-22T00:30", false),
    ] {
        assert_eq!(night.contains(utc(time)), inside, "{time}");
    }
    let day = window(&["sun"], "00:00", "24:00", "UTC");
    assert!(day.contains(utc("2026-11-22T23:59:59")) && day.contains(utc("2026-11-22T00:00")));
    assert!(!day.contains(utc("2026-11-23T00:00")));
    let evening = window(&[], "22:00", "00:00", "UTC");
    assert!(
        evening.contains(utc("2026-11-22T23:59")) && !evening.contains(utc("2026-11-23T00:00"))
    );
}

#[test]
fn a_clock_that_is_set() {
    // Berlin, 2026-03-29: 02:00 is followed by 03:00.
    let skipped = window(&[], "02:00", "03:00", "Europe/Berlin");
    for minute in 0..180 {
        let now = utc("2026-03-29T00:00").plus(std::time::Duration::from_secs(60 * minute));
        assert!(
            !skipped.contains(now),
            "an hour that is skipped has no window"
        );
    }
    let around = window(&[], "01:30", "03:30", "Europe/Berlin");
    assert!(around.contains(utc("2026-03-29T00:59")) && around.contains(utc("2026-03-29T01:29")));
    assert!(
        !around.contains(utc("2026-03-29T01:30")),
        "only an hour long on that day"
    );
    // 2026-10-25: 03:00 is followed by 02:00.
    let twice = window(&[], "02:15", "02:45", "Europe/Berlin");
    assert!(twice.contains(utc("2026-10-25T00:30")) && twice.contains(utc("2026-10-25T01:30")));
    assert!(!twice.contains(utc("2026-10-25T01:00")) && !twice.contains(utc("2026-10-25T02:30")));
    // Lord Howe moves by half an hour.
    let howe = window(&[], "01:40", "02:10", "Australia/Lord_Howe");
    let inside = (0..240).filter(|m| {
        howe.contains(utc("2026-04-04T13:00").plus(std::time::Duration::from_secs(60 * m)))
    });
    assert_eq!(
        inside.count(),
        50,
        "twenty minutes, and those before 02:00 again, and ten more"
    );
}

#[test]
fn what_cannot_be_a_window() {
    let parse = |days: Option<&[&str]>, from: &str, to: &str, zone: &str| {
        let days = days.map(|days| days.iter().map(|day| (*day).to_owned()).collect::<Vec<_>>());
        Window::parse(days.as_deref(), from, to, zone).map(|_| ())
    };
    for (days, from, to, zone, key) in [
        (None, "3:00", "04:00", "UTC", "from"),
        (None, "03:60", "04:00", "UTC", "from"),
        (None, "24:00", "04:00", "UTC", "from"),
        (None, "03:00:00", "04:00", "UTC", "from"),
        (None, "+3:00", "04:00", "UTC", "from"),
        (None, "03:00", "", "UTC", "to"),
        (None, "03:00", "25:00", "UTC", "to"),
        (None, "03:00", "03:00", "UTC", "to"),
        (Some(&[][..]), "03:00", "04:00", "UTC", "days"),
        (Some(&["monday"][..]), "03:00", "04:00", "UTC", "days"),
        (None, "03:00", "04:00", "Lima", "zone"),
        (None, "03:00", "04:00", "", "zone"),
        (None, "03:00", "04:00", "../UTC", "zone"),
    ] {
        assert_eq!(
            parse(days, from, to, zone).unwrap_err().0,
            key,
            "{days:?} {from} {to} {zone}"
        );
    }
    assert!(parse(Some(&["Mon"]), "00:00", "24:00", "Asia/Kathmandu").is_ok());
}

const ZONES: [&str; 8] = [
    "UTC",
    "America/Lima",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Santiago",
    "Africa/Casablanca",
];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn text(minutes: i64) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

proptest! {
    /// A window is the interval that begins at `from` on its days, whatever the zone;
    /// on days on which the clock is not set it has just the length that it says.
    #[test]
    fn a_window_is_an_interval(
        zone in 0..ZONES.len(), day in 0..7_usize, from in 0..1440_i64, to in 0..1440_i64,
        seconds in 1_000_000_000..2_500_000_000_i64,
    ) {
        prop_assume!(from != to);
        let zone = TimeZone::get(ZONES[zone]).unwrap();
        let name = zone.iana_name().unwrap().to_owned();
        let window = window(&[DAYS[day]], &text(from), &text(to), &name);
        let now = jiff::Timestamp::from_second(seconds).unwrap();
        let local = zone.to_datetime(now);
        let is_plain = |days: i64| {
            let date = local.date().checked_add(Span::new().days(days)).unwrap();
            let midnight = |date: jiff::civil::Date| date.to_zoned_datetime(zone.clone()).unwrap().timestamp();
            midnight(date.tomorrow().unwrap()).duration_since(midnight(date)).as_secs() == 86_400
        };
        prop_assume!((-1..=1).all(is_plain));
        let expected = (-1..=0).any(|back| {
            let date = local.date().checked_add(Span::new().days(back)).unwrap();
            let begins = date.weekday().to_monday_zero_offset() as usize == day;
            let start = date.to_zoned_datetime(zone.clone()).unwrap().timestamp().as_second() + from * 60;
            let end = start + ((to - from).rem_euclid(1440)) * 60;
            begins && (start..end).contains(&seconds)
        });
        prop_assert_eq!(window.contains(Timestamp::from_secs(seconds)), expected);
    }

    /// Also where the clock is set: inside is what the clock on the wall says.
    #[test]
    fn the_clock_on_the_wall_decides(
        zone in 0..ZONES.len(), from in 0..1440_i64, to in 0..1440_i64,
        seconds in 1_000_000_000..2_500_000_000_i64,
    ) {
        prop_assume!(from != to);
        let window = window(&[], &text(from), &text(to), ZONES[zone]);
        let now = jiff::Timestamp::from_second(seconds).unwrap();
        let wall = now.to_zoned_datetime(TimeZone::get(ZONES[zone]).unwrap());
        let minute = i64::from(wall.hour()) * 60 + i64::from(wall.minute());
        let inside = (minute - from).rem_euclid(1440) < (to - from).rem_euclid(1440);
        prop_assert_eq!(window.contains(Timestamp::from_secs(seconds)), inside);
    }

    /// No point in time makes it fail.
    #[test]
    fn any_time(nanos in any::<i64>()) {
        let window = window(&[], "00:00", "24:00", "Europe/Berlin");
        prop_assert!(window.contains(Timestamp::from_nanos(nanos)));
    }
}

#[test]
fn windows_of_a_service() {
    assert!(Windows::default().is_empty() && !Windows::default().contains(utc("2026-11-23T03:00")));
    let two = Windows::new(vec![
        window(&["mon"], "03:00", "04:00", "UTC"),
        window(&["tue"], "05:00", "06:00", "UTC"),
    ]);
    assert!(two.contains(utc("2026-11-23T03:30")) && two.contains(utc("2026-11-24T05:30")));
    assert!(!two.contains(utc("2026-11-23T05:30")) && !two.is_empty());
    assert_eq!(date(2026, 11, 23).weekday(), Weekday::Monday);
}
