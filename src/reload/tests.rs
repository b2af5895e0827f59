use std::path::PathBuf;

use super::*;

fn with_file(file: Option<&str>) -> Settings {
    let mut settings = Settings::of_text("{}").unwrap().unwrap();
    settings.config_file = file.map(PathBuf::from);
    settings
}

#[test]
fn a_reload_reads_the_same_file() {
    let reload = |former, new| require_same_file(&with_file(former), &with_file(new));
    assert_eq!(reload(None, None), Ok(()));
    assert_eq!(reload(Some("/etc/a.yml"), Some("/etc/a.yml")), Ok(()));
    let gone = reload(Some("/etc/a.yml"), None).unwrap_err();
    assert!(gone.contains("/etc/a.yml is gone"), "{gone}");
    for former in [None, Some("/etc/a.yml")] {
        let other = reload(former, Some("/etc/b.yml")).unwrap_err();
        assert!(other.contains("/etc/b.yml"), "{other}");
        assert!(other.contains("restart"), "{other}");
    }
}

#[test]
fn a_failure_keeps_the_time_of_the_configuration_in_force() {
    let clock = Clock::system();
    let reloads = Reloads::new(clock);
    let first = reloads.state();
    assert!(first.successful);
    reloads.note(&Err("broken".into()));
    assert!(!reloads.state().successful);
    assert_eq!(reloads.state().loaded_at, first.loaded_at);
    reloads.note(&Ok(()));
    assert!(reloads.state().successful);
    assert!(reloads.state().loaded_at > first.loaded_at);
}

#[tokio::test]
async fn only_a_client_with_the_token_gets_the_error() {
    for (asker, shown) in [(Asker::Anybody, false), (Asker::Authenticated, true)] {
        let reloads = Reloads::new(Clock::system());
        let failed = async { Err("config.yml:3:3: unknown field".into()) };
        let response = reloads.answer(asker, failed).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = format!("{:?}", response.body());
        assert!(body.contains("the former one stays in force"), "{body}");
        assert_eq!(body.contains("config.yml:3:3"), shown, "{body}");
    }
}
