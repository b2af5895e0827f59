//! The places of open connections, and who gives way while all are taken.
//!
//! First the oldest that was admitted to nothing yet; then the one that has been idle for
//! the longest. A connection whose request is being worked on is left alone.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

/// So long anybody has for a first request, or many honest clients that come at once would
/// push one another out.
const STRANGERS_STAY: Duration = Duration::from_millis(100);
/// So long an answer has to be sent before its connection counts as idle.
const IDLE_STAY: Duration = Duration::from_secs(1);
/// How often is looked for one that gives way.
const TICK: Duration = Duration::from_millis(20);

/// What a connection is to the server, who gives way first coming first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Stranger,
    Idle,
    Busy,
}

pub struct Seats {
    free: Arc<Semaphore>,
    /// Whoever came first is seated first, and one gives way for each.
    turn: tokio::sync::Mutex<()>,
    taken: Mutex<(u64, BTreeMap<u64, Taken>)>,
}

struct Taken {
    began: Instant,
    standing: Standing,
    since: Instant,
    _stays: oneshot::Sender<()>,
}

impl Seats {
    pub fn new(max: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS)));
        Arc::new(Self {
            free,
            turn: tokio::sync::Mutex::default(),
            taken: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Taken>)> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a seat, and makes another connection give its own up where there is none.
    /// The receiver ends when this one has to.
    pub async fn take(self: &Arc<Self>) -> Option<(Seat, oneshot::Receiver<()>)> {
        let _turn = self.turn.lock().await;
        let mut free = pin!(Arc::clone(&self.free).acquire_owned());
        let (mut made_room, mut pause) = (false, Duration::ZERO);
        let permit = loop {
            tokio::select! {
                biased;
                permit = &mut free => break permit.ok()?,
                () = tokio::time::sleep(pause), if !made_room => {
                    made_room = self.send_one_away(Instant::now());
                    pause = TICK;
                }
            }
        };
        let (stays, sent_away) = oneshot::channel();
        let began = Instant::now();
        let mut taken = self.taken();
        let (next, inside) = &mut *taken;
        *next += 1;
        let number = *next;
        inside.insert(
            number,
            Taken {
                began,
                standing: Standing::Stranger,
                since: began,
                _stays: stays,
            },
        );
        let mark = Mark {
            seats: Arc::clone(self),
            number,
        };
        Some((
            Seat {
                mark,
                _permit: permit,
            },
            sent_away,
        ))
    }

    fn send_one_away(&self, now: Instant) -> bool {
        let mut taken = self.taken();
        let first = taken
            .1
            .iter()
            .min_by_key(|(_, seat)| (seat.standing, seat.since));
        let Some((&number, seat)) = first else {
            return false;
        };
        let stays = match seat.standing {
            Standing::Stranger => STRANGERS_STAY,
            Standing::Idle => IDLE_STAY,
            Standing::Busy => return false,
        };
        now.saturating_duration_since(seat.since) >= stays && taken.1.remove(&number).is_some()
    }
}

/// A place, given back when dropped.
pub struct Seat {
    mark: Mark,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    pub fn mark(&self) -> Mark {
        self.mark.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.mark.seats.taken().1.remove(&self.mark.number);
    }
}

/// Where it is noted what the connection of a request is to the server.
#[derive(Clone)]
pub struct Mark {
    seats: Arc<Seats>,
    number: u64,
}

impl Mark {
    fn set(&self, change: impl FnOnce(&mut Taken)) {
        // Who was sent away is not there any more.
        if let Some(seat) = self.seats.taken().1.get_mut(&self.number) {
            change(seat);
        }
    }

    /// A request of it is worked on.
    pub fn busy(&self) {
        self.set(|seat| seat.standing = Standing::Busy);
    }

    /// Its request was refused.
    pub fn refused(&self) {
        self.set(|seat| (seat.standing, seat.since) = (Standing::Stranger, seat.began));
    }

    /// Makes it idle, if it was busy, when the result is dropped.
    #[must_use]
    pub fn working(&self) -> Working {
        Working(self.clone())
    }
}

pub struct Working(Mark);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.set(|seat| {
            if seat.standing == Standing::Busy {
                (seat.standing, seat.since) = (Standing::Idle, Instant::now());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn is_gone(sent_away: &mut oneshot::Receiver<()>) -> bool {
        sent_away.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[tokio::test]
    async fn strangers_go_first_then_the_idle_and_never_the_busy() {
        let seats = Seats::new(4);
        let (busy, mut a) = seats.take().await.unwrap();
        let (idle, mut b) = seats.take().await.unwrap();
        let (refused, mut c) = seats.take().await.unwrap();
        let (_silent, mut d) = seats.take().await.unwrap();
        busy.mark().busy();
        idle.mark().busy();
        drop(idle.mark().working());
        refused.mark().busy();
        refused.mark().refused();
        let began = Instant::now();
        let at = |after: Duration| seats.send_one_away(began + after);
        assert!(!at(STRANGERS_STAY / 2), "it may still ask");
        assert!(
            at(STRANGERS_STAY) && is_gone(&mut c),
            "the oldest of those admitted to nothing"
        );
        assert!(!is_gone(&mut b) && !is_gone(&mut d));
        assert!(at(STRANGERS_STAY) && is_gone(&mut d) && !is_gone(&mut b));
        assert!(!at(STRANGERS_STAY), "an answer is still being sent");
        assert!(at(2 * IDLE_STAY) && is_gone(&mut b));
        assert!(!at(100 * IDLE_STAY) && !is_gone(&mut a));
        // Who was sent away has nothing to change any more.
        refused.mark().busy();
        drop(refused);
        assert_eq!(seats.taken().1.len(), 1);
    }

    #[tokio::test]
    async fn a_seat_that_is_given_back_costs_nobody_another() {
        let seats = Seats::new(2);
        let (first, _a) = seats.take().await.unwrap();
        let (second, mut b) = seats.take().await.unwrap();
        first.mark().busy();
        second.mark().busy();
        let waits = tokio::spawn({
            let seats = Arc::clone(&seats);
            async move { seats.take().await.is_some() }
        });
        tokio::time::sleep(3 * TICK).await;
        assert!(!waits.is_finished());
        drop(first);
        assert!(waits.await.unwrap());
        assert!(!is_gone(&mut b));
    }
}
