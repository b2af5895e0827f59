use super::*;
use crate::config::{Settings, flags_in};
use crate::connection::{ConnectionSettings, show_within};
use crate::control::Service;
use crate::folder::Timestamp;
use crate::policy::StopRefusal;
use crate::remediator::console::context;
use crate::remediator::insurance::stop::RESTORE_TIMEOUT;
use crate::remediator::quarantine::Halt;
use crate::remediator::restart::cleaning::WATCHED_FOR;
use crate::remediator::restart::driver::OBSERVED_WITHIN;
use crate::remediator::restart::folder_record;
use crate::remediator::restart::machine::{
    ASKED_WITHIN, CALL_MARGIN, GRACE, LOCK_WITHIN, PERSIST_WITHIN, SHOWS_WITHIN, STARTS_AGAIN,
    STOPS_LATE_WITHIN,
};
use crate::remediator::restart::state::{Phase, RestartEnd, Trigger};
use crate::remediator::runner::SETTLES_WITHIN;
use crate::remediator::store::queue::{Accepted, Request, Via};
use crate::remediator::store::runs::{Action, Ending, Run, Status};
use clock::Clock;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// The bots `a` and `b` of one process, which runs while DIR/runs is there; `DIR/down.sh`
/// answers for them while it does not.
struct World {
    dir: tempfile::TempDir,
    known: Vec<Found>,
    coordinator: Arc<RestartCoordinator>,
}

impl World {
    fn new(bounds: Bounds, down: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        for session in ["a", "b"] {
            let bot = dir.path().join("sessions").join(session);
            std::fs::create_dir_all(&bot).unwrap();
            let creds =
                r#"{"noiseKey":{},"nextPreKeyId":31,"account":{},"me":{"id":"1@s.whatsapp.net"}}"#;
            std::fs::write(bot.join("creds.json"), creds).unwrap();
            for n in 0..200 {
                let file = bot.join(format!("session-{n}.0.json"));
                std::fs::write(&file, r#"{"_sessions":{},"version":"v1"}"#).unwrap();
                let age = SECOND * 86_400 * if n < 20 { n % 10 + 1 } else { 40 };
                let file = std::fs::File::options().write(true).open(&file).unwrap();
                file.set_modified(std::time::SystemTime::now() - age)
                    .unwrap();
            }
        }
        std::fs::write(dir.path().join("down.sh"), down).unwrap();
        std::fs::write(
            dir.path().join("start.sh"),
            format!("cd {path}; touch runs"),
        )
        .unwrap();
        std::fs::write(
            dir.path().join("gone.sh"),
            format!("cd {path}; test ! -e runs"),
        )
        .unwrap();
        let ask = format!(
            "cd {path}; [ -e runs ] && echo connected && exit; . ./down.sh; echo disconnected"
        );
        std::fs::write(dir.path().join("ask.sh"), ask).unwrap();
        std::fs::write(dir.path().join("runs"), "").unwrap();
        let yaml = format!(
            "connection: {{command: [sh, {path}/ask.sh, '{{session}}'], timeout: 30s, quiet: 1ms, trust: ['*']}}\narmed: {{look_every: 1s}}\nprocesses:\n  - name: bots\n    sessions: ['*']\n    allow_restart: true\n    command: {{stop: [rm, {path}/runs], start: [sh, {path}/start.sh], gone: [sh, {path}/gone.sh]}}\n    stop_timeout: 1s\n    gone_timeout: 1s\n    start_timeout: 5s\n    connect_timeout: 20s\n"
        );
        std::fs::write(dir.path().join("config.yml"), yaml).unwrap();
        let ctx = context(Self::settings(dir.path())).unwrap();
        let known = ctx.settings.discovery().survey().found;
        Self {
            dir,
            known,
            coordinator: Arc::new(RestartCoordinator::within(ctx, bounds)),
        }
    }

    /// The same with another configuration.
    fn configured(self, edit: impl FnOnce(String) -> String) -> Self {
        let config = self.dir.path().join("config.yml");
        let yaml = edit(std::fs::read_to_string(&config).unwrap());
        std::fs::write(&config, yaml).unwrap();
        let settings = Self::settings(self.dir.path());
        let ctx = context(settings).unwrap();
        Self {
            known: ctx.settings.discovery().survey().found,
            coordinator: Arc::new(RestartCoordinator::within(ctx, self.coordinator.bounds)),
            dir: self.dir,
        }
    }

    /// The same, where the coordinator waits a quarter as long.
    fn fast(self) -> Self {
        let mut ctx = self.coordinator.ctx.clone();
        ctx.clock = Clock::fast(4);
        Self {
            coordinator: Arc::new(RestartCoordinator::within(ctx, self.coordinator.bounds)),
            ..self
        }
    }

    fn settings(dir: &std::path::Path) -> Settings {
        let (common, remediator) = flags_in(dir);
        Settings::load(&common, &remediator).unwrap()
    }

    fn runs(&self) -> PathBuf {
        self.dir.path().join("runs")
    }

    /// An emergency of `a`, taken.
    fn asked(&self) -> Run {
        self.queue("a");
        let journal = self.coordinator.ctx.store.in_test();
        journal
            .queue()
            .claim_next(Timestamp::now(), &[])
            .unwrap()
            .unwrap()
    }

    async fn lead(&self, run: &Run) -> (RestartResult, Ending) {
        let found = self
            .known
            .iter()
            .find(|found| found.session.as_str() == "a")
            .unwrap();
        let service = self
            .coordinator
            .ctx
            .settings
            .services
            .of(&found.session)
            .unwrap();
        let survey = self.coordinator.ctx.settings.discovery().survey();
        let known = DiscoveredSessions::new(survey.found, &survey.skipped);
        let mut ending = Ending::default();
        let led = self
            .coordinator
            .run(run, found, service, Trigger::Emergency, &known, &mut ending)
            .await;
        (led, ending)
    }

    fn write(&self, script: &str, text: &str) {
        let text = format!("cd {}; {text}", self.dir.path().display());
        std::fs::write(self.dir.path().join(script), text).unwrap();
    }

    fn phases(&self) -> Vec<Phase> {
        let pending = self
            .coordinator
            .ctx
            .store
            .in_test()
            .restarts()
            .pending()
            .unwrap();
        pending.into_iter().map(|one| one.phase).collect()
    }

    /// Resumes what is pending, until this holds.
    async fn resumed_until(&self, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "{:?}", self.phases());
            self.coordinator
                .resume_pending_restarts(&self.known, true)
                .await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn service(&self) -> (Found, Service) {
        let is_a = |found: &&Found| found.session.as_str() == "a";
        let found = self.known.iter().find(is_a).unwrap().clone();
        let services = &self.coordinator.ctx.settings.services;
        let service = services.of(&found.session).unwrap();
        (found, service)
    }

    /// Puts the intent to stop on record, as after the looks.
    fn intend(&self, run: &Run, trigger: Trigger) -> Result<Restart, StopRefusal> {
        let (found, service) = self.service();
        let times = self.coordinator.times(&service);
        let decided = Timestamp::now().nanos();
        let mut state = Restart::new(&service.name, "a", run.id, trigger, decided, times);
        state.phase = Phase::StopIntended;
        let sessions = self.coordinator.sessions_of(&service, &found, &self.known);
        let store = self.coordinator.ctx.store.in_test();
        let intended = self
            .coordinator
            .intend(&store, state, &service, &sessions, 1);
        intended.unwrap()
    }

    /// Stops on record, and stops that were counted.
    fn stops(&self) -> (usize, u64) {
        let store = self.coordinator.ctx.store.in_test();
        let stops = store.restarts().stops(Timestamp::now()).unwrap();
        (stops.len(), store.counters().totals().unwrap().stops)
    }

    fn left(&self, session: &str) -> usize {
        let files = std::fs::read_dir(self.dir.path().join("sessions").join(session)).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().file_name() != ".baileys_quarantine")
            .count()
    }
}

fn bounds() -> Bounds {
    Bounds {
        clean: PATIENCE,
        all_clean: PATIENCE,
        down: PATIENCE,
        others: PATIENCE,
    }
}

/// Waits until the file is there, or is not.
fn wait_for(path: &std::path::Path, there: bool) -> bool {
    let began = Instant::now();
    while path.exists() != there {
        if began.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_stalls_after_the_stop_leaves_no_bot_stopped() {
    let world = World::new(
        Bounds {
            down: SECOND * 3,
            ..bounds()
        },
        "",
    )
    .fast();
    let run = world.asked();
    let (ctx, runs) = (world.coordinator.ctx.clone(), world.runs());
    let stalled = std::thread::spawn(move || {
        let stopped = wait_for(&runs, false);
        let _held = ctx.store.in_test();
        (stopped, wait_for(&runs, true))
    });
    let (led, _) = world.lead(&run).await;
    assert_eq!(
        stalled.join().unwrap(),
        (true, true),
        "it was started while the journal stalled"
    );
    let RestartResult::Ended(Err(error)) = led else {
        panic!("{led:?}")
    };
    let (reason, status, detail) = (error.label(), error.status(), error.to_string());
    assert_eq!((reason, status), ("timeout", Status::Failed), "{detail}");
    assert!(detail.contains("connected again"), "{detail}");
    assert!(
        world
            .coordinator
            .ctx
            .store
            .in_test()
            .restarts()
            .pending()
            .unwrap()
            .is_empty(),
        "no restart is pending"
    );
    assert_eq!(
        (world.left("a"), world.left("b")),
        (201, 201),
        "nothing moved"
    );
    assert!(world.coordinator.claimed().is_empty());
}

/// The same where it stalls before a sibling's run is taken: that one waits again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_taken_too_late_waits_again() {
    let world = World::new(bounds(), "");
    let found = world
        .known
        .iter()
        .find(|found| found.session.as_str() == "b")
        .unwrap();
    let request = Request {
        session: "b".into(),
        action: Action::Cleanup,
        tier: "cleanup".into(),
        fingerprint: "f".into(),
        starts_at: "s".into(),
        via: Via::default(),
    };
    world
        .coordinator
        .ctx
        .store
        .in_test()
        .queue()
        .accept(&[request], Timestamp::now())
        .unwrap();
    let (halt, besides) = (Halt::default(), Mutex::default());
    halt.halt();
    assert!(
        world
            .coordinator
            .claim(
                &world.coordinator.ctx.store.blocking_in_test(),
                found,
                &halt,
                &besides,
            )
            .unwrap()
            .is_none()
    );
    assert!(besides.lock().unwrap().is_empty() && world.coordinator.claimed().is_empty());
    let queued = world
        .coordinator
        .ctx
        .store
        .in_test()
        .audit()
        .recent(1)
        .unwrap()
        .remove(0);
    assert_eq!(queued.status, Status::Queued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_up_that_takes_too_long_is_broken_off_and_the_bot_started() {
    let world = World::new(
        Bounds {
            clean: SECOND * 2,
            ..bounds()
        },
        "[ -e asked ] && sleep 20; touch asked",
    )
    .fast();
    let run = world.asked();
    let began = Instant::now();
    let (led, ending) = world.lead(&run).await;
    let RestartResult::Ended(Err(error)) = led else {
        panic!("{led:?}")
    };
    let (reason, status, detail) = (error.label(), error.status(), error.to_string());
    assert_eq!((reason, status), ("timeout", Status::Failed), "{detail}");
    assert!(
        detail.contains("longer than 2s") && detail.contains("connected again"),
        "{detail}"
    );
    assert!(
        world.runs().exists() && began.elapsed() < SECOND * 20,
        "{:?}",
        began.elapsed()
    );
    assert_eq!(world.left("a"), 201, "nothing moved: {ending:?}");
    assert!(
        world
            .coordinator
            .ctx
            .store
            .in_test()
            .restarts()
            .pending()
            .unwrap()
            .is_empty(),
        "no restart is pending"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bot_is_stopped_and_started_under_a_clean_up_of_the_same_process() {
    let world = World::new(
        Bounds {
            others: SECOND,
            ..bounds()
        },
        "",
    );
    let run = world.asked();
    // A clean-up of b had begun before.
    let other = world
        .coordinator
        .ctx
        .store
        .in_test()
        .runs()
        .begin("b", Action::Cleanup, "ann", Timestamp::now())
        .unwrap();
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::Busy), "{led:?}");
    // Nor if it began during the looks.
    let held = world.intend(&run, Trigger::Emergency);
    assert_eq!(held, Err(StopRefusal::Busy));
    assert!(
        world
            .coordinator
            .ctx
            .store
            .in_test()
            .restarts()
            .stops(Timestamp::now())
            .unwrap()
            .is_empty()
    );
    world
        .coordinator
        .ctx
        .store
        .in_test()
        .runs()
        .finish(other, Status::Done, &Ending::default(), Timestamp::now())
        .unwrap();
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::Ended(Ok(_))), "{led:?}");
    assert!(world.runs().exists() && world.left("a") < 201 && world.left("b") == 201);
}

/// The looks take time, and a person who was paged is as fast.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_a_person_stops_during_the_checks_is_not_started() {
    let world = World::new(bounds(), "");
    // The second one to be asked is the sibling.
    world.write(
        "ask.sh",
        "echo x >>asks; [ -e runs ] && echo connected && [ $(wc -l <asks) -ge 2 ] && rm runs; exit 0",
    );
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    assert!(matches!(led, RestartResult::CleanWithoutStop), "{led:?}");
    assert!(!world.runs().exists() && world.phases().is_empty());
    assert_eq!(world.stops(), (0, 0), "nothing was called");
    world
        .coordinator
        .resume_pending_restarts(&world.known, true)
        .await;
    world.coordinator.drained().await;
    assert!(!world.runs().exists(), "it was not started");
}

/// Two bots of one identity break its keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_cannot_be_observed_is_started_once() {
    let world = World::new(bounds(), "").fast();
    world.write("start.sh", "echo x >>starts; touch unknown");
    world.write("gone.sh", "[ -e unknown ] && exit 7; test ! -e runs");
    let starts = || {
        std::fs::read_to_string(world.dir.path().join("starts"))
            .unwrap()
            .lines()
            .count()
    };
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    let RestartResult::Ended(Err(error)) = led else {
        panic!("{led:?}")
    };
    let (reason, detail) = (error.label(), error.to_string());
    assert!(
        reason == "start_unknown" && detail.contains("unknown whether it runs"),
        "{detail}"
    );
    assert_eq!((starts(), world.phases()), (1, vec![Phase::StartUnknown]));
    let store = &world.coordinator.ctx.store;
    assert_eq!(store.in_test().restarts().not_back().unwrap().len(), 2);
    // Known to be gone it is started again.
    world.write("start.sh", "echo x >>starts; touch runs");
    std::fs::remove_file(world.dir.path().join("unknown")).unwrap();
    world.resumed_until(|| world.phases().is_empty()).await;
    assert_eq!(starts(), 2);
    assert!(world.runs().exists());
    assert!(store.in_test().restarts().not_back().unwrap().is_empty());
}

/// A supervisor that names the wrong process would start a second bot beside the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gone_and_connected_is_not_started() {
    let world = World::new(bounds(), "[ -e lies ] && echo connected && exit").fast();
    std::fs::write(world.dir.path().join("lies"), "").unwrap();
    let run = world.asked();
    let (led, _) = world.lead(&run).await;
    let RestartResult::Ended(Err(error)) = led else {
        panic!("{led:?}")
    };
    assert!(
        error
            .to_string()
            .contains("a live source says that it is connected"),
        "{error}"
    );
    assert_eq!(world.phases(), [Phase::StartIntended]);
    assert!(!world.runs().exists() && world.left("a") == 201, "{error}");
    std::fs::remove_file(world.dir.path().join("lies")).unwrap();
    world.resumed_until(|| world.phases().is_empty()).await;
    assert!(world.runs().exists());
}

/// Another remediator, with another state directory, has nothing but the folders in common.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_remediators_do_not_restart_one_service_at_once() {
    let world = World::new(bounds(), "");
    world.write(
        "start.sh",
        "echo x >>starts; [ -e runs ] && touch twice; sleep 1; touch runs",
    );
    // A start that is killed because the machine is busy would be repeated.
    let config = world.dir.path().join("config.yml");
    let yaml = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        yaml.replace("start_timeout: 5s", "start_timeout: 5m"),
    )
    .unwrap();
    let with_state = |name: &str| {
        let mut settings = World::settings(world.dir.path());
        settings.state_path = world.dir.path().join(name);
        World {
            dir: tempfile::tempdir().unwrap(),
            known: world.known.clone(),
            coordinator: Arc::new(RestartCoordinator::within(
                context(settings).unwrap(),
                bounds(),
            )),
        }
    };
    let (this, other) = (with_state("one-state"), with_state("other-state"));
    let (one, two) = (this.asked(), other.asked());
    let (first, second) = tokio::join!(this.lead(&one), other.lead(&two));
    let is_done = |result: &RestartResult| matches!(result, RestartResult::Ended(Ok(_)));
    // It waits, or has waited and finds nothing to do.
    let other = |result: &RestartResult| match result {
        RestartResult::Busy => true,
        RestartResult::Ended(Err(error)) => error.label() == "stale_alert",
        _ => false,
    };
    let (first, second) = (first.0, second.0);
    assert!(
        (is_done(&first) && other(&second)) || (is_done(&second) && other(&first)),
        "{first:?} {second:?}"
    );
    assert!(world.runs().exists() && !world.dir.path().join("twice").exists());
    let starts = std::fs::read_to_string(world.dir.path().join("starts")).unwrap();
    assert_eq!(starts, "x\n");
}

/// The journal is deleted while the service is down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_due_survives_the_loss_of_the_journal() {
    let world = World::new(bounds(), "");
    let run = world.asked();
    let mut state = world.intend(&run, Trigger::Emergency).unwrap();
    state.phase = Phase::Cleaning;
    std::fs::remove_file(world.runs()).unwrap();
    let state_path = world.coordinator.ctx.settings.state_path.clone();
    let (found, _) = world.service();
    let folder = crate::remediator::quarantine::LockedFolder::lock(&found.place).unwrap();
    folder_record::write(&folder, &state_path, &state).unwrap();
    drop(folder);
    // The journal knows the run, and that its restart is over: this is what a failed delete left.
    let store = &world.coordinator.ctx.store;
    let end = RestartEnd::Stopped;
    store.in_test().restarts().forget(&state, end).unwrap();
    world
        .coordinator
        .resume_pending_restarts(&world.known, true)
        .await;
    world.coordinator.drained().await;
    assert!(!world.runs().exists(), "it was stopped by a person since");
    // A journal that was lost knows nothing.
    let settings = Settings::clone(&world.coordinator.ctx.settings);
    std::fs::remove_file(state_path.join(crate::remediator::store::FILE)).unwrap();
    let again = World {
        dir: tempfile::tempdir().unwrap(),
        known: world.known.clone(),
        coordinator: Arc::new(RestartCoordinator::within(
            context(settings).unwrap(),
            bounds(),
        )),
    };
    // The mount of the folders comes late.
    again.coordinator.resume_pending_restarts(&[], true).await;
    again.coordinator.drained().await;
    assert!(!world.runs().exists());
    again
        .coordinator
        .resume_pending_restarts(&again.known, true)
        .await;
    again.coordinator.drained().await;
    assert!(world.runs().exists());
    assert!(again.phases().is_empty());
    assert!(folder_record::read(&found, &state_path).unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stop_begins_after_its_window() {
    let world = World::new(bounds(), "");
    let run = world.asked();
    let held = world.intend(&run, Trigger::Window);
    assert_eq!(held, Err(StopRefusal::Busy));
    assert!(world.phases().is_empty());
    let held = world.intend(&run, Trigger::Emergency);
    assert!(held.is_ok() && world.phases().len() == 1, "{held:?}");
}

/// What the unit of systemd waits for before it kills.
#[test]
fn the_shipped_unit_waits_for_the_longest_run() {
    let timing = crate::control::Timing::default();
    // Without a probe it waits for the sockets as well.
    let shown = show_within(ConnectionSettings::default().timeout);
    // The last try begins within its time.
    let call = ASKED_WITHIN
        + timing.start_timeout
        + GRACE
        + PERSIST_WITHIN
        + SHOWS_WITHIN
        + OBSERVED_WITHIN;
    let starts = (timing.start_timeout + call + CALL_MARGIN) * (STARTS_AGAIN + 1);
    let longest = LOCK_WITHIN
        + ASKED_WITHIN
        + timing.stop_timeout
        + GRACE
        + timing.gone_timeout
        // The looks that begin within its time.
        + OBSERVED_WITHIN * 2
        + PERSIST_WITHIN * 2
        // It is cleaned, or its stop comes late.
        + DOWN_FOR_AT_MOST.max(STOPS_LATE_WITHIN)
        + HALTS_WITHIN
        + RESTORE_TIMEOUT * 2
        + starts
        + timing.connect_timeout
        + shown
        + OBSERVED_WITHIN;
    let unit = include_str!("../../../../deploy/systemd/baileys_remediator@.service");
    let waits = unit
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStopSec="))
        .unwrap();
    assert!(
        humantime::parse_duration(waits).unwrap() > longest,
        "{waits} < {longest:?}"
    );
    let ecosystem = include_str!("../../../../deploy/pm2/ecosystem.config.js");
    let waits = ecosystem
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("kill_timeout: ")?
                .strip_suffix(" * 60 * 1000,")
        })
        .unwrap();
    assert!(
        waits.parse::<u64>().unwrap() * 60 > longest.as_secs(),
        "{waits}"
    );
    let minutes = format!("{} minutes", longest.as_secs().div_ceil(60));
    let docs = include_str!("../../../../docs/restarts.md");
    assert!(
        unit.contains(&minutes)
            && ecosystem.contains(&minutes)
            && docs.contains(&format!("({minutes} with the defaults")),
        "{minutes}"
    );
    assert!(
        DOWN_FOR_AT_MOST
            > ALL_CLEAN_TIMEOUT + CLEAN_TIMEOUT + SETTLES_WITHIN * 2 + WATCHED_FOR + HALTS_WITHIN
    );
}

mod creds;
mod duplicates;
mod faults;
mod journal;
mod lost;
mod missing;
mod reload;
mod retired;
