use super::*;

#[test]
fn what_holds_it_back_is_told_first() {
    let maintenance = Maintenance {
        paused: Some("by <ops>, since noon".into()),
        breaker: Some("4 services within 1h".into()),
        armed: vec![("bot".into(), "a disconnection".into())],
    };
    let told = front(
        &Front {
            maintenance: Some(maintenance),
            ..Front::default()
        },
        Timestamp::now(),
    );
    for word in [
        "paused",
        "by &lt;ops&gt;",
        "breaker open",
        "4 services",
        "bot is armed: a disconnection",
    ] {
        assert!(told.contains(word), "{word}");
    }
    assert!(told.find("Paused") < told.find("Waiting and under way"));
    let acting = Front {
        maintenance: Some(Maintenance::default()),
        ..Front::default()
    };
    assert!(front(&acting, Timestamp::now()).contains(">acting<"));
    assert!(!front(&Front::default(), Timestamp::now()).contains("id=\"maintenance\""));
}
