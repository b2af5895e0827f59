use super::*;

#[test]
fn what_is_not_configured_is_no_link() {
    let addresses = PageAddresses::default();
    let rules = RuleSettings::default();
    let links = PageLinks::new(&addresses, &rules);
    assert_eq!(links.dashboard("bot"), None);
    assert_eq!(links.runbook("baileyscredsbroken"), None);
    let rules = RuleSettings {
        runbooks: "https://wiki.example.org/{page}.md".into(),
        dashboards: "https://grafana.example.org".into(),
        ..RuleSettings::default()
    };
    let links = PageLinks::new(&addresses, &rules);
    assert_eq!(
        links.runbook("baileyscredsbroken").as_deref(),
        Some("https://wiki.example.org/baileyscredsbroken.md")
    );
    assert_eq!(
        links.dashboard("a&b/c").as_deref(),
        Some("https://grafana.example.org/d/baileys-session?var-session=a%26b%2Fc")
    );
    assert_eq!(
        links.plan("a b"),
        "http://127.0.0.1:10274/plan?session=a%20b"
    );
}
