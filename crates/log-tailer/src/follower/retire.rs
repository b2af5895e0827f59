//! Retires files that no longer grow, and resumes them if they do.

use std::time::{Duration, SystemTime};

use super::{Follower, before, until};
use crate::checkpoint::FileState;
use crate::content::has_content_of;
use crate::file::{FileId, is_compressed};
use crate::lines::Consumer;
use crate::watcher::Taken;

/// When a renamed or deleted file has not grown for this long, its last line is passed on even
/// without a newline. If it is deleted, it is retired.
pub(super) const LAST_LINE_AFTER: Duration = Duration::from_secs(10);
/// A renamed file is read for this long after its last growth, because a process that did not
/// reopen its log still writes to it.
const WATCHED_ON: Duration = Duration::from_secs(26 * 3_600);
/// Files that were read to the end are remembered for this long after they were last seen.
pub(super) const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);
/// How often to check whether they grew after all.
pub(super) const RETIRED_LOOK: Duration = Duration::from_secs(60);
/// How often to save that they were seen.
const SEEN_NOTED: Duration = Duration::from_secs(86_400);

impl<C: Consumer> Follower<C> {
    /// Retires files that no longer grow.
    pub(super) fn retire(&mut self, now: SystemTime) {
        for row in self.files.rows(|file| file.is_live() && file.renamed) {
            let Some(file) = self.files.get_mut(row) else {
                continue;
            };
            // By the file's own time, which survives a restart.
            let quiet = file
                .seen
                .map_or(Duration::ZERO, |seen| until(seen.modified, now));
            if quiet < LAST_LINE_AFTER || file.copy_of.is_some() {
                continue;
            }
            if file.read_to > file.checkpoint.offset && !file.checkpoint.skipping {
                let mut taken = Taken::default();
                file.take_last_line(&mut self.consumer, &self.clock, &mut taken);
                self.statistics.overlong += taken.overlong;
            }
            let unlinked = file.seen.is_some_and(|seen| seen.links == 0);
            let all_read = file.seen.is_some_and(|seen| seen.size <= file.read_to);
            if all_read && (unlinked || quiet >= WATCHED_ON) {
                file.set_state(FileState::Done, now);
                file.file = None;
                if unlinked {
                    self.files.release_id(row);
                }
            }
        }
        let old = before(now, REMEMBERED);
        for row in self
            .files
            .rows(|file| file.checkpoint.state == FileState::Done && file.checkpoint.since < old)
        {
            self.files.remove(row);
        }
    }

    /// Resumes retired files that grew and are still beside their log: a process that never
    /// reopened its log may write again after days.
    pub(super) fn wake_retired(&mut self, now: SystemTime) {
        if self
            .looked_at_retired
            .is_some_and(|at| self.clock.since(at) < RETIRED_LOOK)
        {
            return;
        }
        self.looked_at_retired = Some(self.clock.now());
        let mut index = self.rotation_index();
        // The size of a compressed copy says nothing about its offset.
        for row in self.files.rows(|file| {
            file.checkpoint.state == FileState::Done
                && file.checkpoint.id != FileId::NONE
                && !is_compressed(&file.checkpoint.path)
        }) {
            let is_its_own = |id| self.files.row_of(id) == Some(row);
            let Some(file) = self.files.get(row).filter(|f| is_its_own(f.checkpoint.id)) else {
                continue;
            };
            let Ok(rotations) = index.rotations(&file.checkpoint.origin) else {
                continue;
            };
            let is_it = |id| id == file.checkpoint.id;
            let Some(listed) = rotations.files.iter().find(|l| is_it(l.stat.id)) else {
                continue;
            };
            let grew = listed.stat.size > file.checkpoint.offset
                && has_content_of(listed, &file.checkpoint).unwrap_or(false);
            let Some(file) = self.files.get_mut(row) else {
                continue;
            };
            if grew {
                file.checkpoint.state = FileState::Live;
                file.checkpoint.path.clone_from(&listed.path);
                file.renamed = true;
                file.seen = None;
                file.read_to = file.checkpoint.offset;
                file.dirty = true;
            } else if file.checkpoint.since < before(now, SEEN_NOTED) {
                file.checkpoint.since = now;
                file.dirty = true;
            }
        }
    }
}
