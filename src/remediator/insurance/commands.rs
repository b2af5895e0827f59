//! `creds list` and `creds restore`.

use std::os::fd::AsFd;

use anstyle::{AnsiColor, Style};
use clock::Clock;

use crate::cli::{complain, print, table};
use crate::config::Settings;
use crate::folder::Timestamp;
use crate::remediator::console::{Exit, Output, command_context, confirm, fail, find, record};
use crate::remediator::store::runs::Action;

use super::restore;
use super::store::{Copy, CopyEntry, CopyStore, default_copy, path_in};
use super::watch::{CredsReading, read_settled};

/// `creds list SESSION`: the copies, newest first. Prints none of their content.
pub fn list(settings: &Settings, session: &str, output: Output) -> Exit {
    let copies = match CopyStore::new(&settings.state_path).copies(session) {
        Ok(copies) => copies,
        Err(error) => return fail(&error.to_string()),
    };
    // A session that is gone may still have copies.
    let found = find(settings, session);
    if copies.is_empty()
        && let Err(error) = &found
    {
        return fail(error);
    }
    let present = found.ok().and_then(|found| {
        let folder = found.place.open().ok()?;
        match read_settled(folder.as_fd()) {
            CredsReading::Good { bytes, .. } => Some(bytes),
            _ => None,
        }
    });
    let is_present = |copy: &Option<Copy>| match (copy, &present) {
        (Some(copy), Some(present)) => copy.bytes == *present,
        _ => false,
    };
    match output {
        Output::Json => {
            let rows: Vec<_> = copies
                .iter()
                .map(|(entry, copy)| json(entry, copy, is_present(copy)))
                .collect();
            match serde_json::to_string_pretty(&rows) {
                Ok(text) => print(&text),
                Err(error) => return fail(&error.to_string()),
            }
        }
        Output::Table if copies.is_empty() => print(&format!(
            "No copy of {session}'s creds.json is kept yet. `serve` takes one at its start and every 10 minutes, once the bot is logged in.\nThe directory for its copies is `{}`. The copies of a renamed session are beside it, under the old name.",
            path_in(&settings.state_path)
                .join(CopyStore::directory(session))
                .display()
        )),
        Output::Table => {
            let mut out = table::Table::new(&[
                "VERSION",
                "STATE",
                "TAKEN",
                "WRITTEN",
                "LAST SEEN",
                "IDENTITY",
                "NEXT PRE-KEY",
                "BYTES",
                "CONTENT",
            ]);
            for (entry, copy) in &copies {
                let (state, style) = match copy {
                    None => ("damaged", AnsiColor::Red.on_default()),
                    Some(_) if is_present(copy) => ("in the folder", AnsiColor::Green.on_default()),
                    Some(_) => ("whole", Style::new()),
                };
                let next = copy.as_ref().map_or("-".to_owned(), |copy| {
                    copy.facts.next_pre_key_id.to_string()
                });
                out.row(vec![
                    table::right(entry.number.to_string()),
                    table::styled(state, style),
                    table::plain(entry.taken.rfc3339()),
                    table::plain(entry.written.rfc3339()),
                    table::plain(entry.seen.rfc3339()),
                    table::plain(entry.identity.to_string()),
                    table::right(next),
                    table::right(entry.size.to_string()),
                    table::plain(format!("{:016x}", entry.content)),
                ]);
            }
            print(&out.to_string());
        }
    }
    Exit::Done
}

fn json(entry: &CopyEntry, copy: &Option<Copy>, in_folder: bool) -> serde_json::Value {
    serde_json::json!({
        "version": entry.number,
        "whole": copy.is_some(),
        "in_folder": in_folder,
        "taken": entry.taken.rfc3339(),
        "written": entry.written.rfc3339(),
        "last_seen": entry.seen.rfc3339(),
        "identity": entry.identity.to_string(),
        "next_pre_key_id": copy.as_ref().map(|copy| copy.facts.next_pre_key_id),
        "bytes": entry.size,
        "content": format!("{:016x}", entry.content),
    })
}

/// Options of `creds restore`.
#[derive(Clone, Copy, Debug)]
pub struct RestoreOptions {
    /// The number of the copy; `None` for the newest whole one of the identity that was seen last.
    pub version: Option<u64>,
    /// Skip the connection check, and replace a newer file or one of another identity.
    pub force: bool,
    /// Do not ask for confirmation.
    pub yes: bool,
}

/// `creds restore SESSION`.
pub async fn restore(settings: Settings, session: &str, options: RestoreOptions) -> Exit {
    let found = match find(&settings, session) {
        Ok(found) => found,
        Err(error) => return fail(&error),
    };
    let copies = match CopyStore::new(&settings.state_path).copies(session) {
        Ok(copies) => copies,
        Err(error) => return fail(&error.to_string()),
    };
    let chosen = match options.version {
        None => default_copy(&copies),
        Some(number) => match copies.iter().find(|(entry, _)| entry.number == number) {
            Some((_, Some(copy))) => Some(copy),
            Some((_, None)) => {
                return fail(&format!(
                    "copy {number} is damaged; `creds list {session}` shows the whole ones"
                ));
            }
            None => None,
        },
    };
    let Some(copy) = chosen else {
        return fail(&format!(
            "no such copy of {session}'s creds.json; use the --state.path of `serve`, and see `creds list {session}`"
        ));
    };
    let number = copy.entry.number;
    if !options.yes {
        let warning = if options.force {
            "\n--force: WITHOUT checking that the bot is disconnected, and even over a newer file or another identity.\nA running bot overwrites the file again: stop it first."
        } else {
            ""
        };
        complain(&format!(
            "This puts back copy {number} of {session}'s creds.json, taken {} ({} old), identity {}.{warning}",
            copy.entry.taken.rfc3339(),
            age(copy.entry.taken),
            copy.entry.identity,
        ));
        if let Err(error) = confirm(session) {
            return fail(&error);
        }
    }
    let ctx = match tokio::task::block_in_place(|| command_context(settings)) {
        Ok(ctx) => ctx,
        Err(error) => return fail(&error),
    };
    record(&ctx, session, Action::Restore, async |id, ending| {
        // The copy that the operator confirmed, even if `serve` takes a newer one meanwhile.
        restore::restore(&ctx, id, &found, Some(number), options.force, None, ending).await
    })
    .await
}

fn age(at: Timestamp) -> String {
    let minutes = at.until(Timestamp::of(&Clock::system())).as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2_880 => format!("{} h", minutes / 60),
        _ => format!("{} d", minutes / 1_440),
    }
}
