//! The scenarios: what the exporter and the remediator would show. What goes wrong begins after
//! an hour.

use std::collections::BTreeMap;

/// A value at a minute; `None` where there is none.
type Values = Box<dyn Fn(i64) -> Option<i64>>;

/// Series by selector.
pub type Series = BTreeMap<String, Values>;

/// What is watched.
pub struct Scenario {
    /// Its number in the table; the host is called after it.
    pub number: u32,
    pub title: &'static str,
    pub series: Series,
}

fn scenario(number: u32, title: &'static str, series: Series) -> Scenario {
    Scenario {
        number,
        title,
        series,
    }
}

/// Scenarios that are evaluated together.
pub struct Evaluation {
    pub step_minutes: i64,
    pub hours: i64,
    pub scenarios: Vec<Scenario>,
}

const TIERS: [(&str, i64); 5] = [
    ("monitor", 100),
    ("warning", 120),
    ("cleanup", 150),
    ("emergency", 180),
    ("fatal", 200),
];

const BEGIN: i64 = 60;

/// The value of a further series at a time; `None` where there is no sample.
type ValueAt = fn(i64, i64) -> Option<i64>;

/// A session and its host.
struct Bot {
    host: String,
    session: String,
    files: fn(i64, i64) -> i64,
    index: i64,
    /// `c`onnected, `d`isconnected; `None` where nothing tells.
    state: Option<fn(i64, i64) -> char>,
    is_up: fn(i64) -> bool,
    is_there: fn(i64) -> bool,
    is_paired: fn(i64) -> bool,
    has_creds: fn(i64, i64) -> bool,
    removable: i64,
    more: Vec<(&'static str, ValueAt)>,
}

impl Bot {
    fn of(number: u32, files: fn(i64, i64) -> i64) -> Self {
        Self {
            host: format!("s{number}"),
            session: "one".to_owned(),
            files,
            index: 0,
            state: Some(|_, _| 'c'),
            is_up: |_| true,
            is_there: |_| true,
            is_paired: |_| true,
            has_creds: |_, _| true,
            removable: 30,
            more: Vec::new(),
        }
    }

    /// `X` in a selector of `more` stands for the labels of the session, `R` for those of the
    /// remediator.
    fn add_to(self, series: &mut Series) {
        let Self {
            host,
            session,
            files,
            index,
            state,
            is_up,
            is_there,
            is_paired,
            has_creds,
            removable,
            more,
        } = self;
        let exporter = format!("job=\"baileys\", instance=\"{host}:10273\"");
        let of_session = format!("{exporter}, session=\"{session}\"");
        let remediator = format!("job=\"baileys_remediator\", instance=\"{host}:10274\"");
        for labels in [&exporter, &remediator] {
            let up: Values = Box::new(move |at| Some(i64::from(is_up(at))));
            series.insert(format!("up{{{labels}}}"), up);
        }
        let mut add = |name: &str, labels: &str, value: Values| {
            let shown: Values = Box::new(move |at| {
                let is_shown = is_up(at) && is_there(at);
                is_shown.then(|| value(at)).flatten()
            });
            series.insert(
                format!("baileys_auth_{name}{{{of_session}{labels}}}"),
                shown,
            );
        };
        let always = |value: i64| -> Values { Box::new(move |_| Some(value)) };
        add(
            "accumulated_files",
            "",
            Box::new(move |at| Some(files(at, index))),
        );
        for (tier, threshold) in TIERS {
            let label = format!(", tier=\"{tier}\"");
            add("tier_threshold_files", &label, always(threshold));
        }
        for action in ["cleanup", "emergency"] {
            let labels = format!(", kind=\"pre-key\", action=\"{action}\"");
            add("removable_files", &labels, always(removable));
        }
        add("folder_up", "", always(1));
        let creds: Values = Box::new(move |at| Some(i64::from(has_creds(at, index))));
        add("creds_valid", "", creds);
        add("newest_file_age_seconds", "", always(60));
        add("oldest_file_age_seconds", "", always(864_000));
        add(
            "logged_in",
            "",
            Box::new(move |at| Some(i64::from(is_paired(at)))),
        );
        if let Some(state) = state {
            for (letter, name) in [('c', "connected"), ('d', "disconnected"), ('u', "unknown")] {
                let label = format!(", state=\"{name}\"");
                let value: Values = Box::new(move |at| Some(i64::from(state(at, index) == letter)));
                add("connection_state", &label, value);
            }
        }
        let mut others = Vec::new();
        for (selector, value) in more {
            let value: Values = Box::new(move |at| value(at, index));
            match selector.strip_prefix("baileys_auth_") {
                Some(rest) if rest.contains("{X") => {
                    let (name, labels) = rest.split_once("{X").unwrap();
                    add(name, labels.strip_suffix('}').unwrap(), value);
                }
                _ => {
                    let selector = selector.replace("{R", &format!("{{{remediator}"));
                    let selector = selector.replace("{E", &format!("{{{exporter}"));
                    others.push((selector, value));
                }
            }
        }
        series.extend(others);
    }

    fn alone(self) -> Series {
        let mut series = Series::new();
        self.add_to(&mut series);
        series
    }
}

fn many(count: i64, bot: impl Fn(i64) -> Bot) -> Series {
    let mut series = Series::new();
    for index in 0..count {
        let bot = Bot {
            session: format!("b{index}"),
            index,
            ..bot(index)
        };
        bot.add_to(&mut series);
    }
    series
}

fn since_begin(at: i64) -> i64 {
    (at - BEGIN).max(0)
}

fn connected_but(from: i64, to: i64, at: i64) -> char {
    if (from..to).contains(&at) { 'd' } else { 'c' }
}

/// Whether the minute is in every second third of an hour.
fn swings(at: i64) -> bool {
    at > BEGIN && at / 20 % 2 == 1
}

const REMOVED: &str = "baileys_auth_signal_warnings_total{X, pattern=\"device_removed\"}";
const REMOVAL_REPORTS: &str = "baileys_auth_signal_reports_total{X, pattern=\"device_removed\"}";
const REMOVED_AT: &str = "baileys_auth_last_removal_timestamp_seconds{X}";
const REPLACED: &str = "baileys_auth_signal_warnings_total{X, pattern=\"connection_replaced\"}";
const REPLACEMENTS: &str = "baileys_auth_signal_reports_total{X, pattern=\"connection_replaced\"}";
const ON_REQUEST: &str = "baileys_auth_stopped_on_request{X}";

/// One line every 3 minutes, for 2 hours.
fn replacements(at: i64, _: i64) -> Option<i64> {
    Some(since_begin(at).min(120) / 3)
}

/// One line every 25 minutes, for 12 hours.
fn removals(at: i64, _: i64) -> Option<i64> {
    Some(if at < BEGIN {
        0
    } else {
        (since_begin(at) / 25 + 1).min(29)
    })
}

/// Everything that is over within hours.
pub fn hours() -> Evaluation {
    let scenarios = vec![
        scenario(
            2,
            "a jump from 90 to 387 in 3 hours; the remediator may not stop the bot",
            Bot {
                removable: 0,
                ..Bot::of(2, |at, _| 387.min(90 + since_begin(at) * 165 / 100))
            }
            .alone(),
        ),
        scenario(
            3,
            "a jump from 90 to 185; the remediator stops the bot and cleans",
            Bot {
                state: Some(|at, _| connected_but(121, 126, at)),
                more: vec![
                    ("baileys_remediator_services_down{R}", |at, _| {
                        Some(i64::from((121..126).contains(&at)))
                    }),
                    ("baileys_remediator_paused{R}", |_, _| Some(0)),
                ],
                ..Bot::of(3, |at, _| match at {
                    ..118 => 90 + since_begin(at) * 165 / 100,
                    118..124 => 185,
                    _ => 95,
                })
            }
            .alone(),
        ),
        scenario(
            5,
            "the connection flaps every 7 minutes with 503s",
            Bot {
                state: Some(|at, _| {
                    if at > BEGIN && at / 7 % 2 == 1 {
                        'd'
                    } else {
                        'c'
                    }
                }),
                more: vec![(
                    "baileys_auth_signal_warnings_total{X, pattern=\"stream_error_503\"}",
                    |at, _| Some(since_begin(at) / 7),
                )],
                ..Bot::of(5, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            6,
            "a reboot of the host, 6 minutes",
            Bot {
                is_up: |at| !(60..66).contains(&at),
                state: Some(|at, _| connected_but(66, 68, at)),
                ..Bot::of(6, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            7,
            "one missed scrape",
            Bot {
                is_up: |at| at != 200,
                ..Bot::of(7, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            9,
            "a folder that grows by 7 an hour; a clean-up that works",
            Bot {
                state: Some(|at, _| connected_but(415, 421, at)),
                ..Bot::of(9, |at, _| if at < 420 { 100 + at / 8 } else { 110 })
            }
            .alone(),
        ),
        scenario(
            11,
            "device_removed once; the bot stays out",
            Bot {
                state: Some(|at, _| connected_but(60, i64::MAX, at)),
                more: vec![
                    (REMOVED, |at, _| Some(i64::from(at >= BEGIN))),
                    (REMOVAL_REPORTS, |at, _| Some(i64::from(at >= BEGIN))),
                    (REMOVED_AT, |at, _| (at >= BEGIN).then_some(3600)),
                ],
                ..Bot::of(11, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            15,
            "the root of 10 bots is unmounted for 40 minutes",
            many(10, |_| Bot {
                is_there: |at| !(60..100).contains(&at),
                more: vec![(
                    "baileys_exporter_sessions_skipped{E, reason=\"source_unreadable\"}",
                    |at, _| Some(i64::from((60..100).contains(&at))),
                )],
                ..Bot::of(15, |_, _| 90)
            }),
        ),
        scenario(
            16,
            "a bot is retired on purpose: stopped, then its folder is moved away",
            Bot {
                state: Some(|at, _| connected_but(60, i64::MAX, at)),
                is_there: |at| at < 65,
                more: vec![(ON_REQUEST, |at, _| Some(i64::from(at >= BEGIN)))],
                ..Bot::of(16, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            17,
            "two processes of one identity replace each other for 2 hours",
            Bot {
                more: vec![(REPLACED, replacements), (REPLACEMENTS, replacements)],
                ..Bot::of(17, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            22,
            "a bot is down for 3 hours, without logs",
            Bot {
                state: Some(|at, _| connected_but(60, 240, at)),
                ..Bot::of(22, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            23,
            "a reboot of the host, 14 minutes",
            Bot {
                is_up: |at| !(60..74).contains(&at),
                state: Some(|at, _| connected_but(74, 76, at)),
                ..Bot::of(23, |_, _| 90)
            }
            .alone(),
        ),
    ];
    let removed_again = scenario(
        31,
        "device_removed, paired again, and removed again within an hour",
        Bot {
            state: Some(|at, _| match at {
                60..75 | 100.. => 'd',
                _ => 'c',
            }),
            more: vec![
                (REMOVED, removed_twice),
                (REMOVAL_REPORTS, removed_twice),
                (REMOVED_AT, |at, _| match at {
                    ..60 => None,
                    60..100 => Some(3600),
                    _ => Some(6000),
                }),
            ],
            ..Bot::of(31, |_, _| 90)
        }
        .alone(),
    );
    let scenarios = scenarios.into_iter().chain([removed_again]).collect();
    Evaluation {
        step_minutes: 1,
        hours: 9,
        scenarios,
    }
}

/// Crosses 120 within an hour, each session 2 minutes after the one before.
fn crosses(at: i64, index: i64) -> i64 {
    90 + ((at - BEGIN - 2 * index) * 35 / 60).clamp(0, 35)
}

/// Crosses 180 within an hour, each session 2 minutes after the one before, up to 190.
fn crosses_180(at: i64, index: i64) -> i64 {
    90 + ((at - BEGIN - 2 * index) * 105 / 60).clamp(0, 100)
}

/// Removed at the 60th minute, paired again at the 75th, and removed again at the 100th.
fn removed_twice(at: i64, _: i64) -> Option<i64> {
    Some(i64::from(at >= BEGIN) + i64::from(at >= 100))
}

/// 40 exporters and remediators, without their bots.
fn site() -> Series {
    let mut series = Series::new();
    for host in 0..40 {
        for (job, port) in [("baileys", 10273), ("baileys_remediator", 10274)] {
            let up: Values = Box::new(|at| Some(i64::from(!(60..1260).contains(&at))));
            let labels = format!("job=\"{job}\", instance=\"s27-{host}:{port}\"");
            series.insert(format!("up{{{labels}}}"), up);
        }
    }
    series
}

/// What goes on for a day and longer, over its first day.
pub fn days() -> Evaluation {
    let scenarios = vec![
        scenario(
            1,
            "a slow grower, 7 files a day",
            Bot::of(1, |at, _| 148 + at * 7 / 1440).alone(),
        ),
        scenario(
            4,
            "the count swings around 150 every 20 minutes",
            Bot::of(4, |at, _| if swings(at) { 152 } else { 148 }).alone(),
        ),
        scenario(
            8,
            "30 sessions cross 120 within an hour, on one host",
            many(30, |_| Bot {
                state: None,
                ..Bot::of(8, crosses)
            }),
        ),
        scenario(
            10,
            "a clean-up is refused for days, because the bot is connected",
            Bot {
                more: vec![(
                    "baileys_remediator_refused_since_timestamp_seconds{R, session=\"one\", reason=\"connected\"}",
                    |at, _| (at >= BEGIN).then_some(3600),
                )],
                ..Bot::of(10, |_, _| 160)
            }
            .alone(),
        ),
        scenario(
            12,
            "device_removed is printed every 25 minutes, and nothing tells of the connection",
            Bot {
                state: None,
                more: vec![
                    (REMOVED, removals),
                    (REMOVAL_REPORTS, removals),
                    (REMOVED_AT, |at, index| {
                        let lines = removals(at, index)?;
                        (lines > 0).then_some(3600 + (lines - 1) * 1500)
                    }),
                ],
                ..Bot::of(12, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            13,
            "unpaired from Friday to Monday, its first day",
            Bot {
                state: Some(|at, _| connected_but(60, i64::MAX, at)),
                is_paired: |at| at < BEGIN,
                ..Bot::of(13, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            14,
            "npm update of 40 bots to 7.x",
            many(40, |_| Bot {
                state: Some(|at, index| connected_but(60 + index, 65 + index, at)),
                more: vec![
                    ("baileys_auth_process_restarts_total{X}", |at, index| {
                        Some(if at < BEGIN + index { 0 } else { 2 })
                    }),
                    ("baileys_auth_pre_key_batch_ambiguous{X}", |at, index| {
                        Some(i64::from(at >= BEGIN + index))
                    }),
                ],
                ..Bot::of(14, |at, index| if at < BEGIN + index { 90 } else { 96 })
            }),
        ),
        scenario(
            18,
            "a host is retired and still in prometheus.yml",
            Bot {
                is_up: |at| at < BEGIN,
                ..Bot::of(18, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            19,
            "a bot is upgraded from 6 to 7; 387 files count, and none can be removed",
            Bot {
                removable: 0,
                ..Bot::of(19, |at, _| if at < BEGIN { 95 } else { 387 })
            }
            .alone(),
        ),
        scenario(
            20,
            "a bot is stopped by its operator for a day",
            Bot {
                state: Some(|at, _| connected_but(60, 1500, at)),
                more: vec![(ON_REQUEST, |at, _| {
                    Some(i64::from((60..1500).contains(&at)))
                })],
                ..Bot::of(20, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            21,
            "the count swings around 180 every 20 minutes",
            Bot::of(21, |at, _| if swings(at) { 182 } else { 178 }).alone(),
        ),
        scenario(
            24,
            "30 sessions cross 120 within an hour, on ten hosts",
            many(30, |index| Bot {
                host: format!("s24-{}", index % 10),
                state: None,
                ..Bot::of(24, crosses)
            }),
        ),
        scenario(
            25,
            "the program of a bot restarts again and again for 10 hours",
            Bot {
                state: Some(|at, _| {
                    if (60..660).contains(&at) {
                        'u'
                    } else {
                        'c'
                    }
                }),
                more: vec![
                    // Seen running at every third look.
                    ("baileys_auth_process_restarts_total{X}", |at, _| {
                        Some(since_begin(at).min(600) * 2 / 3)
                    }),
                    ("baileys_auth_connection_unresolved{X}", |at, _| {
                        Some(i64::from((60..660).contains(&at) && at % 3 > 0))
                    }),
                ],
                ..Bot::of(25, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            26,
            "30 bots of a host lose WhatsApp for 20 hours, and a bot of another host 3 hours later",
            many(31, |index| Bot {
                host: format!("s26-{}", index / 30),
                state: Some(|at, index| {
                    connected_but(60 + index / 30 * 180 + index % 30 / 8, 1260 + index, at)
                }),
                ..Bot::of(26, |_, _| 90)
            }),
        ),
        scenario(27, "a site of 40 hosts is away for 20 hours", site()),
        scenario(
            28,
            "a host is away for 25 minutes, and 20 minutes later for 5 hours",
            Bot {
                is_up: |at| !(60..85).contains(&at) && !(105..405).contains(&at),
                ..Bot::of(28, |_, _| 90)
            }
            .alone(),
        ),
        scenario(
            29,
            "a full disk breaks creds.json of 30 bots of a host within an hour",
            many(30, |_| Bot {
                has_creds: |at, index| at < BEGIN + 2 * index,
                ..Bot::of(29, |_, _| 90)
            }),
        ),
        scenario(
            30,
            "30 sessions cross 180 within an hour, on one host; the remediator may not stop them",
            many(30, |_| Bot {
                removable: 0,
                ..Bot::of(30, crosses_180)
            }),
        ),
    ];
    Evaluation {
        step_minutes: 5,
        hours: 26,
        scenarios,
    }
}
