//! A run on record: what it is to do, where it stands, its steps and its files.

use std::collections::BTreeMap;

use rusqlite::Row;
use serde::Serialize;
use serde_json::{Value, json};

use crate::connection::Verdict;
use crate::folder::{Kind, Timestamp};
use crate::policy::Plan;

use super::super::movability;
use super::super::quarantine::{At, Whereabouts};
use super::super::requester::Requester;

/// What a run is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Compute and record a plan; move nothing.
    Plan,
    /// Clean up under guard.
    Cleanup,
    /// Clean up under guard, asked for by the emergency tier.
    Emergency,
    /// Put the files of a run back.
    Undo,
    /// Put a copy of creds.json back.
    Restore,
}

impl Action {
    /// All actions.
    pub const ALL: [Action; 5] = [
        Action::Plan,
        Action::Cleanup,
        Action::Emergency,
        Action::Undo,
        Action::Restore,
    ];

    /// Value of the label `action`.
    pub const fn label(self) -> &'static str {
        match self {
            Action::Plan => "plan",
            Action::Cleanup => "cleanup",
            Action::Emergency => "emergency",
            Action::Undo => "undo",
            Action::Restore => "restore",
        }
    }

    pub(super) fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.label() == label)
    }

    /// The actions after which this one has a cooldown: both kinds of clean-up, and an undo,
    /// because a person does not want this session cleaned again at once. An emergency has
    /// none after a clean-up: that one left too much, or much has come since.
    pub(super) fn cooled_by(self) -> &'static str {
        match self {
            Action::Plan => "('plan')",
            Action::Restore => "('restore')",
            Action::Emergency => "('emergency','undo')",
            Action::Cleanup | Action::Undo => "('cleanup','emergency','undo')",
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted, waits.
    Queued,
    /// Under way.
    Running,
    /// Did what it was to do.
    Done,
    /// The guards said no.
    Refused,
    /// Something broke.
    Failed,
}

impl Status {
    /// Its name in the database and in outputs.
    pub const fn label(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Running => "running",
            Status::Done => "done",
            Status::Refused => "refused",
            Status::Failed => "failed",
        }
    }

    /// Every status, in the order in which a run can have them.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Done,
        Self::Refused,
        Self::Failed,
    ];

    /// The status whose name this is.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.label() == label)
    }
}

/// A run on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Number in the journal.
    pub id: i64,
    /// When it was asked for, RFC 3339.
    pub created: String,
    #[serde(skip)]
    /// The same, as a point in time.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished: Option<String>,
    /// The session.
    pub session: String,
    /// What it was to do.
    pub action: Action,
    /// The alert's tier; none for an operator's command.
    pub tier: Option<String>,
    /// Who asked.
    pub requested_by: Requester,
    /// Where it stands.
    pub status: Status,
    /// The reason in one word, for a refusal or failure.
    pub reason: Option<String>,
    /// The reason in a sentence.
    pub detail: Option<String>,
    /// Something else worth knowing, e.g. `restart not allowed by the configuration`.
    pub note: Option<String>,
    /// What the verdict on the connection rested on.
    pub evidence: Option<String>,
    /// Name of the run in the folder's quarantine; what `undo` takes.
    pub run: Option<String>,
    /// Accumulated files before.
    pub accumulated_before: Option<i64>,
    /// Accumulated files after.
    pub accumulated_after: Option<i64>,
    /// Files moved (or, for a plan, that would be), by kind.
    pub files: BTreeMap<String, u64>,
    #[serde(skip)]
    /// The lock file of the process that took it.
    pub owner: String,
}

impl Run {
    /// Number of files moved (or, for a plan, that would be).
    pub fn moved(&self) -> u64 {
        self.files.values().sum()
    }

    /// The reason, else the note, else a dash.
    pub fn cause(&self) -> &str {
        self.reason
            .as_deref()
            .or(self.note.as_deref())
            .unwrap_or("-")
    }

    /// The accumulated files before and after, with `arrow` between them; else a dash.
    pub fn accumulated(&self, arrow: &str) -> String {
        match (self.accumulated_before, self.accumulated_after) {
            (Some(before), Some(after)) => format!("{before} {arrow} {after}"),
            _ => "-".to_owned(),
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// The reason in one word.
    pub reason: Option<&'static str>,
    /// The reason in a sentence.
    pub detail: Option<String>,
    /// Something else worth knowing.
    pub note: Option<String>,
    /// What the verdict rested on.
    pub evidence: Option<String>,
    /// Name in the quarantine.
    pub run: Option<String>,
    /// Accumulated files before and after.
    pub accumulated: Option<(usize, usize)>,
    /// Files by kind.
    pub files: BTreeMap<Kind, usize>,
    /// Steps that are not on record yet.
    pub steps: Vec<Step>,
    /// What became of each file of the plan; empty where nothing new is known of them.
    pub moves: Vec<FileRecord>,
}

impl Ending {
    /// Notes a step; it is written with the next step of the journal, or with the end.
    pub fn step(&mut self, step: Step) {
        self.steps.push(step);
    }
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// Its name in the database and in outputs.
    pub step: &'static str,
    /// A sentence, where there is more to say.
    pub detail: Option<String>,
    /// What a program reads: the verdict, the plan, who asked.
    pub facts: Option<Value>,
}

impl Step {
    /// A step at this time.
    pub fn new(at: Timestamp, step: &'static str, detail: Option<String>) -> Self {
        Self {
            at,
            step,
            detail,
            facts: None,
        }
    }

    /// The bot's connection was asked for; `again` for the second time.
    pub fn verdict(at: Timestamp, verdict: &Verdict, again: bool) -> Self {
        let sources = verdict.evidence.iter().map(|evidence| {
            json!({"source": evidence.source, "finding": evidence.finding.label(), "detail": evidence.detail})
        });
        let facts = json!({
            "connection": verdict.state.label(),
            "process_gone": verdict.process_gone,
            "sources": sources.collect::<Vec<_>>(),
        });
        let step = if again { "asked_again" } else { "asked" };
        Self {
            facts: Some(facts),
            ..Self::new(at, step, Some(verdict.state.label().to_owned()))
        }
    }

    /// A plan was made.
    pub fn plan(at: Timestamp, plan: &Plan) -> Self {
        let kinds = plan.by_kind();
        let files: serde_json::Map<_, _> = kinds
            .iter()
            .map(|(kind, count)| (kind.label().to_owned(), (*count).into()))
            .collect();
        let left_out = match plan.left_out.is_empty() {
            true => String::new(),
            false => format!("; left out: {}", movability::in_words(&plan.left_out)),
        };
        let detail = format!(
            "{} files, {} accumulated before, {} after, {} pre-keys left{left_out}",
            plan.moves.len(),
            plan.accumulated_before,
            plan.accumulated_after,
            plan.pre_keys_left
        );
        let facts = json!({
            "mode": plan.mode.label(),
            "files": files,
            "accumulated_before": plan.accumulated_before,
            "accumulated_after": plan.accumulated_after,
            "pre_keys_left": plan.pre_keys_left,
            "left_out": movability::as_json(&plan.left_out),
        });
        Self {
            facts: Some(facts),
            ..Self::new(at, "planned", Some(detail))
        }
    }
}

/// What became of a file of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was to be moved; nothing says yet that it was.
    Planned,
    /// It is in the quarantine.
    Moved,
    /// It stayed where it was.
    Left,
    /// It was moved, and put back in the same run.
    PutBack,
    /// An undo put it back.
    Restored,
    /// An undo left it in the quarantine: the folder has a newer one of its name.
    Blocked,
    /// It is neither in the quarantine nor, as it was, in the folder.
    Missing,
}

impl Fate {
    /// Its name in the database and in outputs. `deleted` is another one: the retention has ended.
    pub const fn label(self) -> &'static str {
        match self {
            Fate::Planned => "planned",
            Fate::Moved => "moved",
            Fate::Left => "left",
            Fate::PutBack => "put_back",
            Fate::Restored => "restored",
            Fate::Blocked => "blocked",
            Fate::Missing => "missing",
        }
    }
}

/// A file of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Its kind.
    pub kind: &'static str,
    /// Its inode.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When it was modified.
    pub modified: Timestamp,
    /// What became of it.
    pub fate: Fate,
}

impl FileRecord {
    /// The files of a plan, before anything moved.
    pub fn planned(plan: &Plan) -> Vec<Self> {
        let record = |planned: &crate::policy::guard::Move| Self {
            kind: planned.kind().label(),
            inode: planned.stamp.inode,
            size: planned.stamp.size,
            modified: planned.stamp.modified,
            fate: Fate::Planned,
        };
        plan.moves.iter().map(record).collect()
    }

    /// The files of a run by where they are now.
    pub fn found(files: &[Whereabouts], in_quarantine: Fate, in_folder: Fate) -> Vec<Self> {
        let record = |file: &Whereabouts| Self {
            kind: file.kind.label(),
            inode: file.inode,
            size: file.size,
            modified: file.modified,
            fate: match file.at {
                At::Quarantine => in_quarantine,
                At::Folder => in_folder,
                At::Nowhere => Fate::Missing,
            },
        };
        files.iter().map(record).collect()
    }
}

pub(super) const SELECT: &str =
    "SELECT id, created_ns, finished_ns, session, action, tier, requested_by, status, reason,
    detail, note, evidence, run, accumulated_before, accumulated_after, files, owner FROM runs";

pub(super) fn read_run(row: &Row<'_>) -> Result<Run, rusqlite::Error> {
    let time = |nanos: i64| Timestamp::from_nanos(nanos).rfc3339();
    let action: String = row.get(4)?;
    let status: String = row.get(7)?;
    let files: Option<String> = row.get(15)?;
    Ok(Run {
        id: row.get(0)?,
        created: time(row.get(1)?),
        created_at: Timestamp::from_nanos(row.get(1)?),
        finished: row.get::<_, Option<i64>>(2)?.map(time),
        session: row.get(3)?,
        action: Action::from_label(&action).ok_or(rusqlite::Error::InvalidQuery)?,
        tier: row.get(5)?,
        requested_by: Requester::parse(&row.get::<_, String>(6)?),
        status: Status::from_label(&status).ok_or(rusqlite::Error::InvalidQuery)?,
        reason: row.get(8)?,
        detail: row.get(9)?,
        note: row.get(10)?,
        evidence: row.get(11)?,
        run: row.get(12)?,
        accumulated_before: row.get(13)?,
        accumulated_after: row.get(14)?,
        files: files
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default(),
        owner: row.get::<_, Option<String>>(16)?.unwrap_or_default(),
    })
}
