use super::*;

#[test]
fn boundaries() {
    let t = Thresholds::default();
    for (files, tier) in [
        (0, None),
        (99, None),
        (100, Some(Tier::Monitor)),
        (119, Some(Tier::Monitor)),
        (120, Some(Tier::Warning)),
        (149, Some(Tier::Warning)),
        (150, Some(Tier::Cleanup)),
        (179, Some(Tier::Cleanup)),
        (180, Some(Tier::Emergency)),
        (199, Some(Tier::Emergency)),
        (200, Some(Tier::Fatal)),
    ] {
        assert_eq!(t.tier(files), tier, "{files}");
    }
    assert!(t.is_ascending());
    assert!(!Thresholds { warning: 150, ..t }.is_ascending());
}
