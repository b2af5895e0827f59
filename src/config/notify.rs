//! The section `notify`: how a person gets a message about what `serve` has done.

use std::path::PathBuf;

use exporter_toolkit::client::check_url;
use exporter_toolkit::http_config::{HttpClient, HttpConfig};
use serde::Deserialize;
use serde_json::Value;

/// Where the text of a message goes in `notify.webhook.json`.
const TEXT: &str = "{text}";

/// How messages are sent.
#[derive(Clone, Debug)]
pub enum Notify {
    /// A program and its arguments. It reads the text on its standard input.
    Command(Vec<String>),
    /// A `POST`.
    Webhook(Box<NotifyWebhook>),
}

/// Where messages are posted.
#[derive(Clone, Debug)]
pub struct NotifyWebhook {
    /// The URL.
    pub url: NotifyUrl,
    /// The body, with `{text}` in some string of it; the text itself where `None`.
    pub json: Option<Value>,
    /// Credentials and TLS.
    pub client: HttpClient,
}

/// The URL that messages are posted to.
#[derive(Clone, Debug)]
pub enum NotifyUrl {
    /// One without a secret.
    Plain(String),
    /// It is in this secret file, read for each message.
    File(PathBuf),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifySection {
    #[serde(default)]
    command: Option<Vec<String>>,
    #[serde(default)]
    webhook: Option<WebhookSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookSection {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    url_file: Option<PathBuf>,
    #[serde(default)]
    json: Option<Value>,
    #[serde(default)]
    http_config: HttpConfig,
}

impl NotifySection {
    /// Errors: a sentence that names the key and repeats no value.
    pub fn build(self) -> Result<Notify, String> {
        match (self.command, self.webhook) {
            (Some(command), None) if command.first().is_none_or(String::is_empty) => {
                Err("notify.command: a program and its arguments, as a list".into())
            }
            (Some(command), None) => Ok(Notify::Command(command)),
            (None, Some(webhook)) => {
                let webhook = webhook.build();
                let webhook = webhook.map_err(|error| format!("notify.webhook.{error}"))?;
                Ok(Notify::Webhook(Box::new(webhook)))
            }
            _ => Err("notify: give either command or webhook".into()),
        }
    }
}

impl WebhookSection {
    fn build(self) -> Result<NotifyWebhook, String> {
        let url = match (self.url, self.url_file) {
            (Some(url), None) if check_url(&url).is_err() => {
                return Err("url: must look like https://host/path, without credentials".into());
            }
            (Some(url), None) => NotifyUrl::Plain(url),
            (None, Some(file)) => NotifyUrl::File(file),
            _ => return Err("url: give either url or url_file".into()),
        };
        if self.json.as_ref().is_some_and(|json| !has_text(json)) {
            return Err("json: some string of it holds {text}, which becomes the message".into());
        }
        Ok(NotifyWebhook {
            url,
            json: self.json,
            client: self
                .http_config
                .build()
                .map_err(|error| format!("http_config.{error}"))?,
        })
    }
}

fn has_text(json: &Value) -> bool {
    match json {
        Value::String(string) => string.contains(TEXT),
        Value::Array(values) => values.iter().any(has_text),
        Value::Object(fields) => fields.values().any(has_text),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
