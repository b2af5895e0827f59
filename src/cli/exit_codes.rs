//! The exit codes of both programs.

use std::fmt::Write as _;

/// The command did what it was asked for.
pub const DONE: u8 = 0;
/// A guard refused, or an operator has to act; the command itself worked.
pub const REFUSED: u8 = 1;
/// The command could not do its work, or its arguments or the configuration are wrong.
pub const FAILED: u8 = 2;

/// What the exit codes of some commands mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The program and its commands.
    pub commands: &'static str,
    /// Exit code 0.
    pub done: &'static str,
    /// Exit code 1; empty where it does not occur.
    pub refused: &'static str,
    /// Exit code 2.
    pub failed: &'static str,
}

/// Every command of both programs.
pub const MEANINGS: [Meaning; 12] = [
    Meaning {
        commands: "`baileys_exporter`",
        done: "ended by a signal",
        refused: "",
        failed: "could not start",
    },
    Meaning {
        commands: "`baileys_exporter check-config`, `baileys_remediator check-config`",
        done: "the file can be used",
        refused: "",
        failed: "it cannot, or there is none",
    },
    Meaning {
        commands: "`baileys_exporter health`, `baileys_remediator health`",
        done: "the program answers",
        refused: "it does not",
        failed: "its web configuration cannot be used",
    },
    Meaning {
        commands: "`baileys_exporter status`",
        done: "every session is normal",
        refused: "a session is at warning or worse, or has no valid creds.json",
        failed: "something could not be looked at, or there is no session",
    },
    Meaning {
        commands: "`baileys_exporter patterns`, `rules`",
        done: "printed",
        refused: "",
        failed: "an error",
    },
    Meaning {
        commands: "`baileys_remediator serve`",
        done: "ended by a signal",
        refused: "",
        failed: "could not start",
    },
    Meaning {
        commands: "`baileys_remediator plan`",
        done: "there is a plan",
        refused: "a guard refuses it, whatever the connection",
        failed: "an error, or no such session",
    },
    Meaning {
        commands: "`baileys_remediator clean`, `undo`, `creds restore`",
        done: "done",
        refused: "a guard refused, and no file was touched; or `undo` left a file, because the folder has a newer one or it is missing",
        failed: "an error, or no such session or run; for `undo` also where there is no journal",
    },
    Meaning {
        commands: "`baileys_remediator doctor`",
        done: "the connection of at least one session is known",
        refused: "the connection of every session is unknown",
        failed: "an error, or there is no session",
    },
    Meaning {
        commands: "`baileys_remediator notify`",
        done: "the test message was sent",
        refused: "it was not sent",
        failed: "an error, or no `notify` is configured",
    },
    Meaning {
        commands: "`baileys_remediator service`",
        done: "shown, stopped or started",
        refused: "",
        failed: "an error, or the service was not stopped or started",
    },
    Meaning {
        commands: "`baileys_remediator runs`, `runs show`, `status`, `creds list`, `pause`, `resume`",
        done: "done",
        refused: "",
        failed: "an error, or there is no journal",
    },
];

/// The table in `docs/configuration.md`.
pub fn table() -> String {
    let mut text = format!("| command | {DONE} | {REFUSED} | {FAILED} |\n|---|---|---|---|\n");
    for meaning in MEANINGS {
        let Meaning {
            commands,
            done,
            refused,
            failed,
        } = meaning;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {commands} | {done} | {refused} | {failed} |");
    }
    text
}
