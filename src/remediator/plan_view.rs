//! What a clean-up would do: one view for the table, the JSON and the page.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::connection::{State, Verdict};
use crate::policy::Plan;

use super::movability;
use super::outcome::RunError;

/// The plan of one session.
#[derive(Clone, Debug, Serialize)]
pub struct PlanView {
    /// The session's name.
    pub session: String,
    /// Whether the bot is connected.
    #[serde(serialize_with = "label")]
    pub connection: State,
    /// What each source of the connection said.
    pub evidence: Vec<String>,
    /// The plan, or why there is none.
    #[serde(flatten)]
    pub result: PlanResult,
}

/// The plan, or why there is none.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum PlanResult {
    /// Files that would be moved.
    Planned(PlannedFiles),
    /// A guard forbids it, or an error.
    Refused {
        /// The reason in one word.
        refused: &'static str,
        /// The reason in a sentence.
        detail: String,
    },
}

/// Files that would be moved.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedFiles {
    /// Accumulated files now.
    pub accumulated_before: usize,
    /// Accumulated files after the clean-up.
    pub accumulated_after: usize,
    /// Pre-keys that stay.
    pub pre_keys_left: usize,
    /// Files to move, by kind.
    pub files: BTreeMap<&'static str, usize>,
    /// Files that cannot be moved: reason, kind, number.
    pub left_out: serde_json::Value,
    /// The same in words.
    #[serde(skip)]
    pub left_out_words: String,
}

impl PlanView {
    /// The view of what the runner says.
    pub fn new(session: &str, verdict: &Verdict, plan: Result<&Plan, &RunError>) -> Self {
        let result = match plan {
            Ok(plan) => PlanResult::Planned(PlannedFiles {
                accumulated_before: plan.accumulated_before,
                accumulated_after: plan.accumulated_after,
                pre_keys_left: plan.pre_keys_left,
                files: plan
                    .by_kind()
                    .iter()
                    .map(|(kind, files)| (kind.label(), *files))
                    .collect(),
                left_out: movability::as_json(&plan.left_out),
                left_out_words: movability::in_words(&plan.left_out),
            }),
            Err(error) => PlanResult::Refused {
                refused: error.label(),
                detail: error.to_string(),
            },
        };
        Self {
            session: session.to_owned(),
            connection: verdict.state,
            evidence: verdict.evidence.iter().map(ToString::to_string).collect(),
            result,
        }
    }

    /// The answer in sentences.
    pub fn answer(&self) -> String {
        let planned = match &self.result {
            PlanResult::Planned(planned) => planned,
            PlanResult::Refused { detail, .. } => {
                return format!("No file would be moved. {detail}");
            }
        };
        let allowed = match self.connection {
            State::Disconnected => "A clean-up would be allowed now. It would move",
            _ => {
                "A clean-up would be refused now, because the bot is not known to be disconnected. Otherwise it would move"
            }
        };
        let mut answer = format!(
            "{allowed} {} files: {} accumulated files now, {} after; {} pre-keys stay.",
            planned.files.values().sum::<usize>(),
            planned.accumulated_before,
            planned.accumulated_after,
            planned.pre_keys_left
        );
        if !planned.left_out_words.is_empty() {
            answer.push_str(&format!(
                " Left out, because they cannot be moved: {}.",
                planned.left_out_words
            ));
        }
        answer
    }
}

fn label<S: Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.label())
}
