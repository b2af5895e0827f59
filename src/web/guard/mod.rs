//! Who may connect and ask: TLS, client certificates and passwords, from one file that is
//! looked at again for every connection and request.
//!
//! A new file that cannot be used changes nothing: what was in force stays.

mod file;
mod login;
mod tls;

#[doc(hidden)]
pub use file::web_config_of_text;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use std::net::SocketAddr;
use tokio_rustls::rustls::ServerConfig;

use self::file::{Rate, Rules, Watch};
use self::login::{Login, Logins};

use super::{Response, text};

/// On a file system that hangs, nobody waits longer for a look at the file.
const LOOK_FOR: Duration = Duration::from_secs(1);

/// The doorkeeper of a server.
pub struct Guard {
    path: PathBuf,
    rules: RwLock<Arc<Rules>>,
    look: Arc<tokio::sync::Mutex<Look>>,
    logins: Logins,
    bucket: Mutex<Bucket>,
}

/// The last look at the files.
struct Look {
    began: Instant,
    watch: Watch,
    /// What was wrong with them, told once.
    wrong: Option<String>,
}

impl Guard {
    /// Reads the file that `--web.config.file` names. Blocks.
    ///
    /// Errors: a sentence that names the flag, the key and, where it can, the line.
    pub fn open(path: &Path) -> Result<Self, String> {
        let (watch, rules) = file::read(path);
        let rules = rules?;
        let clear = !rules.users.is_empty() && rules.tls.is_none();
        if clear {
            tracing::warn!(
                "--web.config.file has users and no certificate: passwords cross the network in the clear"
            );
        }
        let look = Look {
            began: Instant::now(),
            watch,
            wrong: None,
        };
        Ok(Self {
            path: path.to_owned(),
            rules: RwLock::new(Arc::new(rules)),
            look: Arc::new(tokio::sync::Mutex::new(look)),
            logins: Logins::new(),
            bucket: Mutex::default(),
        })
    }

    /// Whether connections are encrypted, as configured now.
    pub fn has_tls(&self) -> bool {
        self.current().tls.is_some()
    }

    fn current(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is in force, after a look at the files.
    async fn refreshed(self: &Arc<Self>) -> Arc<Rules> {
        let asked = Instant::now();
        let refresh = async {
            let mut look = Arc::clone(&self.look).lock_owned().await;
            if look.began >= asked {
                return;
            }
            let guard = Arc::clone(self);
            let looking = tokio::task::spawn_blocking(move || guard.look_again(&mut look));
            let _ = looking.await;
        };
        let _ = tokio::time::timeout(LOOK_FOR, refresh).await;
        self.current()
    }

    fn look_again(&self, look: &mut Look) {
        look.began = Instant::now();
        if !look.watch.has_changed() {
            return;
        }
        let (watch, read) = file::read(&self.path);
        look.watch = watch;
        let former = self.current();
        let usable = read.and_then(|rules| match rules.lost_from(&former) {
            Some(lost) => Err(format!(
                "--web.config.file {}: {lost} asks for less than before; that takes a restart",
                self.path.display()
            )),
            None => Ok(rules),
        });
        match usable {
            Ok(rules) => {
                if !rules.same_as(&former) {
                    *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
                    tracing::info!("--web.config.file was loaded again");
                } else if look.wrong.is_some() {
                    tracing::info!("--web.config.file is as it was loaded");
                }
                look.wrong = None;
            }
            Err(error) => {
                if look.wrong.as_ref() != Some(&error) {
                    tracing::error!(
                        "the web configuration was not loaded, the former one stays in force: {error}"
                    );
                }
                look.wrong = Some(error);
            }
        }
    }

    /// How a new connection is to be encrypted; not at all where it is `None`.
    pub(super) async fn encryption(self: &Arc<Self>) -> Option<Arc<ServerConfig>> {
        self.refreshed()
            .await
            .tls
            .as_ref()
            .map(|tls| Arc::clone(&tls.server))
    }

    /// Looks at a request before its handler does.
    pub(super) async fn visit(self: &Arc<Self>) -> Visit {
        Visit {
            guard: Arc::clone(self),
            rules: self.refreshed().await,
        }
    }
}

/// One request, under the rules that held when it came.
pub(super) struct Visit {
    guard: Arc<Guard>,
    rules: Arc<Rules>,
}

impl Visit {
    /// Errors: what to answer instead of asking the handler.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        peer: SocketAddr,
    ) -> Result<(), Response> {
        if let Some(rate) = self.rules.rate {
            let mut bucket = self
                .guard
                .bucket
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if !bucket.take(rate, Instant::now()) {
                return Err(text(StatusCode::TOO_MANY_REQUESTS, "Too many requests\n"));
            }
        }
        if self.rules.users.is_empty() {
            return Ok(());
        }
        match self
            .guard
            .logins
            .check(&self.rules.users, headers, peer.ip())
            .await
        {
            Login::Welcome => Ok(()),
            Login::Wrong => {
                let mut response = text(StatusCode::UNAUTHORIZED, "Unauthorized\n");
                let asks =
                    HeaderValue::from_static("Basic realm=\"restricted\", charset=\"UTF-8\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, asks);
                Err(response)
            }
            Login::Busy => {
                let body = "Too many logins at the same time, try again later.\n";
                let mut response = text(StatusCode::SERVICE_UNAVAILABLE, body);
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, HeaderValue::from_static("1"));
                Err(response)
            }
        }
    }

    /// Sets the configured headers. `false` when the connection was made under other rules
    /// and should end with this answer.
    pub(super) fn dress(
        &self,
        response: &mut Response,
        encryption: Option<&Arc<ServerConfig>>,
    ) -> bool {
        for (name, value) in &self.rules.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        match (encryption, &self.rules.tls) {
            (None, None) => true,
            (Some(then), Some(now)) => Arc::ptr_eq(then, &now.server),
            _ => false,
        }
    }
}

/// A token bucket: how many requests are owed, at what time.
#[derive(Default)]
struct Bucket {
    last: Option<(Instant, f64)>,
}

impl Bucket {
    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let burst = f64::from(rate.burst);
        let left = self.last.map_or(burst, |(at, left)| {
            let earned =
                now.saturating_duration_since(at).as_secs_f64() / rate.interval.as_secs_f64();
            (left + earned).min(burst)
        });
        let taken = left >= 1.0;
        self.last = Some((now, if taken { left - 1.0 } else { left }));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_with_time() {
        let rate = Rate {
            interval: Duration::from_secs(2),
            burst: 3,
        };
        let mut bucket = Bucket::default();
        let began = Instant::now();
        let mut at = |seconds: u64| bucket.take(rate, began + Duration::from_secs(seconds));
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!([at(1), at(2), at(3)], [false, true, false]);
        assert_eq!(
            [at(100), at(100), at(100), at(100)],
            [true, true, true, false]
        );
    }
}
