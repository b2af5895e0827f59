//! A stop that tears a creds.json: the bot is not started on it.

use super::*;

/// A world whose bots have creds.json of their own, of which the stop tears one. Each start records
/// the sizes of both files.
pub(super) fn torn_by_the_stop(session: &str, down: &str) -> World {
    let world = World::new(bounds(), down)
        .configured(|yaml| {
            yaml.replace("[rm, ", "[sh, ")
                .replace("/runs]", "/stop.sh]")
        })
        .fast();
    for (session, identity) in [("a", "QUE="), ("b", "Q0M=")] {
        let creds = format!(
            r#"{{"noiseKey":{{}},"signedIdentityKey":{{"public":{{"type":"Buffer","data":"{identity}"}}}},"registrationId":7,"me":{{"id":"{session}@s.whatsapp.net"}},"account":{{}},"nextPreKeyId":31}}"#
        );
        std::fs::write(creds_of(&world, session), creds).unwrap();
    }
    world.write(
        "stop.sh",
        &format!("rm runs; : >sessions/{session}/creds.json"),
    );
    world.write(
        "start.sh",
        "wc -c sessions/?/creds.json >>sizes; touch runs",
    );
    world
}

fn creds_of(world: &World, session: &str) -> PathBuf {
    world
        .dir
        .path()
        .join("sessions")
        .join(session)
        .join("creds.json")
}

/// The lines of all starts.
pub(super) fn sizes(world: &World) -> Vec<String> {
    let sizes = std::fs::read_to_string(world.dir.path().join("sizes")).unwrap_or_default();
    sizes.lines().map(|line| line.trim().to_owned()).collect()
}

pub(super) fn were_whole(world: &World) -> bool {
    let sizes = sizes(world);
    !sizes.is_empty() && !sizes.iter().any(|line| line.starts_with("0 "))
}

/// The probe reports the other session of the process as connected for a while after the stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_lags_keeps_no_torn_creds_json() {
    let world = torn_by_the_stop(
        "b",
        "[ $1 = b ] && echo x >>asked && [ $(wc -l <asked) -lt 6 ] && echo connected && exit",
    );
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::Ended(Ok(_))), "{led:?}");
    assert!(were_whole(&world), "{:?}", sizes(&world));
    assert!(world.phases().is_empty() && world.left("a") < 201);
}

/// As on a full disk. The bot is down, as everybody is told, until the copy is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_whose_creds_json_cannot_be_put_back_is_started_once_it_can() {
    let world = torn_by_the_stop("a", "");
    world.sql(
        "CREATE TRIGGER full BEFORE INSERT ON runs WHEN NEW.action = 'restore' BEGIN SELECT RAISE(FAIL, 'full'); END",
    );
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    let RestartResult::Ended(Err(error)) = led else {
        panic!("{led:?}")
    };
    let detail = error.to_string();
    assert!(
        detail.contains("its copy could not be put back"),
        "{detail}"
    );
    assert_eq!((world.phases(), sizes(&world)), (vec![Phase::Down], vec![]));
    assert!(!world.runs().exists());
    let store = &world.coordinator.ctx.store;
    assert_eq!(store.in_test().restarts().not_back().unwrap().len(), 2);
    world.sql("DROP TRIGGER full");
    world.resumed_until(|| world.phases().is_empty()).await;
    assert!(
        world.runs().exists() && were_whole(&world),
        "{:?}",
        sizes(&world)
    );
}

/// Leaving the bot stopped would not bring the copy back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_copy_the_bot_is_started() {
    let world = torn_by_the_stop("a", "");
    let copies = world.dir.path().join("state/creds");
    world.write(
        "stop.sh",
        &format!(
            "rm runs; : >sessions/a/creds.json; rm -r {}",
            copies.display()
        ),
    );
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    assert!(!copies.exists(), "{led:?}");
    assert!(world.runs().exists() && world.phases().is_empty());
}
