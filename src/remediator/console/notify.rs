//! `notify --test`: one message by the configured way.

use crate::cli::{complain, print};
use crate::config::Settings;
use crate::remediator::notify::Sender;

use super::{Exit, fail};

/// Sends a test message, and says what became of it. Prints neither the URL nor what the command
/// printed.
pub async fn test_notify(settings: &Settings) -> Exit {
    let Some(notify) = &settings.notify else {
        return fail(
            "no `notify` is configured, so no message is sent; see \"Notifications\" in docs/triggers.md",
        );
    };
    match Sender::new(notify.clone()).send_test().await {
        Ok(sent) => {
            print(&format!("The test message was sent: {sent}."));
            Exit::Done
        }
        Err(error) => {
            complain(&format!("The test message was not sent: {}", error.why));
            Exit::Refused
        }
    }
}
