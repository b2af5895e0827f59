//! What both programs share of a reload of the configuration: the limits of `POST /-/reload`,
//! its answer, the log and what the metrics say. Each program takes the configuration up itself.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clock::Clock;
use exporter_toolkit::{self as web, ConcurrencyLimit, Rate, RateLimit, Response};
use hyper::StatusCode;

use crate::config::Settings;
use crate::folder::Timestamp;

/// Reloads by HTTP; more get 429.
const RELOADS: Rate = Rate {
    interval: Duration::from_secs(5),
    burst: 5,
};

/// Reads the configuration again, with the flags of the start.
pub type Load = Box<dyn Fn() -> Result<Settings, String> + Send + Sync>;

/// What is known of the last reload, for the metrics.
#[derive(Clone, Copy, Debug)]
pub struct ReloadState {
    /// Whether the last load succeeded.
    pub successful: bool,
    /// When the configuration in force was loaded.
    pub loaded_at: Timestamp,
}

/// Who asked for a reload by HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Anybody: the answer does not tell what is wrong with the configuration.
    Anybody,
    /// A client that has shown its token.
    Authenticated,
}

/// The reloads of one program.
#[derive(Debug)]
pub struct Reloads {
    /// One at a time.
    one: ConcurrencyLimit,
    rate: RateLimit,
    state: Mutex<ReloadState>,
    clock: Clock,
}

impl Reloads {
    /// The configuration was loaded now, at the start.
    pub fn new(clock: Clock) -> Self {
        Self {
            one: ConcurrencyLimit::new(1),
            rate: RateLimit::new(RELOADS, clock.clone()),
            state: Mutex::new(ReloadState {
                successful: true,
                loaded_at: Timestamp::of(&clock),
            }),
            clock,
        }
    }

    /// Answers `POST /-/reload` with what `reload` gives: 200, or 500 while the former
    /// configuration stays in force; 429 or 503 if there are too many. The caller has refused
    /// foreign pages before.
    pub async fn answer(
        &self,
        asker: Asker,
        reload: impl Future<Output = Result<(), String>> + Send + 'static,
    ) -> Response {
        if let Some(refusal) = self.rate.refusal() {
            return refusal;
        }
        let answer = async move {
            match reload.await {
                Ok(()) => web::text(StatusCode::OK, "configuration loaded\n"),
                Err(error) => {
                    let why = match asker {
                        Asker::Anybody => "; the log says why".to_owned(),
                        Asker::Authenticated => format!(": {error}"),
                    };
                    web::text(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        format!("{NOT_LOADED}{why}\n"),
                    )
                }
            }
        };
        self.one.run(answer).await
    }

    /// Puts the result of a reload into log and metrics.
    pub fn note(&self, loaded: &Result<(), String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.successful = loaded.is_ok();
        match loaded {
            Ok(()) => {
                state.loaded_at = Timestamp::of(&self.clock);
                tracing::info!("configuration loaded");
            }
            Err(error) => tracing::error!("{NOT_LOADED}: {error}"),
        }
    }

    /// The last reload.
    pub fn state(&self) -> ReloadState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const NOT_LOADED: &str = "the configuration was not loaded, the former one stays in force";

/// A reload reads the file that was read before: without it a program would go on with flags
/// alone, or with a file that stands further down in the order of search.
///
/// Errors: there is another file now, or none.
pub fn require_same_file(former: &Settings, new: &Settings) -> Result<(), String> {
    match (&former.config_file, &new.config_file) {
        (former, new) if former == new => Ok(()),
        (Some(former), None) => Err(format!(
            "{} is gone; put it back, or restart to go on without a file",
            former.display()
        )),
        (_, Some(new)) => Err(format!(
            "the file would be {} from now on, which needs a restart",
            new.display()
        )),
        (None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
