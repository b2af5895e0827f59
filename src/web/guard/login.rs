//! Names and passwords against bcrypt hashes.
//!
//! One hash takes a tenth of a second of a processor, and anybody may ask for one. So one is
//! computed at a time, in a thread of its own; few may wait for it, and very few of one
//! address; and a password that was right once is not computed again: whoever scrapes with
//! it goes past the queue.

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
const MAX_WAITING_OF_ONE: usize = 4;
/// So long may one wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Passwords known to be right.
const MAX_VERIFIED: usize = 256;
/// Salt and hash of a hash that stands for users who do not exist.
const NOBODY: &str = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// Who may come in.
pub struct Users {
    hashes: BTreeMap<String, (u32, String)>,
    /// That of the costliest hash: every login takes as long, so that time does not tell who
    /// exists.
    cost: u32,
}

/// A hash that stands for users who do not exist.
fn nobody(cost: u32) -> String {
    format!("$2y${cost:02}${NOBODY}")
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

    /// The hash of this user, or one that fits nobody, and further ones to compute: each cost
    /// is twice the work of the one below, so all together are the work of the costliest.
    fn work_for(&self, name: &[u8]) -> (bool, String, Vec<String>) {
        let known = std::str::from_utf8(name)
            .ok()
            .and_then(|name| self.hashes.get(name));
        match known {
            Some((cost, hash)) => (true, hash.clone(), (*cost..self.cost).map(nobody).collect()),
            None => (false, nobody(self.cost), Vec::new()),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

/// What became of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    Welcome,
    /// No name and password, or not the right ones.
    Wrong,
    /// Too many want in.
    Busy,
}

/// The queue, and the passwords that were right.
pub struct Logins {
    /// What is kept of a password is its code under this key, which nobody else knows.
    key: Option<hmac::Key>,
    verified: Mutex<VecDeque<hmac::Tag>>,
    waiting: Arc<Mutex<HashMap<IpAddr, usize>>>,
    turn: Arc<Semaphore>,
}

impl Logins {
    pub fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        Self {
            // Without randomness nothing is kept.
            key: hmac::Key::generate(hmac::HMAC_SHA256, &random).ok(),
            verified: Mutex::default(),
            waiting: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Whether the request is from one of the users.
    pub async fn check(&self, users: &Users, headers: &HeaderMap, peer: IpAddr) -> Login {
        let Some((name, password)) = credentials(headers) else {
            return Login::Wrong;
        };
        let (exists, hash, further) = users.work_for(&name);
        let tag = self.tag(&name, &hash, &password);
        if self.was_right(tag.as_ref()) {
            return Login::Welcome;
        }
        let Some(place) = Place::take(&self.waiting, peer) else {
            return Login::Busy;
        };
        let turn = Arc::clone(&self.turn).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(PATIENCE, turn).await else {
            return Login::Busy;
        };
        // Somebody may have come in with it while this one waited.
        if self.was_right(tag.as_ref()) {
            return Login::Welcome;
        }
        let compute = tokio::task::spawn_blocking(move || {
            let right = bcrypt::verify(&password, &hash).unwrap_or(false);
            for hash in further {
                std::hint::black_box(bcrypt::verify(&password, &hash).is_ok());
            }
            // Given back here: a client that goes away does not make room for another.
            drop((turn, place));
            right
        });
        match compute.await {
            Ok(right) if right && exists => {
                if let Some(tag) = tag {
                    let mut verified = lock(&self.verified);
                    verified.truncate(MAX_VERIFIED - 1);
                    verified.push_front(tag);
                }
                Login::Welcome
            }
            _ => Login::Wrong,
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
struct Place {
    waiting: Arc<Mutex<HashMap<IpAddr, usize>>>,
    peer: IpAddr,
}

impl Place {
    fn take(waiting: &Arc<Mutex<HashMap<IpAddr, usize>>>, peer: IpAddr) -> Option<Self> {
        let peer = neighbourhood(peer);
        let mut places = lock(waiting);
        let own = places.get(&peer).copied().unwrap_or(0);
        if own >= MAX_WAITING_OF_ONE || places.values().sum::<usize>() >= MAX_WAITING {
            return None;
        }
        places.insert(peer, own + 1);
        Some(Self {
            waiting: Arc::clone(waiting),
            peer,
        })
    }
}

impl Drop for Place {
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

/// Who has one address of IPv6 has the 2^64 beside it as well.
fn neighbourhood(address: IpAddr) -> IpAddr {
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
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn users(given: &[(&str, &str, u32)]) -> Users {
        let hash = |&(name, password, cost): &(&str, &str, u32)| {
            (name.to_owned(), (1, bcrypt::hash(password, cost).unwrap()))
        };
        Users::new(given.iter().map(hash).collect()).unwrap()
    }

    fn asks(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    fn basic(name: &str, password: &str) -> HeaderMap {
        asks(&format!(
            "Basic {}",
            STANDARD.encode(format!("{name}:{password}"))
        ))
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_user() {
        let users = users(&[("alice", "open:sesame", 4), ("bob", "b", 5)]);
        let logins = Logins::new();
        for _ in 0..2 {
            for (headers, wanted) in [
                (basic("alice", "open:sesame"), Login::Welcome),
                (basic("bob", "b"), Login::Welcome),
                (
                    asks(&format!("bASIC  {} ", STANDARD.encode("bob:b"))),
                    Login::Welcome,
                ),
                (basic("alice", "b"), Login::Wrong),
                (basic("alice", ""), Login::Wrong),
                (basic("alice", "open:sesame "), Login::Wrong),
                (basic("Alice", "open:sesame"), Login::Wrong),
                (basic("", ""), Login::Wrong),
                // The password whose hash stands for nobody.
                (basic("eve", "fakepassword"), Login::Wrong),
                (asks("Basic !"), Login::Wrong),
                (asks("Basic"), Login::Wrong),
                (asks("Bearer b"), Login::Wrong),
                (HeaderMap::new(), Login::Wrong),
            ] {
                assert_eq!(
                    logins.check(&users, &headers, HERE).await,
                    wanted,
                    "{headers:?}"
                );
            }
        }
        // Two headers: a proxy in front may have looked at the other.
        let mut twice = basic("bob", "b");
        twice.append(AUTHORIZATION, twice[AUTHORIZATION].clone());
        assert_eq!(logins.check(&users, &twice, HERE).await, Login::Wrong);
        assert!(lock(&logins.waiting).is_empty());
    }

    #[tokio::test]
    async fn a_password_is_computed_once_until_its_hash_changes() {
        let logins = Logins::new();
        let first = users(&[("alice", "a", 4)]);
        assert_eq!(
            logins.check(&first, &basic("alice", "a"), HERE).await,
            Login::Welcome
        );
        // Nobody gets a turn any more, and only what is known comes in.
        let _turn = Arc::clone(&logins.turn).acquire_owned().await.unwrap();
        assert_eq!(
            logins.check(&first, &basic("alice", "a"), HERE).await,
            Login::Welcome
        );
        let wait = |users: Users, headers: HeaderMap| {
            let logins = &logins;
            async move {
                let soon = Duration::from_millis(50);
                tokio::time::timeout(soon, logins.check(&users, &headers, HERE))
                    .await
                    .is_err()
            }
        };
        assert!(
            wait(users(&[("alice", "a", 4)]), basic("alice", "a")).await,
            "another hash"
        );
        assert!(wait(first, basic("alice", "b")).await);
        // Who goes away leaves the queue.
        assert!(lock(&logins.waiting).is_empty());
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_no_password() {
        let logins = Logins::new();
        for _ in 0..2 * MAX_VERIFIED {
            // bcrypt sees 72 bytes; what comes behind makes another password.
            let password = format!("{}{}", "a".repeat(72), rand_word());
            let users = users(&[("alice", &password, 4)]);
            assert_eq!(
                logins.check(&users, &basic("alice", &password), HERE).await,
                Login::Welcome
            );
            assert_eq!(
                logins.check(&users, &basic("alice", "x"), HERE).await,
                Login::Wrong
            );
        }
        let verified = lock(&logins.verified);
        assert_eq!(verified.len(), MAX_VERIFIED);
        assert!(
            !format!("{verified:?}").contains("97, 97, 97"),
            "not the bytes of the password"
        );
    }

    fn rand_word() -> String {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed).to_string()
    }

    #[tokio::test]
    async fn the_queue_is_short_and_shorter_for_one_address() {
        let logins = Arc::new(Logins::new());
        let users = Arc::new(users(&[("alice", "a", 4)]));
        let turn = Arc::clone(&logins.turn).acquire_owned().await.unwrap();
        let ask = |password: &'static str, peer: IpAddr| {
            let (logins, users) = (Arc::clone(&logins), Arc::clone(&users));
            tokio::spawn(async move { logins.check(&users, &basic("alice", password), peer).await })
        };
        let flood = |n: u8| IpAddr::from([10, 0, 0, n]);
        let mut waiting = Vec::new();
        for _ in 0..MAX_WAITING_OF_ONE {
            waiting.push(ask("x", flood(1)));
        }
        let all_in = |n: usize| {
            let logins = Arc::clone(&logins);
            async move {
                while lock(&logins.waiting).values().sum::<usize>() < n {
                    tokio::task::yield_now().await;
                }
            }
        };
        all_in(MAX_WAITING_OF_ONE).await;
        assert_eq!(ask("x", flood(1)).await.unwrap(), Login::Busy);
        // Another address is not kept out by it.
        let other = ask("a", flood(2));
        all_in(MAX_WAITING_OF_ONE + 1).await;
        for n in 0..MAX_WAITING - MAX_WAITING_OF_ONE - 1 {
            waiting.push(ask("x", flood(3 + n as u8 / 2)));
        }
        all_in(MAX_WAITING).await;
        assert_eq!(ask("a", flood(200)).await.unwrap(), Login::Busy);
        drop(turn);
        assert_eq!(other.await.unwrap(), Login::Welcome);
        for login in waiting {
            assert_eq!(login.await.unwrap(), Login::Wrong);
        }
        assert!(lock(&logins.waiting).is_empty());
    }

    #[test]
    fn every_login_costs_as_much_as_the_costliest() {
        let users = users(&[("alice", "a", 4), ("bob", "b", 6), ("carol", "c", 5)]);
        for name in ["alice", "bob", "carol", "nobody", ""] {
            let (exists, hash, further) = users.work_for(name.as_bytes());
            assert_eq!(exists, users.hashes.contains_key(name));
            let work =
                |hash: &String| 1_u32 << hash.parse::<bcrypt::HashParts>().unwrap().get_cost();
            assert_eq!(
                work(&hash) + further.iter().map(work).sum::<u32>(),
                1 << 6,
                "{name}"
            );
            assert!(
                further
                    .iter()
                    .all(|hash| bcrypt::verify("x", hash).is_ok_and(|right| !right))
            );
        }
    }

    #[test]
    fn hashes_that_cannot_be_used() {
        let error = |hash: &str| {
            Users::new(BTreeMap::from([("a".to_owned(), (7, hash.to_owned()))]))
                .err()
                .unwrap()
        };
        let good = bcrypt::hash("SECRETWORD", 4).unwrap();
        for hash in [
            "SECRETWORD",
            "",
            "$2y$10$SECRETWORD",
            "$1$SECRETWORD",
            &good[..59],
            &format!("{good}x"),
        ] {
            let shown = error(hash);
            assert!(
                shown.contains("line 7") && shown.contains("htpasswd -nBC 10"),
                "{shown}"
            );
            assert!(!shown.contains("SECRETWORD"), "{shown}");
        }
        let shown = error(&good.replacen("$04$", "$31$", 1));
        assert!(
            shown.contains("cost of 31") && shown.contains("line 7"),
            "{shown}"
        );
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let at = |text: &str| neighbourhood(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
    }
}
