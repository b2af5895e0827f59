//! Lists the files and decides what each one is: known, renamed, or new.

use std::collections::HashSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use memchr::memrchr;

use super::{Begin, Follower, UNFINISHED_FOR};
use crate::checkpoint::{Checkpoint, FileState};
use crate::content::{cursor_at_end, has_content_of};
use crate::file::{Listed, Stat, is_compressed, is_gzip, open_log};
use crate::fingerprint::{Fingerprint, content_head_of, head_of};
use crate::lines::Consumer;
use crate::paths::Listing;
use crate::rotation::{RotationIndex, is_rotation_of};
use crate::watcher::Look;

/// The result of a listing.
#[derive(Debug)]
pub(super) struct Found {
    /// Unknown files. `true`: begin at the end.
    pub(super) fresh: Vec<(Listed, bool)>,
    /// Paths whose file could not be identified, because it was renamed meanwhile or cannot be
    /// read.
    pub(super) unclear: Vec<PathBuf>,
    /// Globs that were listed for the first time.
    pub(super) first_asked: Vec<String>,
}

/// A file that is not open is gone if this many looks in a row did not find it.
pub(super) const MISSED_OFTEN: u32 = 3;

impl<C: Consumer> Follower<C> {
    /// Lists the globs and updates the known files.
    pub(super) fn list(&mut self) -> Found {
        let now = self.clock.wall();
        let files = &self.files;
        let Listing {
            mut found,
            failed,
            first_asked,
        } = self.paths.list(|listed| {
            files
                .by_id(listed.stat.id)
                .is_some_and(|file| file.checkpoint.path == listed.path)
        });
        self.statistics.read_errors += failed.len() as u64;
        self.problems.extend(
            failed
                .into_iter()
                .map(|(path, error)| format!("{}: {error}", path.display())),
        );
        for file in self.files.iter_mut() {
            file.listed = false;
        }
        found.retain(|id, (listed, _)| {
            let wanted = self.consumer.is_wanted(listed);
            if !wanted
                && let Some(row) = self.files.row_of(*id)
                && let Some(file) = self.files.get_mut(row)
                && file.is_live()
            {
                file.set_state(FileState::Done, now);
                file.file = None;
            }
            wanted
        });
        let mut logs = found.values().map(|(listed, _)| listed.path.as_path());
        self.consumer.listed(&mut logs);
        let (mut fresh, mut unclear) = (Vec::new(), Vec::new());
        for (id, (listed, at_end)) in found {
            let is_certain = self.files.detach_recycled(&listed, now);
            let row = self
                .files
                .row_of(id)
                .or_else(|| self.files.renumber(&listed));
            let Some(row) = row else {
                fresh.push((listed, at_end));
                continue;
            };
            let Some(file) = self.files.get_mut(row) else {
                continue;
            };
            file.missed = 0;
            if !is_certain {
                // It exists under some name. The next look decides.
                file.listed = true;
                unclear.push(listed.path);
                continue;
            }
            if !file.is_live() {
                let same = match file.checkpoint.state {
                    FileState::Orphan => has_content_of(&listed, &file.checkpoint),
                    _ => head_of(&listed).map(|head| file.checkpoint.head.begins(&head)),
                };
                let Ok(same) = same else {
                    unclear.push(listed.path);
                    continue;
                };
                if !same {
                    self.files.detach(row, now);
                    fresh.push((listed, at_end));
                    continue;
                }
                file.checkpoint.state = FileState::Live;
                file.dirty = true;
            }
            file.listed = true;
            file.renamed = false;
            if file.checkpoint.path != listed.path {
                file.checkpoint.path = listed.path;
                file.dirty = true;
            }
        }
        // A log before its rotations, older files before newer ones.
        fresh.sort_by(|(a, _), (b, _)| {
            let key = |listed: &Listed| (listed.path.as_os_str().len(), listed.stat.modified);
            key(a).cmp(&key(b))
        });
        Found {
            fresh,
            unclear,
            first_asked,
        }
    }

    /// Marks the files whose name belongs to another file now. Returns those that lost it in this
    /// sweep.
    pub(super) fn find_renamed(&mut self) -> Vec<i64> {
        let now = self.clock.wall();
        let (mut lost, mut index) = (Vec::new(), self.rotation_index());
        for row in self.files.rows(|file| file.is_live() && !file.listed) {
            let Some(file) = self.files.get_mut(row) else {
                continue;
            };
            if file.renamed && (file.file.is_some() || file.is_at_its_path()) {
                continue;
            }
            let (path, origin) = (&file.checkpoint.path, &file.checkpoint.origin);
            if !self.paths.matches(path) && !self.paths.matches(origin) {
                // No glob matches it any more.
                file.set_state(FileState::Done, now);
                file.file = None;
                continue;
            }
            // A file that cannot be read is not gone: a mount may be late, or a permission missing.
            if file.file.is_some() {
                file.renamed = true;
                lost.push(row);
                continue;
            }
            let Ok(rotations) = index.rotations(origin) else {
                continue;
            };
            // After a restart: find it under its new name.
            let (id, head) = (file.checkpoint.id, file.checkpoint.head);
            let same = |listed: &&Listed| {
                listed.stat.id == id && head_of(listed).is_ok_and(|bytes| head.begins(&bytes))
            };
            let itself = origin.metadata().ok().map(|meta| Listed {
                stat: Stat::from(&meta),
                path: origin.clone(),
            });
            let found = rotations
                .files
                .iter()
                .chain(itself.as_ref())
                .find(same)
                .map(|listed| listed.path.clone());
            if file.missed == 0 {
                lost.push(row);
            }
            match found {
                Some(path) => {
                    file.renamed = true;
                    file.missed = 0;
                    file.checkpoint.path = path;
                    file.dirty = true;
                }
                // A listing may miss files that are renamed meanwhile.
                None if !rotations.complete => {}
                None if file.missed + 1 < MISSED_OFTEN => file.missed += 1,
                None => {
                    // A copy may hold its bytes, perhaps compressed, or it may come back.
                    file.renamed = true;
                    lost.push(row);
                    file.set_state(FileState::Orphan, now);
                }
            }
        }
        self.rotated |= !lost.is_empty();
        lost
    }

    /// Begins to follow an unknown file. Returns whether it has more data than one turn reads.
    pub(super) fn adopt(
        &mut self,
        listed: Listed,
        begin: Begin,
        index: &mut RotationIndex,
    ) -> bool {
        // It may have been found as a copy of another file meanwhile.
        if self.files.row_of(listed.stat.id).is_some() {
            return false;
        }
        let (log, origin) = self.log_of(&listed.path);
        let origin = origin.unwrap_or_else(|| listed.path.clone());
        let mut known = self.fresh_checkpoint(&listed, origin);
        let file = match open_log(&known.path) {
            Ok(file) => file,
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    self.unfinished.insert(known.origin);
                } else {
                    self.statistics.read_errors += 1;
                    self.problems
                        .push(format!("{}: {error}", known.path.display()));
                    if begin == Begin::End {
                        self.paths.note_unreadable(known.path);
                    }
                }
                return false;
            }
        };
        self.paths.note_readable(&known.path);
        if !file
            .metadata()
            .is_ok_and(|meta| Stat::from(&meta).id == known.id)
        {
            // It was rotated after it was listed, perhaps also after its rotations were listed. The
            // next look must not treat it as old.
            self.unfinished.insert(known.origin);
            return false;
        }
        let copy = match begin {
            Begin::End => None,
            Begin::Start | Begin::EndIfOld => self.known_copy(&known, &file, log),
        };
        // A copy may hold what is unread of its log.
        let log_is_read = || {
            let log = log.and_then(|row| self.files.get(row));
            log.is_none_or(|log| log.seen.is_some_and(|seen| seen.size <= log.read_to))
        };
        let is_old =
            || begin == Begin::EndIfOld && self.is_old(listed.stat.modified) && log_is_read();
        if begin == Begin::End || copy.is_none() && is_old() {
            match cursor_at_end(&file) {
                Ok((cursor, head)) => {
                    known.offset = cursor.offset;
                    known.skipping = cursor.skipping;
                    known.tail = cursor.tail;
                    known.head = head;
                }
                Err(error) => {
                    self.problems
                        .push(format!("{}: {error}", known.path.display()));
                    return false;
                }
            }
            let row = self.files.add_open(known, file, self.clock.now());
            return self.look_beside(row, index) == Look::More;
        }
        if let Some((row, cursor)) = copy {
            known.offset = cursor.offset;
            known.skipping = cursor.skipping;
            known.tail = cursor.tail;
            let orphan = |row| self.files.get(row).map(|file| file.checkpoint.state);
            if orphan(row) == Some(FileState::Orphan) {
                // These are the orphan's bytes, so nothing is lost.
                self.statistics.copies_found += 1;
                self.files.remove(row);
            }
        }
        let row = self.files.add_open(known, file, self.clock.now());
        self.rotated = true;
        if let (Some(log), Some(file)) = (log, self.files.get_mut(row))
            && file.checkpoint.offset == 0
        {
            file.copy_of = Some(log);
            return false;
        }
        self.look_beside(row, index) == Look::More
    }

    /// The checkpoint of a file that was not read yet.
    fn fresh_checkpoint(&self, listed: &Listed, origin: PathBuf) -> Checkpoint {
        Checkpoint {
            state: FileState::Live,
            id: listed.stat.id,
            path: listed.path.clone(),
            origin,
            offset: 0,
            skipping: false,
            head: Fingerprint::default(),
            tail: Fingerprint::default(),
            since: self.clock.wall(),
        }
    }

    /// Logs that had a file a short time ago and have none now. Between two looks that find none,
    /// generations may have been created and deleted.
    pub(super) fn logs_without_a_file(&self) -> Vec<PathBuf> {
        let live = self.files.live();
        let present: HashSet<&Path> = live
            .filter(|file| file.is_log() && file.listed)
            .map(|file| file.checkpoint.origin.as_path())
            .collect();
        let files = self.files.iter().map(|(_, file)| file);
        files
            .filter(|file| {
                file.checkpoint.state != FileState::Done
                    && !present.contains(file.checkpoint.origin.as_path())
                    && self.clock.since(file.grew_at) < UNFINISHED_FOR
            })
            .map(|file| file.checkpoint.origin.clone())
            .collect()
    }

    /// The log that a path is, or whose rotation it is by its name.
    pub(super) fn origin_of(&self, path: &Path) -> PathBuf {
        let (_, origin) = self.log_of(path);
        origin.unwrap_or_else(|| path.to_owned())
    }

    /// The log whose rotation a path is by its name: its row if it is followed now, and its path.
    fn log_of(&self, path: &Path) -> (Option<i64>, Option<PathBuf>) {
        let Some(name) = path.file_name() else {
            return (None, None);
        };
        let name = name.to_string_lossy();
        let mut best: (Option<i64>, Option<PathBuf>) = (None, None);
        for (row, other) in self.files.iter() {
            let origin = &other.checkpoint.origin;
            if !path
                .as_os_str()
                .as_bytes()
                .starts_with(without_extension(origin))
            {
                continue;
            }
            if origin.parent() != path.parent()
                || !origin
                    .file_name()
                    .is_some_and(|of| is_rotation_of(&name, &of.to_string_lossy()))
                || self.consumer.is_of_another(path, origin)
            {
                continue;
            }
            best.1 = Some(origin.clone());
            if other.is_log() {
                best.0 = Some(row);
            }
        }
        best
    }

    /// Reads what a rotation made beside a log since the last look, even if no glob matches it:
    /// copies of the orphan `row`, and generations between two looks.
    pub(super) fn adopt_unseen(&mut self, row: i64, index: &mut RotationIndex) {
        let Some(origin) = self
            .files
            .get(row)
            .map(|file| file.checkpoint.origin.clone())
        else {
            return;
        };
        self.find_copy(row, index);
        self.adopt_beside(&origin, index);
    }

    /// Reads the generations of the log `origin` that were created and rotated since the last look.
    pub(super) fn adopt_beside(&mut self, origin: &Path, index: &mut RotationIndex) {
        if self.looked_at.is_none() {
            return;
        }
        let rotations = match index.rotations(origin) {
            Ok(rotations) => rotations.clone(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.problems.push(format!("{}: {error}", origin.display()));
                }
                return;
            }
        };
        if !rotations.complete {
            // The next look must not treat a missed file as old.
            self.unfinished.insert(origin.to_owned());
        }
        for listed in rotations.files {
            if self.consumer.is_of_another(&listed.path, origin) {
                continue;
            }
            if !self.files.detach_recycled(&listed, self.clock.wall()) {
                self.unfinished.insert(origin.to_owned());
                continue;
            }
            if self.files.row_of(listed.stat.id).is_some()
                || !self.is_written_since_last_look(listed.stat.modified)
            {
                continue;
            }
            if self.paths.matches(&listed.path) && !is_compressed(&listed.path) {
                // It is listed like any other file.
                continue;
            }
            // Not new if it is a copy of a file that is followed, read or searched for. An
            // incomplete copy is found when it is complete.
            let head = content_head_of(&listed)
                .ok()
                .filter(|head| !head.is_empty());
            match head.and_then(|head| self.is_known_content(&listed, &head, origin)) {
                Some(false) => {}
                Some(true) => continue,
                None => {
                    self.unfinished.insert(origin.to_owned());
                    continue;
                }
            }
            let known = self.fresh_checkpoint(&listed, origin.to_owned());
            self.rotated = true;
            if is_gzip(&listed.path) {
                self.take_copy(&listed, &known);
            } else if !is_compressed(&listed.path) {
                let row = self.files.add(known, self.clock.now());
                if let Some(file) = self.files.get_mut(row) {
                    file.renamed = true;
                }
                self.look_beside(row, index);
            }
        }
    }
}

/// The path up to the last dot of the file name.
fn without_extension(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    let name = memrchr(b'/', bytes).map_or(0, |slash| slash + 1);
    &bytes[..memrchr(b'.', &bytes[name..]).map_or(bytes.len(), |dot| name + dot)]
}
