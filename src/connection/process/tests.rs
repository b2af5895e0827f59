use super::*;

#[test]
fn only_a_settled_process_counts_as_alive() {
    let now = Timestamp::now();
    for (observed, finding, is_alive) in [
        (
            Observation::Running {
                pids: vec![7],
                mark: Some("m".into()),
            },
            Finding::Nothing,
            true,
        ),
        (Observation::gone("x"), Finding::Gone, false),
        (Observation::Changing("x".into()), Finding::NoAnswer, false),
        (Observation::Unknown("x".into()), Finding::NoAnswer, false),
    ] {
        let look = judge("id".into(), observed.clone(), now);
        assert_eq!(look.evidence.finding, finding, "{observed:?}");
        assert_eq!(look.evidence.alive.is_some(), is_alive, "{observed:?}");
        assert_eq!(!look.pids.is_empty(), is_alive, "{observed:?}");
        assert_eq!(look.evidence.id, "id");
    }
}
