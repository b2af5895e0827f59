//! What a walk leaves out, and the sentence that says why.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::folder::SessionName;
use crate::folder::scan::FolderPath;

use super::super::found::{SkipReason, Skipped, explain};
use super::super::look::{Above, Depth, Nature, children, place_without_a_look};
use super::super::source::{is_of_copies, is_plain};
use super::{Deeper, Walk};

impl Walk<'_> {
    /// Looks for auth folders below the second level, if it is to be explained.
    pub(super) fn look_deeper(&mut self, route: &Path, is_folder: bool) {
        if !self.explains || route.ends_with("node_modules") || route.ends_with(".git") {
            return;
        }
        let (looker, own, limit) = (self.looker.clone(), route.to_owned(), self.left_to_explain);
        let looked = self.round.run(&route.join("*"), move || {
            let mut below = children(&own).unwrap_or_default();
            below.retain(|child| !child.is_link);
            below.truncate(limit);
            let count = below.len();
            let all = below.into_iter().map(|child| own.join(child.name));
            let is_one = |route: &PathBuf| {
                let found = looker.at(route, Depth::Itself, Above::Canonical);
                found.is_ok_and(|found| matches!(found.nature, Nature::Folder))
            };
            (count, all.filter(is_one).collect::<Vec<_>>())
        });
        let Ok((count, found)) = looked else { return };
        self.left_to_explain -= count;
        for folder in found {
            if folder
                .file_name()
                .is_some_and(|name| self.filter.excludes(name))
            {
                continue;
            }
            let (Ok(place), Some(root)) = (place_without_a_look(&folder), route.ancestors().nth(2))
            else {
                continue;
            };
            // A glob for the folder that holds it finds those in it as well.
            let (levels, last) = match is_folder {
                true => ("*", route.file_name().unwrap_or_default()),
                false => ("*/*", place.name.as_os_str()),
            };
            let last = if is_plain(last) { last } else { "*".as_ref() };
            let glob = root.join(levels).join(last);
            let glob = (!is_folder || !is_of_copies(&place.name)).then_some(glob);
            self.walked.deeper.push(Deeper { place, glob });
        }
    }

    pub(super) fn wants(
        &mut self,
        parts: &[OsString],
        session: &SessionName,
        place: &FolderPath,
    ) -> bool {
        let wants = self.filter.wants(parts, session);
        if !wants && self.explains {
            self.walked.filtered.push(place.path());
        }
        wants
    }

    /// Notes the auth folders of a directory that is left out, if it is to be explained.
    pub(super) fn note_excluded(&mut self, route: &Path) {
        if !self.explains || self.left_to_explain == 0 {
            return;
        }
        let (looker, own, limit) = (self.looker.clone(), route.to_owned(), self.left_to_explain);
        let looked = self.round.run(route, move || {
            let mut below = children(&own).unwrap_or_default();
            below.truncate(limit);
            let routes = below.into_iter().map(|child| own.join(child.name));
            let all = std::iter::once(own.clone()).chain(routes);
            let looked: Vec<_> = all
                .map(|route| looker.at(&route, Depth::Itself, Above::Any))
                .collect();
            let folders = looked.iter().filter_map(|looked| match looked {
                Ok(found) => matches!(found.nature, Nature::Folder).then(|| found.place.path()),
                Err(_) => None,
            });
            (looked.len(), folders.collect::<Vec<_>>())
        });
        let Ok((count, folders)) = looked else { return };
        self.left_to_explain -= count.min(self.left_to_explain);
        self.walked.filtered.extend(folders);
    }

    pub(super) fn cannot_look(&mut self, route: &Path, error: &io::Error) {
        self.failed.push(route.to_owned());
        // `.cache` or `.ssh`; a hidden auth folder has a plain name.
        let name = route.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".") {
            return;
        }
        let first = || format!("{}: {}", route.display(), explain(error));
        self.unclear.get_or_insert_with(|| (0, first())).0 += 1;
    }

    pub(super) fn pass_over_copy(&mut self, place: &FolderPath) {
        let message = copy_hint(place);
        self.walked.passed_over.push((Some(place.clone()), message));
    }

    pub(super) fn refuse(&mut self, route: &Path, owner: u32, target: &Path) {
        let message = format!(
            "a link on the path {} belongs to another user (uid {owner}) and is not followed; to include its folder add --sessions.path=NAME={}",
            route.display(),
            target.display()
        );
        self.skip(
            SkipReason::LinkRefused,
            message,
            place_without_a_look(target).ok(),
        );
    }

    pub(super) fn skip(&mut self, reason: SkipReason, message: String, place: Option<FolderPath>) {
        self.walked.skipped.push(Skipped {
            reason,
            message,
            session: None,
            place,
        });
    }
}

pub(in crate::folder::discovery) fn copy_hint(place: &FolderPath) -> String {
    let path = place.path();
    let path = path.display();
    format!(
        "{path} is passed over: its name says that it is a copy; if a bot uses it add --sessions.path=NAME={path}"
    )
}
