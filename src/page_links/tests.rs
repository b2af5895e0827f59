use super::*;

#[test]
fn what_is_not_configured_is_no_link() {
    let addresses = PageAddresses::default();
    let rules = RuleSettings::default();
    let links = PageLinks::new(&addresses, &rules);
    assert_eq!(links.dashboard("bot"), None);
    assert_eq!(links.runbook("baileyscredsbroken"), None);
    assert_eq!(links.plan("bot"), None);
    assert_eq!(links.exporter(), None);
    assert_eq!(links.remediator(), None);
    let addresses = PageAddresses {
        exporter: Some("https://bots.example.org/exporter".into()),
        remediator: Some("https://bots.example.org/remediator".into()),
    };
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
    let at = |page: &str| Some(format!("https://bots.example.org/{page}"));
    assert_eq!(links.plan("a b"), at("remediator/plan?session=a%20b"));
    assert_eq!(links.exporter(), at("exporter/"));
    assert_eq!(links.remediator(), at("remediator/"));
}
