//! The preset `command`: whatever the operator writes, as argv arrays.

use std::time::Duration;

use crate::folder::SessionName;

use super::calls::{act, bare};
use super::turn::Turn;
use super::word::Word;
use super::{ControlError, Presence};

/// For `systemctl --user` and the like.
const PASSED: [&str; 1] = ["XDG_RUNTIME_DIR"];
/// A look before the start takes no longer: a start must not wait for one that hangs.
const LOOKED_FOR: Duration = Duration::from_secs(10);

/// Argv arrays with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    stop: Vec<Word>,
    start: Vec<Word>,
    gone: Vec<Word>,
}

impl Command {
    /// From its three argv arrays.
    ///
    /// Errors: which one, and a sentence.
    pub fn new(
        stop: &[String],
        start: &[String],
        gone: &[String],
        pattern: Option<&regex::Regex>,
    ) -> Result<Self, (&'static str, String)> {
        let argv = |key, argv: &[String]| Word::argv(argv, pattern).map_err(|error| (key, error));
        Ok(Self {
            stop: argv("stop", stop)?,
            start: argv("start", start)?,
            gone: argv("gone", gone)?,
        })
    }

    pub(super) fn words(&self) -> impl Iterator<Item = &Word> {
        self.stop.iter().chain(&self.start).chain(&self.gone)
    }

    pub(super) fn expand(&self, session: &SessionName) -> Result<Argvs, ControlError> {
        let all = |argv: &[Word]| {
            argv.iter()
                .map(|word| word.fill(session))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Argvs {
            stop: all(&self.stop)?,
            start: all(&self.start)?,
            gone: all(&self.gone)?,
        })
    }
}

/// The argv arrays of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argvs {
    stop: Vec<String>,
    start: Vec<String>,
    gone: Vec<String>,
}

impl Argvs {
    pub(super) async fn stop(&self, timeout: Duration, turn: &Turn) -> Result<(), ControlError> {
        act("the stop command", bare(&self.stop, timeout, &PASSED), turn).await
    }

    /// Whoever runs is not started: nobody says that the command would not start a second
    /// one beside it, and two bots of one identity break its keys.
    pub(super) async fn start(&self, timeout: Duration, turn: &Turn) -> Result<(), ControlError> {
        if self.presence(LOOKED_FOR).await == Presence::Running {
            return Ok(());
        }
        act(
            "the start command",
            bare(&self.start, timeout, &PASSED),
            turn,
        )
        .await
    }

    pub(super) async fn presence(&self, timeout: Duration) -> Presence {
        match bare(&self.gone, timeout, &PASSED)
            .sweep()
            .run()
            .await
            .map(|ended| ended.code)
        {
            Ok(Some(0)) => Presence::Gone,
            Ok(Some(1)) => Presence::Running,
            Ok(Some(code)) => Presence::Unknown(format!(
                "the gone command exited with {code}; 0 means gone, 1 means running"
            )),
            Ok(None) => Presence::Unknown("the gone command was ended by a signal".into()),
            Err(failure) => Presence::Unknown(format!("the gone command {failure}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_runs_is_not_started_a_second_time() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(
            at("start"),
            "cd \"$(dirname \"$0\")\" && touch runs && echo once >>starts",
        )
        .unwrap();
        let argv = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let (runs, start) = (at("runs"), at("start"));
        let (start, gone) = (argv(&["sh", &start]), argv(&["test", "!", "-e", &runs]));
        let command = Command::new(&argv(&["rm", "-f", &runs]), &start, &gone, None).unwrap();
        let argvs = command
            .expand(&SessionName::from_dir("bot".as_ref()))
            .unwrap();
        let (timeout, turn) = (Duration::from_secs(20), Turn::default());
        for _ in 0..2 {
            argvs.start(timeout, &turn).await.unwrap();
        }
        let starts = || {
            std::fs::read_to_string(at("starts"))
                .unwrap()
                .lines()
                .count()
        };
        assert_eq!(
            (argvs.presence(timeout).await, starts()),
            (Presence::Running, 1)
        );
        argvs.stop(timeout, &turn).await.unwrap();
        argvs.start(timeout, &turn).await.unwrap();
        assert_eq!(starts(), 2);
        // Where nobody can tell, it is started: better that than left stopped.
        let unknown = Argvs {
            gone: argv(&["sh", "/nonexistent"]),
            ..argvs
        };
        unknown.start(timeout, &turn).await.unwrap();
        assert_eq!(starts(), 3);
    }
}
