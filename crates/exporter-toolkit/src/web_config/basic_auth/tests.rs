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
    let auth = Authenticator::new();
    for _ in 0..2 {
        for (headers, wanted) in [
            (basic("alice", "open:sesame"), Login::Granted),
            (basic("bob", "b"), Login::Granted),
            (
                asks(&format!("bASIC  {} ", STANDARD.encode("bob:b"))),
                Login::Granted,
            ),
            (basic("alice", "b"), Login::Denied),
            (basic("alice", ""), Login::Denied),
            (basic("alice", "open:sesame "), Login::Denied),
            (basic("Alice", "open:sesame"), Login::Denied),
            (basic("", ""), Login::Denied),
            // The password of the dummy hash.
            (basic("eve", "fakepassword"), Login::Denied),
            (asks("Basic !"), Login::Denied),
            (asks("Basic"), Login::Denied),
            (asks("Bearer b"), Login::Denied),
            (HeaderMap::new(), Login::Denied),
        ] {
            assert_eq!(
                auth.check(&users, &headers, HERE).await,
                wanted,
                "{headers:?}"
            );
        }
    }
    // Two headers: a proxy in front may have looked at the other.
    let mut twice = basic("bob", "b");
    twice.append(AUTHORIZATION, twice[AUTHORIZATION].clone());
    assert_eq!(auth.check(&users, &twice, HERE).await, Login::Denied);
    assert!(lock(&auth.waiting).is_empty());
}

#[tokio::test]
async fn a_password_is_computed_once_until_its_hash_changes() {
    let auth = Authenticator::new();
    let first = users(&[("alice", "a", 4)]);
    assert_eq!(
        auth.check(&first, &basic("alice", "a"), HERE).await,
        Login::Granted
    );
    // No hash is computed any more; only known passwords pass.
    let _turn = Arc::clone(&auth.computing).acquire_owned().await.unwrap();
    assert_eq!(
        auth.check(&first, &basic("alice", "a"), HERE).await,
        Login::Granted
    );
    let wait = |users: Users, headers: HeaderMap| {
        let auth = &auth;
        async move {
            let soon = Duration::from_millis(50);
            tokio::time::timeout(soon, auth.check(&users, &headers, HERE))
                .await
                .is_err()
        }
    };
    assert!(
        wait(users(&[("alice", "a", 4)]), basic("alice", "a")).await,
        "another hash"
    );
    assert!(wait(first, basic("alice", "b")).await);
    // A client that goes away leaves the queue.
    assert!(lock(&auth.waiting).is_empty());
}

#[tokio::test]
async fn what_is_kept_is_bounded_and_no_password() {
    let auth = Authenticator::new();
    for _ in 0..2 * MAX_VERIFIED {
        // bcrypt sees 72 bytes; what comes behind makes another password.
        let password = format!("{}{}", "a".repeat(72), rand_word());
        let users = users(&[("alice", &password, 4)]);
        assert_eq!(
            auth.check(&users, &basic("alice", &password), HERE).await,
            Login::Granted
        );
        assert_eq!(
            auth.check(&users, &basic("alice", "x"), HERE).await,
            Login::Denied
        );
    }
    let verified = lock(&auth.verified);
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
    let auth = Arc::new(Authenticator::new());
    let users = Arc::new(users(&[("alice", "a", 4)]));
    let turn = Arc::clone(&auth.computing).acquire_owned().await.unwrap();
    let ask = |password: &'static str, peer: IpAddr| {
        let (auth, users) = (Arc::clone(&auth), Arc::clone(&users));
        tokio::spawn(async move { auth.check(&users, &basic("alice", password), peer).await })
    };
    let flood = |n: u8| IpAddr::from([10, 0, 0, n]);
    let mut waiting = Vec::new();
    for _ in 0..MAX_WAITING_PER_CLIENT {
        waiting.push(ask("x", flood(1)));
    }
    let all_in = |n: usize| {
        let auth = Arc::clone(&auth);
        async move {
            while lock(&auth.waiting).values().sum::<usize>() < n {
                tokio::task::yield_now().await;
            }
        }
    };
    all_in(MAX_WAITING_PER_CLIENT).await;
    assert_eq!(ask("x", flood(1)).await.unwrap(), Login::Busy);
    // Another address is not kept out by it.
    let other = ask("a", flood(2));
    all_in(MAX_WAITING_PER_CLIENT + 1).await;
    for n in 0..MAX_WAITING - MAX_WAITING_PER_CLIENT - 1 {
        waiting.push(ask("x", flood(3 + n as u8 / 2)));
    }
    all_in(MAX_WAITING).await;
    assert_eq!(ask("a", flood(200)).await.unwrap(), Login::Busy);
    drop(turn);
    assert_eq!(other.await.unwrap(), Login::Granted);
    for login in waiting {
        assert_eq!(login.await.unwrap(), Login::Denied);
    }
    assert!(lock(&auth.waiting).is_empty());
}

#[test]
fn every_login_costs_as_much_as_the_costliest() {
    let users = users(&[("alice", "a", 4), ("bob", "b", 6), ("carol", "c", 5)]);
    for name in ["alice", "bob", "carol", "nobody", ""] {
        let (exists, hash, further) = users.work_for(name.as_bytes());
        assert_eq!(exists, users.hashes.contains_key(name));
        let work = |hash: &String| 1_u32 << hash.parse::<bcrypt::HashParts>().unwrap().get_cost();
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
    let at = |text: &str| client_network(text.parse().unwrap());
    assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
    assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
    assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
    assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
}
