//! The fold from evidence to verdict. Pure.
//!
//! | probe | writes within the quiet window | verdict |
//! |---|---|---|
//! | connected | any | connected |
//! | disconnected | none | disconnected |
//! | disconnected | some, or not known | unknown |
//! | not configured, or any of them failed, timed out or cannot say | any | unknown, unless another says connected |
//! | one says connected, another disconnected | any | unknown |

use std::fmt;

/// Whether the bot is connected to WhatsApp. Unknown is treated as connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It is.
    Connected,
    /// It is not.
    Disconnected,
    /// Nobody can say.
    Unknown,
}

impl State {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            State::Connected => "connected",
            State::Disconnected => "disconnected",
            State::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What one source says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The bot is connected.
    Connected,
    /// The bot is not connected.
    Disconnected,
    /// Nothing was written for the whole quiet window.
    Quiet,
    /// Something was written within the quiet window.
    Writing,
    /// The source cannot say.
    Silent,
}

/// One source's word, with what it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Who says so: `probe`, `writes`.
    pub source: &'static str,
    /// What it says.
    pub finding: Finding,
    /// What it saw, for a person. Never the output of a probe, which may hold anything.
    pub detail: String,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.detail)
    }
}

/// The verdict and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The verdict.
    pub state: State,
    /// Whether the bot's process is proven gone. Needs a source that watches the process;
    /// without one it is `false`.
    pub process_gone: bool,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
}

impl Verdict {
    /// A verdict of unknown, with the reason.
    pub fn unknown(source: &'static str, detail: impl Into<String>) -> Self {
        fold(vec![Evidence { source, finding: Finding::Silent, detail: detail.into() }])
    }

    /// The evidence as one line.
    pub fn because(&self) -> String {
        self.evidence.iter().map(Evidence::to_string).collect::<Vec<_>>().join("; ")
    }
}

/// From evidence to verdict. Disconnected needs every source to say so, and a folder that
/// was quiet.
pub fn fold(evidence: Vec<Evidence>) -> Verdict {
    let says = |finding| evidence.iter().any(|e| e.finding == finding);
    let state = match (says(Finding::Connected), says(Finding::Disconnected)) {
        (true, false) => State::Connected,
        (false, true) if says(Finding::Quiet) && !says(Finding::Writing) && !says(Finding::Silent) => {
            State::Disconnected
        }
        _ => State::Unknown,
    };
    Verdict { state, process_gone: false, evidence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        use Finding::*;
        for (findings, state) in [
            (&[][..], State::Unknown),
            (&[Quiet], State::Unknown),
            (&[Writing], State::Unknown),
            (&[Silent, Quiet], State::Unknown),
            (&[Connected, Quiet], State::Connected),
            (&[Connected, Writing], State::Connected),
            (&[Connected], State::Connected),
            (&[Disconnected, Quiet], State::Disconnected),
            (&[Disconnected, Quiet, Silent], State::Unknown),
            (&[Connected, Silent, Quiet], State::Connected),
            (&[Disconnected], State::Unknown),
            (&[Disconnected, Writing], State::Unknown),
            (&[Disconnected, Quiet, Writing], State::Unknown),
            (&[Connected, Disconnected, Quiet], State::Unknown),
        ] {
            let evidence = findings
                .iter()
                .map(|finding| Evidence { source: "test", finding: *finding, detail: String::new() })
                .collect();
            assert_eq!(fold(evidence).state, state, "{findings:?}");
        }
    }
}
