use super::*;

#[test]
fn a_lease_is_given_once_and_under_the_configuration_in_force() {
    let leases = Arc::new(Leases::default());
    let first = leases.acquire("bot", 0).unwrap();
    assert!(leases.acquire("bot", 0).is_none(), "it is given");
    assert!(leases.acquire("other", 1).is_none(), "not in force yet");
    let refused = leases.put_in_force(1, |leased| {
        assert_eq!(leased.iter().collect::<Vec<_>>(), ["bot"]);
        Err("no".into())
    });
    assert_eq!(refused, Err("no".into()));
    assert!(leases.acquire("other", 0).is_some(), "nothing has changed");
    leases.put_in_force(1, |_| Ok(())).unwrap();
    assert!(leases.acquire("other", 0).is_none(), "no longer in force");
    assert!(leases.acquire("other", 1).is_some());
    assert!(leases.acquire("bot", 1).is_none(), "it is still given");
    drop(first);
    assert!(leases.acquire("bot", 1).is_some());
}
