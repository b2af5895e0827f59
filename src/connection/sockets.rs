//! An ESTABLISHED connection of the bot's process to WhatsApp's port is evidence of a
//! connection. That there is none is evidence of nothing: the process may be another one,
//! a child may hold the socket, or its network may not be visible from here.

use std::time::Duration;

use supervisor::bounded::within;
use supervisor::proc::is_connected_to;

use super::{Evidence, Finding};

/// Where WhatsApp listens.
const PORT: u16 = 443;

/// Whether one of these processes is connected to WhatsApp.
pub(super) async fn look(pids: Vec<u32>, timeout: Duration) -> Evidence {
    let seen = within("reading the sockets", timeout, move || Ok(ask(&pids, PORT)));
    seen.await
        .unwrap_or_else(|why| Evidence::new("sockets", Finding::NoAnswer, why))
}

/// Whether one of these processes is connected to `port` somewhere. Blocks.
fn ask(pids: &[u32], port: u16) -> Evidence {
    let say = |finding, detail: String| Evidence::new("sockets", finding, detail);
    let mut looked = false;
    for pid in pids {
        match is_connected_to(*pid, port) {
            Ok(true) => {
                return say(
                    Finding::Connected,
                    format!("process {pid} has a connection to port {port}"),
                );
            }
            Ok(false) => looked = true,
            Err(_) => {}
        }
    }
    match looked {
        true => say(
            Finding::Nothing,
            format!("no connection to port {port} was seen, which says nothing"),
        ),
        false => say(
            Finding::Nothing,
            "the sockets cannot be seen by this user".into(),
        ),
    }
}

#[cfg(test)]
mod tests;
