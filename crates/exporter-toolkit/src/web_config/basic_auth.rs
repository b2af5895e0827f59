//! Basic authentication: names and passwords against bcrypt hashes.
//!
//! One hash takes a tenth of a second of processor time, and every client may ask for one. So
//! one is computed at a time, in a thread of its own; few requests may wait for it, and very
//! few of one address. A password that was right once is not computed again, so a scraper
//! skips the queue.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use ring::hmac;
use tokio::sync::Semaphore;

/// Above this a single login takes minutes.
const MAX_COST: u32 = 16;
/// Logins that may wait at a time, in all and from one address.
const MAX_WAITING: usize = 32;
const MAX_WAITING_PER_CLIENT: usize = 4;
/// How long a login may wait.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);
/// Passwords known to be right.
const MAX_VERIFIED: usize = 256;
/// Salt and hash of the hash that is computed for users who do not exist.
const DUMMY: &str = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// The configured users.
pub struct Users {
    hashes: BTreeMap<String, (u32, String)>,
    /// That of the costliest hash: every login takes as long, so that the time does not show
    /// which users exist.
    cost: u32,
}

/// The hash that is computed for users who do not exist.
fn dummy_hash(cost: u32) -> String {
    format!("$2y${cost:02}${DUMMY}")
}

impl Users {
    /// Names with the line and text of their hash.
    pub fn new(given: BTreeMap<String, (u64, String)>) -> Result<Self, String> {
        let mut cost = 4;
        let mut hashes = BTreeMap::new();
        for (name, (line, hash)) in given {
            let parts = hash.parse::<bcrypt::HashParts>().map_err(|_| {
                format!(
                    "basic_auth_users, line {line}: not a bcrypt hash; make one with: htpasswd -nBC 10 USER"
                )
            })?;
            if !(4..=MAX_COST).contains(&parts.get_cost()) {
                return Err(format!(
                    "basic_auth_users, line {line}: a bcrypt cost of {}; it may be 4 to {MAX_COST}, 10 is usual",
                    parts.get_cost()
                ));
            }
            cost = cost.max(parts.get_cost());
            hashes.insert(name, (parts.get_cost(), hash));
        }
        Ok(Self { hashes, cost })
    }

    /// Whether this user exists, its hash or the dummy, and further hashes to compute: each cost
    /// is twice the work of the one below, so all together are the work of the costliest.
    fn work_for(&self, name: &[u8]) -> (bool, String, Vec<String>) {
        let known = std::str::from_utf8(name)
            .ok()
            .and_then(|name| self.hashes.get(name));
        match known {
            Some((cost, hash)) => (
                true,
                hash.clone(),
                (*cost..self.cost).map(dummy_hash).collect(),
            ),
            None => (false, dummy_hash(self.cost), Vec::new()),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

/// The result of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    Granted,
    /// No name and password, or not the right ones.
    Denied,
    /// Too many logins wait.
    Busy,
}

/// The queue, and the passwords that were right.
pub struct Authenticator {
    /// Of a password only a keyed hash is kept; the key never leaves the process.
    key: Option<hmac::Key>,
    verified: Mutex<VecDeque<hmac::Tag>>,
    waiting: Arc<Mutex<HashMap<IpAddr, usize>>>,
    computing: Arc<Semaphore>,
}

impl Authenticator {
    pub fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        Self {
            // Without randomness nothing is kept.
            key: hmac::Key::generate(hmac::HMAC_SHA256, &random).ok(),
            verified: Mutex::default(),
            waiting: Arc::default(),
            computing: Arc::new(Semaphore::new(1)),
        }
    }

    /// Whether the request is from one of the users.
    pub async fn check(&self, users: &Users, headers: &HeaderMap, peer: IpAddr) -> Login {
        let Some((name, password)) = credentials(headers) else {
            return Login::Denied;
        };
        let (exists, hash, further) = users.work_for(&name);
        let tag = self.tag(&name, &hash, &password);
        if self.was_right(tag.as_ref()) {
            return Login::Granted;
        }
        let Some(slot) = QueueSlot::take(&self.waiting, peer) else {
            return Login::Busy;
        };
        let turn = Arc::clone(&self.computing).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(QUEUE_TIMEOUT, turn).await else {
            return Login::Busy;
        };
        // Another request may have proved it while this one waited.
        if self.was_right(tag.as_ref()) {
            return Login::Granted;
        }
        let compute = tokio::task::spawn_blocking(move || {
            let right = bcrypt::verify(&password, &hash).unwrap_or(false);
            for hash in further {
                std::hint::black_box(bcrypt::verify(&password, &hash).is_ok());
            }
            // Given back here: a client that goes away makes no room for another computation.
            drop((turn, slot));
            right
        });
        match compute.await {
            Ok(right) if right && exists => {
                if let Some(tag) = tag {
                    let mut verified = lock(&self.verified);
                    verified.truncate(MAX_VERIFIED - 1);
                    verified.push_front(tag);
                }
                Login::Granted
            }
            _ => Login::Denied,
        }
    }

    fn tag(&self, name: &[u8], hash: &str, password: &[u8]) -> Option<hmac::Tag> {
        let mut code = hmac::Context::with_key(self.key.as_ref()?);
        for part in [name, hash.as_bytes(), password] {
            code.update(&(part.len() as u64).to_be_bytes());
            code.update(part);
        }
        Some(code.sign())
    }

    fn was_right(&self, tag: Option<&hmac::Tag>) -> bool {
        let same = |known: &hmac::Tag| tag.is_some_and(|tag| tag.as_ref() == known.as_ref());
        lock(&self.verified).iter().any(same)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place in the queue, given back when dropped.
struct QueueSlot {
    waiting: Arc<Mutex<HashMap<IpAddr, usize>>>,
    peer: IpAddr,
}

impl QueueSlot {
    fn take(waiting: &Arc<Mutex<HashMap<IpAddr, usize>>>, peer: IpAddr) -> Option<Self> {
        let peer = client_network(peer);
        let mut places = lock(waiting);
        let own = places.get(&peer).copied().unwrap_or(0);
        if own >= MAX_WAITING_PER_CLIENT || places.values().sum::<usize>() >= MAX_WAITING {
            return None;
        }
        places.insert(peer, own + 1);
        Some(Self {
            waiting: Arc::clone(waiting),
            peer,
        })
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        let mut places = lock(&self.waiting);
        if let Some(own) = places.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                places.remove(&self.peer);
            }
        }
    }
}

/// An IPv6 client usually has a whole /64 of addresses.
fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// The name and password of a request with exactly one `Authorization: Basic …`.
fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (given.next()?.as_bytes(), given.next()) else {
        return None;
    };
    let space = value.iter().position(|&byte| byte == b' ')?;
    let (scheme, rest) = value.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let decoded = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    Some((decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests;
