//! Puts a copy of creds.json back, in one rename that exchanges the two files.
//!
//! Each restore has a directory in the folder's quarantine. Its name has a prefix, so that
//! no code takes it for the directory of a clean-up:
//!
//! ```text
//! .baileys_quarantine/creds-20261123T201510Z-4f2a91/     0700
//!   new.json        the file to put back; bots and discovery never look here
//!   restore.json    the commit point, written when new.json is complete
//!   replaced.json   the file that was in the folder before, until the retention ends
//! ```
//!
//! The exchange swaps new.json and creds.json. The folder is never without a creds.json, and
//! the replaced file is kept. After a crash, either the old file is in the folder and the new
//! one here, or the reverse. The fingerprint in restore.json shows which.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

use crate::connection::State;
use crate::folder::creds::parse_creds;
use crate::folder::identity::{MAX_PRE_KEY_ID, highest_counter, insurable, raise_counters};
use crate::folder::kind::{parse_name, pre_key_id};
use crate::folder::scan::{MAX_CREDS_BYTES, QUARANTINE_DIR, read_plain_file, stat};
use crate::folder::{Creds, Found, Inventory, Kind, Shape, Stamp, Timestamp};
use crate::policy::Refusal;
use crate::policy::insurance::{Known, Present, RestoreRefusal, may_restore};
use crate::policy::measure::{Batches, CLASSIC_BATCH, MODERN_BATCH};
use crate::remediator::outcome::{RunError, RunOutcome};
use crate::remediator::quarantine::{
    LockedFolder, Obstacle, QuarantineName, aborted, change, make_dir, obstacle, obstacle_io,
    open_beneath, sync, write_record,
};
use crate::remediator::runner::{self, Context, StoppedService, blocking};
use crate::remediator::store::audit::{Fate, FileRecord, Step};
use crate::remediator::store::runs::Ending;
use crate::remediator::store::{BlockingStore, Store, StoreError};

use super::store::{Copy, CopyStore, default_copy, limits_of, set_modified};

mod record;
mod recovery;
mod rehearsal;

use self::record::{CREDS, NEW, PREFIX, RECORD, REPLACED, RestoreRecord, creds_record, exchanged};
use self::recovery::{complete, complete_all, remove};
pub use self::recovery::{end_orphan, tidy};
pub use self::rehearsal::rehearse;

/// What a restore did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Restored {
    /// Number of the copy.
    copy: u64,
    /// `nextPreKeyId` of the copy, and of the file that was put back.
    counters: (u32, u32),
    /// Whether the quarantine now keeps a creds.json that was in the folder.
    replaced: bool,
}

/// Owner, group and mode.
type FileOwner = (u32, u32, u32);

/// The folder's current creds.json, of any shape.
struct CurrentCreds {
    shape: Shape,
    stamp: Stamp,
    owner: FileOwner,
    bytes: Option<Vec<u8>>,
}

/// Puts a copy back: the newest whole one of the identity that was seen last, or copy number `version`. Refuses unless the bot
/// is disconnected and `may_restore` allows the copy; an operator's `force` overrides both.
/// `stopped` is set when this program has stopped the bot's service; then the service is
/// queried as well.
#[allow(clippy::too_many_arguments)]
pub async fn restore(
    ctx: &Context,
    id: i64,
    found: &Found,
    version: Option<u64>,
    force: bool,
    stopped: Option<&StoppedService>,
    ending: &mut Ending,
) -> Result<RunOutcome, RunError> {
    let halt = stopped
        .map(|stopped| stopped.halt.clone())
        .unwrap_or_default();
    let folder = runner::lock_folder(&ctx.clock, found, stopped, &halt).await?;
    ending.step(Step::new(ctx.now(), "locked", None));
    {
        let folder = Arc::clone(&folder);
        change(move || complete_all(&folder)).await?;
    }
    let (verdict, inventory) =
        runner::ask_and_scan(&ctx.connection, found, &folder, stopped).await?;
    ending.evidence = Some(verdict.because());
    ending.step(Step::verdict(ctx.now(), &verdict, false));
    let refusal = |state: State| match state {
        State::Disconnected => None,
        _ if force => None,
        State::Connected => Some(RunError::from(Refusal::Connected)),
        State::Unknown => Some(RunError::from(Refusal::ConnectionUnknown)),
    };
    if let Some(stop) = refusal(verdict.state) {
        return Err(stop);
    }
    let run = QuarantineName::new(ctx.now());
    let prepared = {
        let (ctx, folder, found, run) =
            (ctx.clone(), Arc::clone(&folder), found.clone(), run.clone());
        let shared = ctx.store.clone();
        shared
            .block(move |store| {
                prepare(
                    &ctx, store, id, &folder, &found, &inventory, &run, version, force,
                )
            })
            .await?
    };
    ending.note = Some(format!(
        "{}copy {}, nextPreKeyId {} -> {}",
        if force { "forced, " } else { "" },
        prepared.restored.copy,
        prepared.restored.counters.0,
        prepared.restored.counters.1
    ));
    ending.step(Step::new(
        ctx.now(),
        "prepared",
        Some("the copy is in the quarantine, nothing has moved".into()),
    ));
    // Everything is written and nothing has moved. Ask again before the exchange.
    let mut stop = None;
    if !force {
        let again = match runner::ask_and_scan(&ctx.connection, found, &folder, stopped).await {
            Ok((again, _)) => again,
            Err(obstacle) => crate::connection::Verdict::unknown("folder", obstacle.to_string()),
        };
        stop = refusal(again.state);
        // While the service is down the copy must be put back, however slow a disk is.
        if stop.is_none() && stopped.is_none() {
            folder.confirm_moves();
        }
        ending.evidence = Some(format!(
            "{}; asked again: {}",
            verdict.because(),
            again.because()
        ));
        ending.step(Step::verdict(ctx.now(), &again, true));
    }
    if stop.is_none() {
        let confirmed = folder.confirm_place_async(&found.place).await;
        stop = confirmed.err().map(RunError::from);
    }
    if let Some(stop) = stop {
        ending.step(Step::new(
            ctx.now(),
            "cancelled",
            Some("the copy was dropped, nothing has moved".into()),
        ));
        change(move || prepared.cancel()).await?;
        let dropped = move |store: &Store| plan_dropped(store, id);
        ask_store(ctx, stopped, dropped).await?;
        return Err(stop);
    }
    ending.run = Some(run.to_string());
    ending.step(Step::new(
        ctx.now(),
        "moving",
        Some("exchanging the copy and the folder's creds.json".into()),
    ));
    let steps = std::mem::take(&mut ending.steps);
    ask_store(ctx, stopped, move |store| store.audit().note(id, &steps)).await?;
    let (restored, moves) = change(move || Ok(prepared.exchange())).await??;
    let seen = mark_restored(ctx, found, restored.copy);
    blocking(seen).await;
    ending.files.insert(Kind::Creds, 1);
    ending.moves = moves;
    ending.step(Step::new(
        ctx.now(),
        "exchanged",
        Some(match restored.replaced {
            true => "the copy is in the folder, the replaced file is in the quarantine".into(),
            false => "the copy is in the folder, which had no creds.json".into(),
        }),
    ));
    Ok(RunOutcome::Restored {
        copy: restored.copy,
        counters: restored.counters,
        replaced: restored
            .replaced
            .then(|| format!("{QUARANTINE_DIR}/{PREFIX}{run}/{REPLACED}")),
    })
}

/// Marks the identity of copy number `copy` as the one that is in the folder now. With `force` it
/// may have replaced another one.
fn mark_restored(ctx: &Context, found: &Found, copy: u64) -> impl FnOnce() + Send + use<> {
    let (store, session) = (
        CopyStore::new(&ctx.settings.state_path),
        found.session.clone(),
    );
    let now = ctx.now();
    move || {
        let session = session.as_str();
        let marked = store.entries(session).and_then(|entries| {
            let entry = entries.iter().find(|entry| entry.number == copy);
            entry.map_or(Ok(()), |entry| store.mark(session, entry, now))
        });
        if let Err(error) = marked {
            tracing::warn!(session, "{error}");
        }
    }
}

/// Calls the store. An operator's command may block on it; while a bot is stopped, no async
/// thread may.
async fn ask_store<T: Send + 'static>(
    ctx: &Context,
    stopped: Option<&StoppedService>,
    ask: impl FnOnce(&Store) -> T + Send + 'static,
) -> T {
    match stopped {
        Some(_) => ctx.with_store(ask).await,
        None => ctx.store.in_place(ask),
    }
}

/// Records that no file of the plan was moved.
fn plan_dropped(store: &Store, id: i64) -> Result<(), StoreError> {
    store.atomic(|| {
        store.audit().planned_are_left(id)?;
        store.runs().forget_name(id)
    })
}

/// A restore that is completely written, before the exchange.
struct PreparedRestore {
    folder: Arc<LockedFolder>,
    quarantine: OwnedFd,
    slot: OwnedFd,
    name: String,
    /// The file to replace.
    current: Option<Stamp>,
    restored: Restored,
}

#[allow(clippy::too_many_arguments)]
fn prepare(
    ctx: &Context,
    records: &BlockingStore<'_>,
    id: i64,
    folder: &Arc<LockedFolder>,
    found: &Found,
    inventory: &Inventory,
    run: &QuarantineName,
    version: Option<u64>,
    force: bool,
) -> Result<PreparedRestore, RunError> {
    let io = |what: String| RunError::from(Obstacle::Io(what));
    let session = found.session.as_str();
    let store = CopyStore::new(&ctx.settings.state_path);
    let all = store
        .copies(session)
        .map_err(|error| io(error.to_string()))?;
    let by_default = default_copy(&all).cloned();
    let copies: Vec<Copy> = all.into_iter().filter_map(|(_, copy)| copy).collect();
    let copy = match version {
        None => by_default.as_ref(),
        Some(number) => copies.iter().find(|copy| copy.entry.number == number),
    };
    let copy = copy
        .ok_or_else(|| io("this copy no longer exists or is damaged; see `creds list`".into()))?;

    let current = current_creds(folder.fd())?;
    let present = present(inventory, current.as_ref());
    if !force {
        let last = by_default.as_ref().map(Copy::known);
        may_restore(present, &copy.known(), last.as_ref())?;
        // All copies of the identity that was seen last are damaged.
        if last.is_none() && matches!(present, Present::Unusable | Present::NotLoggedIn) {
            return Err(RunError::Restore(RestoreRefusal::OtherIdentity));
        }
    }
    let present_bytes = current
        .as_ref()
        .and_then(|current| current.bytes.as_deref());
    let batch = Batches::of(inventory, limits_of(&ctx.settings, &found.session).batch).guard;
    let least = least_counter(folder, inventory, present_bytes, copy, &copies, batch)?;
    let (bytes, raised) = raise_counters(&copy.bytes, least)
        .map_err(|_| io("failed to raise the counters of this copy; choose another copy".into()))?;
    // Only the counters may differ.
    let same = insurable(&bytes).is_some_and(|facts| {
        let mut wanted = copy.facts.clone();
        wanted.next_pre_key_id = raised;
        wanted.facts.next_pre_key_id = Some(raised);
        facts == wanted
    });
    if !same {
        return Err(io(
            "failed to raise the counters of this copy; choose another copy".into(),
        ));
    }
    if present_bytes == Some(bytes.as_slice()) {
        return Err(RunError::Restore(RestoreRefusal::Newer));
    }
    // Keep a copy of a valid file before replacing it, so that the restore can be undone.
    if let (Some(current), Some(facts)) = (&current, present_bytes.and_then(insurable))
        && let Some(bytes) = &current.bytes
    {
        let keep = ctx.settings.insurance.keep;
        let added = store.add(
            session,
            bytes,
            &facts,
            current.stamp.modified,
            ctx.now(),
            &keep,
        );
        match added {
            Ok(_) => {}
            // The operator has decided, and the quarantine keeps the file itself.
            Err(error) if force => {
                tracing::warn!(
                    session,
                    "failed to copy the creds.json that is replaced; it is kept in the quarantine only: {error}"
                );
            }
            Err(error) => return Err(io(error.to_string())),
        }
    }
    let owner = match &current {
        Some(current) if matches!(current.shape, Shape::Regular | Shape::HardLinked) => {
            current.owner
        }
        _ => usual_owner(folder.fd())?,
    };

    // Record the plan before writing any file, so that recovery after a crash knows the run.
    let out: Vec<FileRecord> = current
        .iter()
        .map(|current| creds_record(&current.stamp, Fate::Planned))
        .collect();
    records
        .lock()
        .audit()
        .set_plan(id, run.as_str(), &[], &out)?;
    let quarantine = folder
        .quarantine(true)?
        .ok_or_else(|| io("no quarantine".into()))?;
    let name = format!("{PREFIX}{run}");
    let slot = make_dir(quarantine.as_fd(), &name, true)?;
    let prepared = PreparedRestore {
        folder: Arc::clone(folder),
        quarantine,
        slot,
        name,
        current: current.map(|current| current.stamp),
        restored: Restored {
            copy: copy.entry.number,
            counters: (copy.facts.next_pre_key_id, raised),
            replaced: false,
        },
    };
    let record = |inode| RestoreRecord {
        version: 1,
        at_ns: ctx.now().nanos(),
        copy: copy.entry.number,
        content: format!("{:016x}", xxh3_64(&bytes)),
        inode: Some(inode),
    };
    let written = write_new(
        prepared.slot.as_fd(),
        NEW,
        &bytes,
        owner,
        copy.entry.written,
    )
    .and_then(|inode| write_record(prepared.slot.as_fd(), RECORD, &record(inode)))
    .and_then(|()| sync(&[prepared.quarantine.as_fd()]));
    if let Err(error) = written {
        let _ = prepared.cancel();
        plan_dropped(&records.lock(), id)?;
        return Err(error.into());
    }
    Ok(prepared)
}

fn current_creds(folder: BorrowedFd<'_>) -> Result<Option<CurrentCreds>, Obstacle> {
    let name = OsStr::new(CREDS);
    let failed = |error: &std::io::Error| obstacle_io("looking at creds.json", error);
    let Some((shape, stamp)) = stat(folder, name).map_err(|e| failed(&e))? else {
        return Ok(None);
    };
    let bytes = read_plain_file(folder, name, MAX_CREDS_BYTES).ok();
    Ok(Some(CurrentCreds {
        shape,
        stamp,
        owner: owner_of(folder, name)?,
        bytes,
    }))
}

fn owner_of(folder: BorrowedFd<'_>, name: &OsStr) -> Result<FileOwner, Obstacle> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| obstacle("looking at the owner of a file", e))?;
    Ok((stat.st_uid, stat.st_gid, stat.st_mode & 0o777))
}

/// Owner and mode of most files in the folder; without files, the folder's owner and 0600.
fn usual_owner(folder: BorrowedFd<'_>) -> Result<FileOwner, Obstacle> {
    let doing = "looking at the owners of the files";
    let mut counts: HashMap<FileOwner, usize> = HashMap::new();
    for entry in Dir::read_from(folder).map_err(|e| obstacle(doing, e))? {
        let entry = entry.map_err(|e| obstacle(doing, e))?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        let is_file =
            stat(folder, name).is_ok_and(|found| matches!(found, Some((Shape::Regular, _))));
        if is_file && let Ok(owner) = owner_of(folder, name) {
            *counts.entry(owner).or_default() += 1;
        }
    }
    if let Some((owner, _)) = counts
        .into_iter()
        .max_by_key(|(owner, count)| (*count, *owner))
    {
        return Ok(owner);
    }
    let stat =
        rustix::fs::fstat(folder).map_err(|e| obstacle("looking at the owner of the folder", e))?;
    Ok((stat.st_uid, stat.st_gid, 0o600))
}

fn present(inventory: &Inventory, current: Option<&CurrentCreds>) -> Present {
    // The scan has read the file several times. The later read counts only if it is complete.
    let facts = current.and_then(|current| Some((current, insurable(current.bytes.as_deref()?)?)));
    match (&inventory.creds, facts) {
        (_, Some((current, facts))) => Present::LoggedIn(Known {
            identity: facts.identity,
            registration_id: facts.registration_id,
            next_pre_key_id: facts.next_pre_key_id,
            written: current.stamp.modified,
        }),
        (Creds::Valid(facts), None) if facts.logged_in => Present::LoggedInUnknown,
        (Creds::Valid(_), None) => Present::NotLoggedIn,
        (Creds::Unreadable(_), None) => Present::Unreadable,
        (Creds::Missing | Creds::Broken(_), None) => Present::Unusable,
    }
}

/// The lowest allowed value of both counters: above every pre-key in the folder and in its
/// quarantine, and not below the counters of the present file or of another copy of the
/// identity, because ids that were minted, uploaded and used up leave no file.
///
/// If the present file does not show its counter, the newest batch may have been minted,
/// uploaded and used up since the newest copy. Then the result skips a whole batch: the
/// library mints its next keys above the gap and never needs the ids in it. One batch is
/// enough, because the library uploads a new batch only when few keys of the last one are
/// left. The skipped batch is a large one only if there is a sign of large batches, such as
/// a counter above 812. Always skipping a large one would create that sign itself, and a
/// classic folder would count as ambiguous from then on.
fn least_counter(
    folder: &LockedFolder,
    inventory: &Inventory,
    present: Option<&[u8]>,
    copy: &Copy,
    copies: &[Copy],
    batch: u32,
) -> Result<u32, Obstacle> {
    let mut least = 0;
    let mut above = |name: &[u8]| {
        let parts = parse_name(name);
        if parts.kind == Kind::PreKey
            && let Some(id) = pre_key_id(parts.id).filter(|id| *id <= MAX_PRE_KEY_ID)
        {
            least = least.max(id + 1);
        }
    };
    for file in inventory.files() {
        above(file.name.as_bytes());
    }
    if let Some(quarantine) = folder.quarantine(false)? {
        let doing = "looking for pre-keys in the quarantine";
        for entry in Dir::read_from(&quarantine).map_err(|e| obstacle(doing, e))? {
            let entry = entry.map_err(|e| obstacle(doing, e))?;
            let Some(run) = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(QuarantineName::parse)
            else {
                continue;
            };
            let files = open_beneath(quarantine.as_fd(), run.as_str())
                .and_then(|dir| open_beneath(dir.as_fd(), "files"));
            let Ok(files) = files else { continue };
            for file in Dir::read_from(&files).map_err(|e| obstacle(doing, e))? {
                above(file.map_err(|e| obstacle(doing, e))?.file_name().to_bytes());
            }
        }
    }
    let same = copies
        .iter()
        .filter(|other| other.facts.identity == copy.facts.identity);
    let mentioned = same
        .map(|other| other.bytes.as_slice())
        .chain(present)
        .filter_map(highest_counter);
    let least = mentioned.fold(least, u32::max);
    let batch = if least > MODERN_BATCH {
        MODERN_BATCH
    } else {
        batch.max(CLASSIC_BATCH)
    };
    let margin = if shows_counter(present, copy, copies) {
        0
    } else {
        batch
    };
    Ok(least
        .saturating_add(margin)
        .min(least.max(MAX_PRE_KEY_ID + 1)))
}

/// Whether the present file, complete or torn, shows the counters of this identity.
fn shows_counter(present: Option<&[u8]>, copy: &Copy, copies: &[Copy]) -> bool {
    let Some(present) = present else { return false };
    if let Some(facts) = insurable(present) {
        return facts.identity == copy.facts.identity;
    }
    // A new identity counts from 1, torn or not. A number at the end of a torn file may be cut.
    let same = copies
        .iter()
        .filter(|other| other.facts.identity == copy.facts.identity);
    let known = same.filter_map(|other| highest_counter(&other.bytes)).max();
    let is_cut = present.last().is_some_and(u8::is_ascii_digit);
    parse_creds(present).is_err() && !is_cut && highest_counter(present) >= known.max(Some(0))
}

/// The error of a failed chown; only root may give a file to another user, and only its owner to
/// one of their groups.
fn chown_failed(errno: Errno, (user, group, _): FileOwner) -> Obstacle {
    let doing = "restoring owner and group of creds.json";
    match errno {
        Errno::PERM | Errno::ACCESS => Obstacle::Io(format!(
            "{doing}: not permitted; it belongs to user {user} and group {group}. Run `serve` as that user; for one restore run it as root (sudo baileys_remediator creds restore …), or as that user if it may use the state directory (sudo -u '#{user}' baileys_remediator creds restore …)"
        )),
        errno => obstacle(doing, errno),
    }
}

/// Writes a file with the given owner, mode and modification time. Returns its inode.
fn write_new(
    slot: BorrowedFd<'_>,
    name: &str,
    bytes: &[u8],
    owner @ (user, group, mode): FileOwner,
    written: Timestamp,
) -> Result<u64, Obstacle> {
    let doing = "writing the new creds.json";
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(slot, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|e| obstacle(doing, e))?;
    let now = rustix::fs::fstat(&fd).map_err(|e| obstacle(doing, e))?;
    if (now.st_uid, now.st_gid) != (user, group) {
        rustix::fs::fchown(&fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
            .map_err(|errno| chown_failed(errno, owner))?;
    }
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).map_err(|e| obstacle(doing, e))?;
    let mut file = std::fs::File::from(fd);
    // Keep the old modification time, so that the folder does not look active.
    file.write_all(bytes)
        .and_then(|()| set_modified(file.as_fd(), written))
        .and_then(|()| file.sync_all())
        .map_err(|error| obstacle_io(doing, &error))?;
    sync(&[slot])?;
    Ok(now.st_ino)
}

impl PreparedRestore {
    /// Removes all files of this restore; creds.json is untouched.
    fn cancel(self) -> Result<(), Obstacle> {
        remove(self.quarantine.as_fd(), self.slot.as_fd(), &self.name)
    }

    fn exchange(mut self) -> Result<(Restored, Vec<FileRecord>), RunError> {
        let (slot, folder) = (self.slot.as_fd(), self.folder.fd());
        let doing = "putting creds.json back";
        let swap = |flags| rustix::fs::renameat_with(slot, NEW, folder, CREDS, flags);
        let stamp_of = |at, name: &str| {
            let found =
                stat(at, OsStr::new(name)).map_err(|e| obstacle_io("looking at creds.json", &e));
            found.map(|found| found.map(|(_, stamp)| stamp))
        };
        let is = |found: Option<Stamp>, wanted: Option<Stamp>| match (found, wanted) {
            (Some(found), Some(wanted)) => found.same_file(&wanted),
            (None, None) => true,
            _ => false,
        };
        let Some(_moving) = self.folder.permit() else {
            complete(self.quarantine.as_fd(), &self.name)?;
            return Err(aborted().into());
        };
        let mut swapped = Ok(());
        let mut changed = !is(stamp_of(folder, CREDS)?, self.current);
        if !changed {
            match self.current {
                None => swapped = swap(RenameFlags::NOREPLACE),
                Some(_) => {
                    swapped = swap(RenameFlags::EXCHANGE);
                    // Another file took this name between the check and the exchange.
                    if swapped.is_ok() && !is(stamp_of(slot, NEW)?, self.current) {
                        swap(RenameFlags::EXCHANGE).map_err(|e| obstacle(doing, e))?;
                        changed = true;
                    }
                }
            }
        }
        if matches!(swapped, Err(Errno::EXIST | Errno::NOENT)) {
            changed = true;
        }
        if changed || swapped.is_err() {
            sync(&[slot, folder])?;
            complete(self.quarantine.as_fd(), &self.name)?;
            return Err(match swapped {
                Err(error) if !changed => obstacle(doing, error).into(),
                _ => RunError::Changed(0),
            });
        }
        sync(&[slot, folder])?;
        self.restored.replaced = self.current.is_some();
        complete(self.quarantine.as_fd(), &self.name)?;
        let files = exchanged(slot, folder);
        Ok((self.restored, files))
    }
}

#[cfg(test)]
mod tests;
