//! What a Prometheus exporter and a webhook receiver need around their own work, in the style
//! of Prometheus' exporter-toolkit. It knows nothing about what is exported.
//!
//! | module | what |
//! |---|---|
//! | [`bind`], [`serve`], [`ServerLimits`] | listeners and an HTTP/1.1 server whose cost is bounded |
//! | [`WebConfig`] | `--web.config.file`: TLS, client certificates, users, headers, rate limit |
//! | [`HealthCheck`] | asks a server of this machine whether it is healthy |
//! | [`ConcurrencyLimit`], [`read_body`] | bounds for a handler: requests at a time, body size |
//! | [`refuse_foreign`], [`RateLimit`] | bounds for requests that change something |
//! | [`text`], [`html`], [`json`], [`not_found`] and others | answers |
//! | [`metric_families`], [`Samples`], [`exposition`] | metrics, and the format and encoding a scraper asks for |
//! | [`process_metrics`] | `process_*` |
//! | [`page`] | HTML pages that need no script |
//! | [`client`], [`http_config`] | one bounded GET, with credentials and TLS |
//! | [`secret`] | files that only their owner may read |
//!
//! The server wraps [hyper](https://docs.rs/hyper) without a router: a handler is one function
//! with a `match` on method and path.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod bearer;
mod body;
pub mod client;
mod concurrency;
mod declaration;
pub mod exposition;
mod foreign;
pub mod http_config;
mod listen;
pub mod metric_families;
mod negotiation;
mod openmetrics;
pub mod page;
pub mod process_metrics;
mod rate_limit;
mod response;
mod samples;
pub mod secret;
mod server;
mod text_format;
mod web_config;

pub use bearer::bearer_matches;
pub use body::{BodyError, read_body};
pub use concurrency::{ConcurrencyLimit, Permit};
pub use foreign::refuse_foreign;
pub use listen::{BindError, bind};
pub use rate_limit::{Rate, RateLimit};
pub use response::{Response, html, json, method_not_allowed, not_found, text, unauthorized};
pub use samples::Samples;
pub use server::{Listeners, ServerLimits, serve};
pub use web_config::{HealthCheck, WebConfig, web_config_of_text};
