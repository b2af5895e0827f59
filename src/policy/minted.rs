//! Which pre-keys were minted together: Baileys writes each file once, so the files of one
//! batch have ids that follow each other, and nearly one time.

use std::ops::Range;
use std::time::Duration;

use crate::folder::Timestamp;

/// Pre-keys a bot mints at login up to Baileys 7.0.0-rc.5.
pub const CLASSIC_BATCH: u32 = 30;
/// Pre-keys a bot mints at login from Baileys 7.0.0-rc.6 on.
pub const MODERN_BATCH: u32 = 812;

/// Files of one batch are written within this span.
const WITHIN: Duration = Duration::from_secs(120);

/// A pre-key.
#[derive(Clone, Copy, Debug)]
pub struct Minted {
    /// Its id; no two are the same.
    pub id: u32,
    /// The earliest modification time of its files.
    pub first: Timestamp,
    /// The latest modification time of its files.
    pub last: Timestamp,
}

/// Pre-keys that were minted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MintedGroup {
    /// How many there are.
    pub keys: usize,
    /// The earliest modification time among them.
    pub since: Timestamp,
    /// How many other keys were written within the same 2 minutes.
    pub others: usize,
}

/// The largest group of pre-keys whose ids lie in a span of [`MODERN_BATCH`] and whose files
/// were all written within 2 minutes; the earliest of several. `None` where there is no key.
///
/// One more key makes it larger by at most one; one more file of a key never makes it larger.
pub fn largest_group(minted: &[Minted]) -> Option<MintedGroup> {
    let mut ids: Vec<u32> = minted.iter().map(|key| key.id).collect();
    ids.sort_unstable();
    let mut by_first: Vec<&Minted> = minted.iter().collect();
    by_first.sort_by_key(|key| key.first);
    let mut by_last = by_first.clone();
    by_last.sort_by_key(|key| key.last);

    // A span of ids starts at each id; the tree counts, for each span, the keys in it that
    // were written within the 2 minutes that start at `since`.
    let mut spans = SegmentTree::new(ids.len());
    let starts = |id: u32| {
        let from = ids.partition_point(|start| *start < id.saturating_sub(MODERN_BATCH - 1));
        let to = ids.partition_point(|start| *start <= id);
        from..to
    };
    let mut best: Option<MintedGroup> = None;
    let (mut enter, mut leave) = (by_last.iter().peekable(), by_first.iter().peekable());
    for since in by_first.iter().map(|key| key.first) {
        let until = since.plus(WITHIN);
        while let Some(key) = enter.next_if(|key| key.last <= until) {
            // One that started earlier has left already, or was never within 2 minutes.
            if key.first >= since {
                spans.add(starts(key.id), 1);
            }
        }
        let keys = spans.largest();
        if keys > 0 && best.is_none_or(|best| keys as usize > best.keys) {
            best = Some(MintedGroup {
                keys: keys as usize,
                since,
                others: 0,
            });
        }
        // Those that start here do not fit into a window that starts later.
        while let Some(key) = leave.next_if(|key| key.first <= since) {
            if key.last <= until {
                spans.add(starts(key.id), -1);
            }
        }
    }
    let mut best = best?;
    let until = best.since.plus(WITHIN);
    let within = minted
        .iter()
        .filter(|key| key.first >= best.since && key.last <= until);
    best.others = within.count().saturating_sub(best.keys);
    Some(best)
}

/// A segment tree of counts: adds to a range, returns the largest.
/// Node 1 is the root; a node's largest holds for its whole subtree.
struct SegmentTree {
    places: usize,
    added: Vec<i64>,
    largest: Vec<i64>,
}

impl SegmentTree {
    fn new(places: usize) -> Self {
        let nodes = 2 * places.next_power_of_two();
        Self {
            places: nodes / 2,
            added: vec![0; nodes],
            largest: vec![0; nodes],
        }
    }

    fn largest(&self) -> i64 {
        self.largest.get(1).copied().unwrap_or(0)
    }

    fn add(&mut self, range: Range<usize>, number: i64) {
        self.add_below(1, 0..self.places, &range, number);
    }

    fn add_below(&mut self, node: usize, covers: Range<usize>, range: &Range<usize>, number: i64) {
        if range.end <= covers.start || covers.end <= range.start {
            return;
        }
        if range.start <= covers.start && covers.end <= range.end {
            self.added[node] += number;
            self.largest[node] += number;
            return;
        }
        let middle = covers.start.midpoint(covers.end);
        self.add_below(2 * node, covers.start..middle, range, number);
        self.add_below(2 * node + 1, middle..covers.end, range, number);
        let below = self.largest[2 * node].max(self.largest[2 * node + 1]);
        self.largest[node] = self.added[node] + below;
    }
}

#[cfg(test)]
mod tests;
