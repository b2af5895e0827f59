//! All known files, by row and by inode.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::time::{Instant, SystemTime};

use crate::checkpoint::{Changes, Checkpoint, FileState};
use crate::file::{FileId, Listed};
use crate::watcher::FileWatcher;

/// All known files. A row is the number under which a checkpoint is saved.
#[derive(Debug)]
pub(crate) struct FileTable {
    files: BTreeMap<i64, FileWatcher>,
    by_id: HashMap<FileId, i64>,
    next: i64,
    gone: Vec<i64>,
    open_max: usize,
}

impl FileTable {
    /// Loads the saved files. `open_max`: how many descriptors stay open.
    pub(crate) fn new(saved: Vec<(i64, Checkpoint)>, open_max: usize, now: Instant) -> Self {
        let mut this = Self {
            files: BTreeMap::new(),
            by_id: HashMap::new(),
            next: 1,
            gone: Vec::new(),
            open_max,
        };
        for (row, checkpoint) in saved {
            this.next = this.next.max(row + 1);
            let mut file = FileWatcher::new(checkpoint, None, now);
            file.dirty = false;
            this.files.insert(row, file);
        }
        // An inode belongs to the file that is followed, not to one that had it before.
        for state in [FileState::Live, FileState::Done, FileState::Orphan] {
            for (row, file) in &this.files {
                if file.checkpoint.state == state && file.checkpoint.id != FileId::NONE {
                    this.by_id.entry(file.checkpoint.id).or_insert(*row);
                }
            }
        }
        this
    }

    pub(crate) fn get(&self, row: i64) -> Option<&FileWatcher> {
        self.files.get(&row)
    }

    pub(crate) fn get_mut(&mut self, row: i64) -> Option<&mut FileWatcher> {
        self.files.get_mut(&row)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &FileWatcher)> {
        self.files.iter().map(|(row, file)| (*row, file))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut FileWatcher> {
        self.files.values_mut()
    }

    /// The row of this inode.
    pub(crate) fn row_of(&self, id: FileId) -> Option<i64> {
        self.by_id.get(&id).copied()
    }

    /// The file of this inode.
    pub(crate) fn by_id(&self, id: FileId) -> Option<&FileWatcher> {
        self.files.get(self.by_id.get(&id)?)
    }

    pub(crate) fn rows(&self, keep: impl Fn(&FileWatcher) -> bool) -> Vec<i64> {
        self.iter()
            .filter(|(_, file)| keep(file))
            .map(|(row, _)| row)
            .collect()
    }

    /// The files that are followed, including those that may be a copy of another.
    pub(crate) fn live(&self) -> impl Iterator<Item = &FileWatcher> {
        self.files.values().filter(|file| file.is_live())
    }

    /// Whether another descriptor may stay open.
    pub(crate) fn may_open(&self) -> bool {
        let open = self.files.values().filter(|file| file.file.is_some());
        open.count() < self.open_max
    }

    /// Adds a file that is not open; returns its row.
    pub(crate) fn add(&mut self, checkpoint: Checkpoint, now: Instant) -> i64 {
        self.insert(checkpoint, None, now)
    }

    /// Adds a file. Its descriptor stays open if the limit allows that.
    pub(crate) fn add_open(&mut self, checkpoint: Checkpoint, file: File, now: Instant) -> i64 {
        let file = Some(file).filter(|_| self.may_open());
        self.insert(checkpoint, file, now)
    }

    fn insert(&mut self, checkpoint: Checkpoint, file: Option<File>, now: Instant) -> i64 {
        let row = self.next;
        self.next += 1;
        if checkpoint.state != FileState::Orphan && checkpoint.id != FileId::NONE {
            self.by_id.insert(checkpoint.id, row);
        }
        self.files
            .insert(row, FileWatcher::new(checkpoint, file, now));
        row
    }

    pub(crate) fn remove(&mut self, row: i64) {
        if let Some(file) = self.files.remove(&row) {
            if self.by_id.get(&file.checkpoint.id) == Some(&row) {
                self.by_id.remove(&file.checkpoint.id);
            }
            self.gone.push(row);
        }
    }

    /// The file is deleted, so another file may get its inode.
    pub(crate) fn release_id(&mut self, row: i64) {
        if let Some(file) = self.files.get_mut(&row) {
            self.by_id.remove(&file.checkpoint.id);
            file.checkpoint.id = FileId::NONE;
        }
    }

    /// Another file has the inode of `row` now. Keeps the checkpoint without an inode: its bytes
    /// may be in a copy, and a copy of bytes that were read must be recognized.
    pub(crate) fn detach(&mut self, row: i64, now: SystemTime) {
        let Some(file) = self.files.get_mut(&row) else {
            return;
        };
        if self.by_id.get(&file.checkpoint.id) == Some(&row) {
            self.by_id.remove(&file.checkpoint.id);
        }
        if file.copy_of.is_some() {
            // No byte of it was read.
            return self.remove(row);
        }
        file.checkpoint.id = FileId::NONE;
        file.file = None;
        file.dirty = true;
        if file.is_live() {
            file.set_state(FileState::Orphan, now);
        }
    }

    /// Detaches the file of this inode if `head` shows that it is another file now.
    pub(crate) fn detach_other(&mut self, id: FileId, head: &[u8], now: SystemTime) {
        let is_other = self.by_id(id).is_some_and(|file| {
            let known = file.checkpoint.head;
            file.file.is_none() && !(known.len > 0 && known.begins(head))
        });
        if let Some(row) = self.row_of(id).filter(|_| is_other) {
            self.detach(row, now);
        }
    }

    /// A file that is not open may have been deleted, and its inode used for another file. Then
    /// detaches it. Returns whether the identity of the file is certain.
    pub(crate) fn detach_recycled(&mut self, listed: &Listed, now: SystemTime) -> bool {
        let Some((row, file)) = self
            .row_of(listed.stat.id)
            .and_then(|row| Some((row, self.files.get(&row)?)))
        else {
            return true;
        };
        // The next read shows whether it is another file.
        let is_read = file.is_live() && file.checkpoint.path == listed.path;
        if file.file.is_some() || is_read {
            return true;
        }
        match file.is_still(listed) {
            Some(true) => true,
            Some(false) => {
                self.detach(row, now);
                true
            }
            None => false,
        }
    }

    /// The row of a file whose device number changed. Sets the new number.
    pub(crate) fn renumber(&mut self, listed: &Listed) -> Option<i64> {
        let is_same = |(_, file): &(i64, &FileWatcher)| file.is_on_renumbered_device(listed);
        let row = self.iter().find(is_same)?.0;
        let file = self.files.get_mut(&row)?;
        if self.by_id.get(&file.checkpoint.id) == Some(&row) {
            self.by_id.remove(&file.checkpoint.id);
        }
        file.checkpoint.id = listed.stat.id;
        file.dirty = true;
        self.by_id.insert(listed.stat.id, row);
        Some(row)
    }

    /// Adds what must be saved.
    pub(crate) fn changes(&self, changes: &mut Changes) {
        changes.gone.clone_from(&self.gone);
        // After a restart a copy in progress is found again.
        for (row, file) in self.iter().filter(|(_, file)| file.copy_of.is_none()) {
            if file.dirty {
                changes.files.push((row, file.checkpoint.clone()));
            } else if file.moved {
                changes.moved.push((row, file.checkpoint.position()));
            }
        }
    }

    /// The changes were saved.
    pub(crate) fn committed(&mut self) {
        self.gone.clear();
        for file in self.files.values_mut() {
            if file.copy_of.is_none() {
                file.dirty = false;
                file.moved = false;
            }
        }
    }
}
