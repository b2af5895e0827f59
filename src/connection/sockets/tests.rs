use super::*;
use proptest::prelude::*;
use std::net::{TcpListener, TcpStream};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A process with these sockets.
fn process(started: u64, inodes: &[u64]) -> ProcessConnections {
    ProcessConnections {
        started,
        inodes: inodes.iter().copied().collect(),
        is_whole: true,
        own_pids: BTreeSet::new(),
    }
}

/// What looks at process 7 find, each with its second and the sockets that are there.
fn looks(looks: &[(u64, &[u64])]) -> Vec<Finding> {
    let (seen, start) = (SeenSockets::default(), Instant::now());
    let look = |(at, inodes): &(u64, &[u64])| {
        let found = [(7, Some(process(1, inodes)))];
        says(&found, PORT, &seen, start + seconds(*at)).finding
    };
    looks.iter().map(look).collect()
}

#[test]
fn a_real_connection() {
    let (manual, seen) = (
        clock::ManualClock::new(std::time::UNIX_EPOCH + seconds(1_000_000)),
        SeenSockets::default(),
    );
    let clock = manual.clock();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let me = std::process::id();
    let ask = |pids: &[u32]| says(&read(pids, port), port, &seen, clock.now());
    assert_eq!(ask(&[me]).finding, Finding::Nothing);
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(ask(&[u32::MAX, me]).finding, Finding::Connecting);
    manual.advance(seconds(29));
    assert_eq!(ask(&[me]).finding, Finding::Connecting);
    manual.advance(seconds(1));
    assert_eq!(ask(&[u32::MAX, me]).finding, Finding::Connected);
    // Another socket begins anew.
    drop(stream);
    let _stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(ask(&[me]).finding, Finding::Connecting);
    for unseen in [&[][..], &[u32::MAX]] {
        let evidence = ask(unseen);
        assert_eq!(evidence.finding, Finding::Nothing);
        assert!(evidence.detail.contains("cannot be seen"));
    }
}

/// WhatsApp refuses the login, and the bot tries again within its process: at every look there is
/// a socket, or there was one shortly before.
#[test]
fn a_login_that_is_refused_again_and_again_is_no_connection() {
    use Finding::*;
    let each: Vec<[u64; 1]> = (0..120).map(|inode| [inode]).collect();
    let at = |inode: &[u64; 1]| inode[0] * 30;
    let always: Vec<(u64, &[u64])> = each.iter().map(|inode| (at(inode), &inode[..])).collect();
    assert_eq!(looks(&always), [Connecting; 120]);
    let meets = |inode: &[u64; 1]| inode[0].is_multiple_of(20);
    let rarely = each.iter().map(|inode| match meets(inode) {
        true => (at(inode), &inode[..]),
        false => (at(inode), &[][..]),
    });
    let rarely: Vec<(u64, &[u64])> = rarely.collect();
    for (inode, finding) in each.iter().zip(looks(&rarely)) {
        let expected = if meets(inode) { Connecting } else { Ambiguous };
        assert_eq!(finding, expected, "{inode:?}");
    }
}

#[test]
fn a_bot_that_reconnects_is_connected_again_by_the_second_look() {
    use Finding::*;
    let (old, new) = (&[1_u64][..], &[2_u64][..]);
    let healthy: &[(u64, &[u64])] = &[(0, old), (30, old), (60, &[]), (90, new), (120, new)];
    assert_eq!(
        looks(healthy),
        [Connecting, Connected, Nothing, Connecting, Connected]
    );
    // Sockets that did not last before the one that did say nothing once it has gone.
    let at_last: &[(u64, &[u64])] = &[(0, old), (30, new), (60, new), (90, &[]), (120, &[])];
    assert_eq!(
        looks(at_last),
        [Connecting, Connecting, Connected, Nothing, Nothing]
    );
    // Beside the one that lasts, short ones to other services change nothing.
    let both: &[(u64, &[u64])] = &[(0, old), (30, &[1, 2]), (60, &[1, 3]), (90, &[1])];
    assert_eq!(looks(both), [Connecting, Connected, Connected, Connected]);
    // The one that lasted has not come back.
    let lost: &[(u64, &[u64])] = &[
        (0, old),
        (30, old),
        (60, &[]),
        (329, &[]),
        (330, &[]),
        (900, &[]),
    ];
    assert_eq!(
        looks(lost),
        [Connecting, Connected, Nothing, Nothing, Lost, Lost]
    );
    // After a quarter of an hour, nothing is left of those that have not lasted.
    let given_up: &[(u64, &[u64])] = &[(0, old), (30, &[]), (899, &[]), (900, &[])];
    assert_eq!(looks(given_up), [Connecting, Ambiguous, Ambiguous, Nothing]);
}

#[test]
fn another_process_of_the_same_number_begins_anew() {
    let (seen, start) = (SeenSockets::default(), Instant::now());
    let at = |second, process| {
        let found = [(7, Some(process))];
        says(&found, PORT, &seen, start + seconds(second)).finding
    };
    assert_eq!(at(0, process(1, &[1])), Finding::Connecting);
    assert_eq!(at(40, process(2, &[1])), Finding::Connecting);
    assert_eq!(at(41, process(3, &[])), Finding::Nothing);
    // Of several processes, the one that proves most counts.
    let found = [(7, process(1, &[1])), (8, process(4, &[9]))];
    let found = found.map(|(pid, process)| (pid, Some(process)));
    let both = says(&found, PORT, &seen, start + seconds(42));
    assert_eq!(both.finding, Finding::Connected);
    assert!(both.detail.contains("process 7 "), "{both}");
}

/// A child of another user may hold the connection that is missing.
#[test]
fn what_cannot_be_seen_is_not_lost() {
    use Finding::*;
    let (seen, start) = (SeenSockets::default(), Instant::now());
    let hidden = |inodes: &[u64]| {
        Some(ProcessConnections {
            is_whole: false,
            ..process(1, inodes)
        })
    };
    let shown = |inodes: &[u64]| Some(process(1, inodes));
    for (at, found, expected) in [
        (0, hidden(&[1]), Connecting),
        (30, hidden(&[1]), Connected),
        (60, hidden(&[]), Nothing),
        (400, hidden(&[]), Nothing),
        (401, None, Nothing),
        (402, shown(&[]), Lost),
    ] {
        let said = says(&[(7, found)], PORT, &seen, start + seconds(at));
        assert_eq!(said.finding, expected, "{at}: {said}");
    }
    // Of several, the one that cannot be seen may have it.
    let both = [(7, shown(&[])), (8, None)];
    let both = says(&both, PORT, &seen, start + seconds(403));
    assert_eq!(both.finding, Nothing, "{both}");
}

#[test]
fn processes_that_are_gone_are_forgotten() {
    let (seen, start) = (SeenSockets::default(), Instant::now());
    for pid in 0..100 {
        seen.note(pid, &process(1, &[1]), start);
    }
    seen.note(1, &process(1, &[1]), start + FORGOTTEN_AFTER / 2);
    let later = start + FORGOTTEN_AFTER;
    assert_eq!(seen.note(1, &process(1, &[1]), later), SocketSign::Lasting);
    assert_eq!(seen.0.lock().unwrap().by_process.len(), 1);
}

#[test]
fn a_folder_without_a_login_and_a_program_that_looks_once() {
    use Finding::*;
    for (source, finding, awaits_login, looks_once, expected) in [
        ("sockets", Connected, false, false, Connected),
        ("sockets", Connecting, false, false, Connecting),
        ("sockets", Connecting, false, true, Connected),
        ("sockets", Connected, true, false, Connecting),
        ("sockets", Connected, true, true, Connecting),
        ("sockets", Connecting, true, true, Connecting),
        ("sockets", Ambiguous, false, true, Ambiguous),
        ("sockets", Nothing, true, true, Nothing),
        ("sockets", NoAnswer, true, true, NoAnswer),
        ("probe", Connected, true, true, Connected),
    ] {
        let mut evidence = [Evidence::new(source, finding, "")];
        for_the_login(&mut evidence, awaits_login, looks_once);
        assert_eq!(
            evidence[0].finding, expected,
            "{source} {finding:?} {awaits_login} {looks_once}"
        );
    }
}

proptest! {
    /// Whatever comes and goes: connected is a process with a socket that was there at a look 30
    /// seconds before and at every look since, and no process without a socket may be connected.
    #[test]
    fn connected_is_a_socket_that_lasted(
        all in proptest::collection::vec((0_u64..40, proptest::collection::btree_set(0_u64..6, 0..4)), 1..40),
    ) {
        let (seen, start) = (SeenSockets::default(), Instant::now());
        let (mut past, mut at): (Vec<(u64, BTreeSet<u64>)>, u64) = (Vec::new(), 0);
        for (passed, inodes) in all {
            at += passed;
            past.push((at, inodes.clone()));
            let there: Vec<u64> = inodes.iter().copied().collect();
            let found = [(7, Some(process(1, &there)))];
            let finding = says(&found, PORT, &seen, start + seconds(at)).finding;
            let lasted = |inode: &u64| {
                let looks = past.iter().rev().take_while(|(_, there)| there.contains(inode));
                looks.map(|(second, _)| at - second).max() >= Some(30)
            };
            let expected = match (inodes.is_empty(), inodes.iter().any(lasted)) {
                (true, _) => None,
                (false, lasts) => Some(if lasts { Finding::Connected } else { Finding::Connecting }),
            };
            match expected {
                Some(expected) => prop_assert_eq!(finding, expected),
                None => prop_assert!(matches!(finding, Finding::Nothing | Finding::Ambiguous | Finding::Lost)),
            }
        }
    }
}
