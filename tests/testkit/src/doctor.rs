//! What `baileys_remediator doctor` and `service` say of one session.

use serde_json::Value;

use crate::world::{Ran, World};

/// One session of `doctor --output=json`.
#[derive(Debug)]
pub struct Doctor(pub Value);

impl Doctor {
    /// Whether the session is connected, and whether its process is gone.
    pub fn verdict(&self) -> (&str, bool) {
        let gone = self.0["process_gone"].as_bool();
        (self.0["connection"].as_str().unwrap(), gone.unwrap())
    }

    /// A source of the verdict. Panics if it is not listed.
    pub fn source(&self, name: &str) -> &Value {
        let mut sources = self.0["sources"].as_array().unwrap().iter();
        let found = sources.find(|source| source["source"] == name);
        found.unwrap_or_else(|| panic!("{name}: {self:?}"))
    }

    /// What a source found.
    pub fn finding(&self, source: &str) -> &str {
        self.source(source)["finding"].as_str().unwrap()
    }

    /// Why a source found that.
    pub fn detail(&self, source: &str) -> &str {
        self.source(source)["detail"].as_str().unwrap()
    }
}

/// One session of `service --output=json`.
#[derive(Debug)]
pub struct Service {
    /// Exit code.
    pub code: i32,
    /// `running`, `gone` or `unknown`; empty if it was not shown.
    pub presence: String,
    /// Why.
    pub detail: String,
    /// Standard error.
    pub err: String,
}

impl World {
    /// `doctor` of one session, with more arguments.
    pub fn doctor(&self, session: &str, args: &[&str]) -> Doctor {
        let mut command = vec!["doctor", session, "--output=json"];
        command.extend(args);
        let ran = self.remediator(&command);
        // 1: something is to be fixed.
        assert!(matches!(ran.code, 0 | 1), "{ran:#?}");
        let mut shown = ran.json();
        assert_eq!(shown[0]["session"], session);
        Doctor(shown[0].take())
    }

    /// `service` of one session, with more arguments.
    pub fn service(&self, session: &str, args: &[&str]) -> Service {
        let mut command = vec!["service", "--output=json", session];
        command.extend(args);
        let Ran { code, out, err } = self.remediator(&command);
        let shown: Value = serde_json::from_str(&out).unwrap_or_default();
        let text = |key: &str| shown[0][key].as_str().unwrap_or_default().to_owned();
        Service {
            code,
            presence: text("presence"),
            detail: text("detail"),
            err,
        }
    }

    /// Waits until `service` shows this of a session.
    pub fn wait_for_presence(&self, session: &str, presence: &str) {
        self.wait(presence, || {
            let shown = self.service(session, &[]);
            match shown.presence == presence {
                true => Ok(()),
                false => Err(format!("{shown:?}")),
            }
        });
    }
}
