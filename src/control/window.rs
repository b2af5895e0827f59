//! Maintenance windows: when a healthy bot may be stopped.
//!
//! The clock on the wall of the window's time zone decides, so an hour that a change of
//! the clock skips has no window, and an hour that comes twice has it twice. The days are
//! those on which the window begins; one whose end is not after its beginning ends on the
//! next day.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use crate::folder::Timestamp;

/// One window.
#[derive(Clone, Debug)]
pub struct Window {
    /// The days on which it begins.
    days: Vec<Weekday>,
    from: Time,
    /// `None` is the end of the day, 24:00.
    to: Option<Time>,
    zone: TimeZone,
}

impl Window {
    /// From what stands in the configuration: `mon` to `sun` (none is every day), `HH:MM`
    /// (`to` may be `24:00`) and a name such as `America/Lima`.
    ///
    /// Errors: the key, and a sentence that says what it should be.
    pub fn parse(
        days: Option<&[String]>,
        from: &str,
        to: &str,
        zone: &str,
    ) -> Result<Self, (&'static str, String)> {
        const ALL: [Weekday; 7] = [
            Weekday::Monday,
            Weekday::Tuesday,
            Weekday::Wednesday,
            Weekday::Thursday,
            Weekday::Friday,
            Weekday::Saturday,
            Weekday::Sunday,
        ];
        const SHORT: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let days = match days {
            None => ALL.to_vec(),
            Some([]) => return Err(("days", "names no day; leave it out for every day".into())),
            Some(names) => names
                .iter()
                .map(|name| {
                    let at = SHORT
                        .iter()
                        .position(|short| name.eq_ignore_ascii_case(short));
                    at.map(|at| ALL[at]).ok_or_else(|| {
                        (
                            "days",
                            format!("{name:?} is not a day; use one of {}", SHORT.join(", ")),
                        )
                    })
                })
                .collect::<Result<_, _>>()?,
        };
        let (start, end) = (
            time("from", from)?,
            if to == "24:00" {
                None
            } else {
                Some(time("to", to)?)
            },
        );
        if end == Some(start) {
            return Err((
                "to",
                "is the same as from; for the whole day write from: \"00:00\", to: \"24:00\""
                    .into(),
            ));
        }
        let zone = TimeZone::get(zone).map_err(|_| {
            (
                "zone",
                format!("{zone:?} is no time zone; give its name, such as America/Lima or UTC"),
            )
        })?;
        Ok(Self {
            days,
            from: start,
            to: end,
            zone,
        })
    }

    /// Whether `now` is inside.
    pub fn contains(&self, now: Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_nanosecond(i128::from(now.nanos())) else {
            return false;
        };
        let local = self.zone.to_datetime(instant);
        let (time, day) = (local.time(), local.date().weekday());
        match self.to {
            Some(to) if to < self.from => {
                (time >= self.from && self.days.contains(&day))
                    || (time < to && self.days.contains(&day.previous()))
            }
            to => time >= self.from && to.is_none_or(|to| time < to) && self.days.contains(&day),
        }
    }
}

/// `HH:MM`, nothing else.
fn time(key: &'static str, text: &str) -> Result<Time, (&'static str, String)> {
    let bad = || {
        (
            key,
            format!("{text:?} is no time of day; write HH:MM in quotes, such as \"03:00\""),
        )
    };
    let two = |text: &str| match text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<i8>().ok(),
        false => None,
    };
    let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
    let (hour, minute) = two(hour).zip(two(minute)).ok_or_else(bad)?;
    Time::new(hour, minute, 0, 0).map_err(|_| bad())
}

/// The windows of a service. None: it is never stopped while it is healthy.
#[derive(Clone, Debug, Default)]
pub struct Windows(Vec<Window>);

impl Windows {
    /// These windows.
    pub fn new(windows: Vec<Window>) -> Self {
        Self(windows)
    }

    /// Whether `now` is inside one of them.
    pub fn contains(&self, now: Timestamp) -> bool {
        self.0.iter().any(|window| window.contains(now))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests;
