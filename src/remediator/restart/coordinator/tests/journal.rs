//! What the tests write to the journal.

use super::*;

impl World {
    /// Queues an emergency of this session.
    pub(super) fn queue(&self, session: &str) {
        let request = Request {
            session: session.into(),
            action: Action::Emergency,
            tier: "emergency".into(),
            fingerprint: "f".into(),
            starts_at: "s".into(),
            via: Via::default(),
        };
        let store = self.coordinator.ctx.store.in_test();
        let accepted = store.queue().accept(&[request], Timestamp::now());
        assert!(matches!(accepted.unwrap()[0], Accepted::Queued(_)));
    }

    /// Runs SQL in the journal, by a connection of its own.
    pub(super) fn sql(&self, text: &str) {
        let state = self.dir.path().join("state");
        let journal = state.join(crate::remediator::store::FILE);
        let journal = rusqlite::Connection::open(journal).unwrap();
        journal.busy_timeout(PATIENCE).unwrap();
        journal.execute_batch(text).unwrap();
    }
}
