//! `--web.config.file`: TLS, client certificates, users, headers and a rate limit, from one
//! file that is checked again for every connection and request.
//!
//! A new file that cannot be used changes nothing: the former configuration stays in force.

mod basic_auth;
mod file;
mod health;
mod reader;
mod tls;

#[doc(hidden)]
pub use file::web_config_of_text;

pub use health::HealthCheck;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use std::net::SocketAddr;
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;

use self::basic_auth::{Authenticator, Login};
use self::file::ActiveConfig;
use self::reader::Watch;

use crate::rate_limit::TokenBucket;
use crate::{Response, text};

/// On a file system that hangs, a request waits no longer for the check of the file.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// The web configuration of a server.
pub struct WebConfig {
    path: PathBuf,
    active: RwLock<Arc<ActiveConfig>>,
    last_check: Arc<tokio::sync::Mutex<FileCheck>>,
    authenticator: Authenticator,
    bucket: Mutex<TokenBucket>,
}

/// The last check of the files.
struct FileCheck {
    began: Instant,
    watch: Watch,
    /// What was wrong with them, logged once.
    error: Option<String>,
}

impl WebConfig {
    /// Reads the file that `--web.config.file` names. Blocks.
    ///
    /// Errors: a sentence that names the flag, the key and, where it can, the line.
    pub fn open(path: &Path) -> Result<Self, String> {
        let (watch, active) = file::read(path);
        let active = active?;
        if !active.users.is_empty() && active.tls.is_none() {
            tracing::warn!(
                "--web.config.file has users and no certificate: passwords cross the network in the clear"
            );
        }
        let check = FileCheck {
            began: Instant::now(),
            watch,
            error: None,
        };
        Ok(Self {
            path: path.to_owned(),
            active: RwLock::new(Arc::new(active)),
            last_check: Arc::new(tokio::sync::Mutex::new(check)),
            authenticator: Authenticator::new(),
            bucket: Mutex::default(),
        })
    }

    /// Whether connections are encrypted, as configured now.
    pub fn has_tls(&self) -> bool {
        self.current().tls.is_some()
    }

    fn current(&self) -> Arc<ActiveConfig> {
        Arc::clone(&self.active.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is in force, after a check of the files.
    async fn refreshed(self: &Arc<Self>) -> Arc<ActiveConfig> {
        let asked = Instant::now();
        let refresh = async {
            let mut check = Arc::clone(&self.last_check).lock_owned().await;
            if check.began >= asked {
                return;
            }
            let config = Arc::clone(self);
            let reload = tokio::task::spawn_blocking(move || config.reload(&mut check));
            let _ = reload.await;
        };
        let _ = tokio::time::timeout(CHECK_TIMEOUT, refresh).await;
        self.current()
    }

    fn reload(&self, check: &mut FileCheck) {
        check.began = Instant::now();
        if !check.watch.has_changed() {
            return;
        }
        let (watch, read) = file::read(&self.path);
        check.watch = watch;
        let former = self.current();
        let usable = read.and_then(|active| match active.lost_from(&former) {
            Some(lost) => Err(format!(
                "--web.config.file {}: {lost} asks for less than before; that needs a restart",
                self.path.display()
            )),
            None => Ok(active),
        });
        match usable {
            Ok(active) => {
                if !active.same_as(&former) {
                    *self.active.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(active);
                    tracing::info!("--web.config.file was loaded again");
                } else if check.error.is_some() {
                    tracing::info!("--web.config.file is as it was loaded");
                }
                check.error = None;
            }
            Err(error) => {
                if check.error.as_ref() != Some(&error) {
                    tracing::error!(
                        "the web configuration was not loaded, the former one stays in force: {error}"
                    );
                }
                check.error = Some(error);
            }
        }
    }

    /// The TLS configuration of a new connection; `None` where TLS is off.
    pub(crate) async fn tls(self: &Arc<Self>) -> Option<Arc<ServerConfig>> {
        let active = self.refreshed().await;
        active.tls.as_ref().map(|tls| Arc::clone(&tls.server))
    }

    /// The check of one request.
    pub(crate) async fn check(self: &Arc<Self>) -> RequestCheck {
        RequestCheck {
            config: Arc::clone(self),
            active: self.refreshed().await,
        }
    }
}

/// One request, under the configuration that was in force when it came.
pub(crate) struct RequestCheck {
    config: Arc<WebConfig>,
    active: Arc<ActiveConfig>,
}

impl RequestCheck {
    /// Checks the rate limit and the password.
    ///
    /// Errors: what to answer instead of calling the handler: 429, 401 or 503.
    pub(crate) async fn authorize(
        &self,
        headers: &HeaderMap,
        peer: SocketAddr,
    ) -> Result<(), Response> {
        if let Some(rate) = self.active.rate {
            let mut bucket = lock(&self.config.bucket);
            if !bucket.take(rate, Instant::now().into_std()) {
                return Err(text(StatusCode::TOO_MANY_REQUESTS, "Too many requests\n"));
            }
        }
        let users = &self.active.users;
        if users.is_empty() {
            return Ok(());
        }
        let login = self.config.authenticator.check(users, headers, peer.ip());
        let (status, body, header, value) = match login.await {
            Login::Granted => return Ok(()),
            Login::Denied => (
                StatusCode::UNAUTHORIZED,
                "Unauthorized\n",
                WWW_AUTHENTICATE,
                "Basic realm=\"restricted\", charset=\"UTF-8\"",
            ),
            Login::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many logins at the same time, try again later.\n",
                RETRY_AFTER,
                "1",
            ),
        };
        let mut response = text(status, body);
        let headers = response.headers_mut();
        headers.insert(header, HeaderValue::from_static(value));
        Err(response)
    }

    /// Sets the configured headers.
    pub(crate) fn add_headers(&self, response: &mut Response) {
        for (name, value) in &self.active.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }

    /// Whether a connection with this encryption may be kept. If not, the encryption was
    /// configured anew after it was opened.
    pub(crate) fn is_current(&self, tls: Option<&Arc<ServerConfig>>) -> bool {
        match (tls, &self.active.tls) {
            (None, None) => true,
            (Some(then), Some(now)) => Arc::ptr_eq(then, &now.server),
            _ => false,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
