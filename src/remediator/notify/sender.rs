//! Sends a message: to a command, or to a webhook.

use std::fmt;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use exporter_toolkit::client::check_url;
use exporter_toolkit::http_config::HttpError;
use exporter_toolkit::secret;
use rustix::fs::MemfdFlags;
use serde_json::Value;
use supervisor::exec::Exec;

use crate::config::{Notify, NotifyUrl, NotifyWebhook};
use crate::host;
use crate::remediator::runner::blocking;

/// A message is sent within this time, or it has failed.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The answer of a webhook is read up to here.
const MAX_REPLY_BYTES: usize = 64 << 10;

/// Sends messages by the configured way.
#[derive(Clone, Debug)]
pub struct Sender(Notify);

/// A message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The command has read it.
    Command,
    /// The webhook answered with this status.
    Webhook(u16),
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sent::Command => f.write_str("the command exited with 0"),
            Sent::Webhook(status) => write!(f, "the webhook answered with status {status}"),
        }
    }
}

/// A message was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError {
    /// A sentence that repeats neither the URL nor what the command printed.
    pub why: String,
    /// The receiver refuses this message, so the same one is not sent again.
    pub is_refused: bool,
}

impl From<String> for SendError {
    fn from(why: String) -> Self {
        Self {
            why,
            is_refused: false,
        }
    }
}

impl Sender {
    /// By this way.
    pub fn new(notify: Notify) -> Self {
        Self(notify)
    }

    /// What keeps messages from being sent, as far as it shows without sending one. A credential
    /// that systemd passes to the service alone is not looked at elsewhere. Blocks.
    pub fn problem(&self) -> Option<String> {
        let Notify::Webhook(webhook) = &self.0 else {
            return None;
        };
        match &webhook.url {
            NotifyUrl::File(file) if secret::locate(file).is_ok() => {
                let error = url_in(file).err()?;
                Some(format!("no message can be sent: {error}"))
            }
            _ => None,
        }
    }

    /// Sends one message that says it is a test.
    pub async fn send_test(&self) -> Result<Sent, SendError> {
        let text = format!(
            "{}\nThis is a test of `notify`: messages arrive here.",
            title()
        );
        self.send(&text).await
    }

    /// Sends a message, within a time limit.
    pub async fn send(&self, text: &str) -> Result<Sent, SendError> {
        match &self.0 {
            Notify::Command(argv) => match command(argv, text).await {
                Ok(()) => Ok(Sent::Command),
                Err(why) => Err(why.into()),
            },
            Notify::Webhook(webhook) => post(webhook, text).await.map(Sent::Webhook),
        }
    }
}

/// The first line of each message.
pub fn title() -> String {
    format!("baileys_remediator on {}", host::name())
}

/// Runs the command with the text on its standard input.
async fn command(argv: &[String], text: &str) -> Result<(), String> {
    let input = || {
        let mut file =
            std::fs::File::from(rustix::fs::memfd_create("report", MemfdFlags::CLOEXEC)?);
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.rewind()?;
        Ok::<_, std::io::Error>(Arc::new(file))
    };
    let input = input().map_err(|error| format!("the text cannot be passed on: {error}"))?;
    let command = Exec::new(argv, TIMEOUT).clean_env(&[]).kill_group();
    let ended = command.stdin(Some(input)).output().await;
    ended
        .map(drop)
        .map_err(|error| format!("the command {error}"))
}

async fn post(webhook: &NotifyWebhook, text: &str) -> Result<u16, SendError> {
    let url = match &webhook.url {
        NotifyUrl::Plain(url) => url.clone(),
        NotifyUrl::File(file) => {
            let file = file.clone();
            let read = tokio::time::timeout(TIMEOUT, blocking(move || url_in(&file)));
            match read.await {
                Ok(url) => url?,
                Err(_) => {
                    let why = "notify.webhook.url_file could not be read in time";
                    return Err(why.to_owned().into());
                }
            }
        }
    };
    let (kind, body) = match &webhook.json {
        None => ("text/plain; charset=utf-8", text.to_owned()),
        Some(json) => ("application/json", filled(json, text).to_string()),
    };
    let client = &webhook.client;
    let sent = client.post(&url, (kind, body), TIMEOUT, MAX_REPLY_BYTES);
    sent.await.map_err(|error| match error {
        HttpError::Status(status) if refuses_the_message(status) => SendError {
            is_refused: true,
            why: format!(
                "{error}; compare notify.webhook.json with what the receiver expects (Telegram: whether chat_id is right, and the bot a member of that chat)"
            ),
        },
        error => error.to_string().into(),
    })
}

/// Whether an answer is about the message. The others are about the address, the credentials, or
/// the time. Pure.
fn refuses_the_message(status: u16) -> bool {
    (400..=499).contains(&status) && !matches!(status, 401 | 403 | 404 | 407 | 408 | 425 | 429)
}

fn url_in(file: &Path) -> Result<String, String> {
    let url =
        secret::read_line(file).map_err(|error| format!("notify.webhook.url_file: {error}"))?;
    check_url(&url).map_err(|_| {
        "notify.webhook.url_file: its content must look like https://host/path".to_owned()
    })?;
    Ok(url)
}

/// The JSON with the text in the place of each `{text}`. Pure.
fn filled(json: &Value, text: &str) -> Value {
    match json {
        Value::String(string) => Value::String(string.replace("{text}", text)),
        Value::Array(values) => values.iter().map(|value| filled(value, text)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(key, value)| (key.clone(), filled(value, text)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
