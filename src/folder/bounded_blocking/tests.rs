use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

const SOON: Duration = Duration::from_secs(60);

/// A file system that hangs until it is released.
struct Hung {
    release: Arc<(Mutex<bool>, Condvar)>,
    began: Arc<AtomicUsize>,
}

impl Hung {
    fn new() -> Self {
        Self {
            release: Arc::default(),
            began: Arc::default(),
        }
    }

    fn look(&self) -> impl FnOnce() -> u32 + Send + 'static {
        let (release, began) = (Arc::clone(&self.release), Arc::clone(&self.began));
        move || {
            began.fetch_add(1, Ordering::SeqCst);
            let (released, changed) = &*release;
            let lock = released.lock().unwrap();
            drop(changed.wait_while(lock, |released| !*released).unwrap());
            1
        }
    }

    fn release(&self) {
        *self.release.0.lock().unwrap() = true;
        self.release.1.notify_all();
    }
}

fn timed_out<T: std::fmt::Debug>(looked: io::Result<T>) -> bool {
    looked.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

#[test]
fn a_directory_that_hangs_costs_one_thread_and_no_other_directory() {
    let looks = BoundedBlocking::new(Duration::from_millis(50));
    let hung = Hung::new();
    for _ in 0..20 {
        assert!(timed_out(looks.run(Path::new("/s/hung"), hung.look())));
    }
    while hung.began.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    assert_eq!(hung.began.load(Ordering::SeqCst), 1, "one look at a time");
    assert_eq!(looks.overdue(), 1);
    let patient = BoundedBlocking {
        timeout: SOON,
        ..looks.clone()
    };
    assert_eq!(patient.run(Path::new("/s/fine"), || 2).unwrap(), 2);
    hung.release();
    // It is looked at again once the hung look has ended.
    let pool = &looks.pool;
    let waited = pool
        .ended
        .wait_timeout_while(pool.state(), SOON, |state| !state.under_way.is_empty());
    assert!(!waited.unwrap().1.timed_out());
    assert_eq!(patient.run(Path::new("/s/hung"), || 3).unwrap(), 3);
}

#[test]
fn the_threads_that_hang_are_bounded() {
    let looks = BoundedBlocking::new(Duration::from_millis(5));
    let hung = Hung::new();
    for directory in 0..3 * MAX_STUCK {
        let directory = format!("/nowhere/{directory}");
        assert!(timed_out(looks.run(Path::new(&directory), hung.look())));
    }
    // All of them are on the mount `/`.
    assert_eq!(looks.overdue(), MAX_STUCK_OF_A_MOUNT);
    // Another mount is looked at.
    let patient = BoundedBlocking {
        timeout: SOON,
        ..looks.clone()
    };
    assert_eq!(patient.run(Path::new("/proc/self"), || 2).unwrap(), 2);
    hung.release();
}

#[test]
fn a_look_waits_for_another_one_at_the_same_directory() {
    let looks = BoundedBlocking::new(SOON);
    let hung = Hung::new();
    let first = std::thread::spawn({
        let (looks, look) = (looks.clone(), hung.look());
        move || looks.run(Path::new("/s/a"), look).unwrap()
    });
    while hung.began.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let second = std::thread::spawn({
        let (looks, began) = (looks.clone(), Arc::clone(&hung.began));
        move || looks.run(Path::new("/s/a"), move || began.load(Ordering::SeqCst))
    });
    hung.release();
    assert_eq!(first.join().unwrap(), 1);
    assert_eq!(second.join().unwrap().unwrap(), 1);
}

#[test]
fn a_round_over_many_that_hang_takes_little_longer_than_over_one() {
    let hung = Hung::new();
    let mut round = BoundedBlocking::new(Duration::from_millis(400)).round();
    for directory in 0..100 {
        let directory = format!("/nowhere/{directory}");
        assert!(timed_out(round.run(Path::new(&directory), hung.look())));
    }
    assert!(
        round.spent <= Duration::from_millis(800),
        "{:?}",
        round.spent
    );
    hung.release();
}

#[test]
fn a_look_that_panics_is_an_error_and_frees_its_directory() {
    let looks = BoundedBlocking::new(SOON);
    let broke: io::Result<()> = looks.run(Path::new("/s/a"), || {
        std::panic::resume_unwind(Box::new(()))
    });
    assert!(broke.is_err());
    assert_eq!(looks.run(Path::new("/s/a"), || 2).unwrap(), 2);
}

#[test]
fn the_mount_of_a_path() {
    let table = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        30 22 0:40 / /srv/bots rw - fuse x rw\n\
        31 22 0:41 / /srv/my\\040bots rw - fuse x rw\n";
    for (path, mount) in [
        ("/srv/bots/a", "/srv/bots"),
        ("/srv/bots", "/srv/bots"),
        ("/srv/botsy/a", "/"),
        ("/srv/my bots/a", "/srv/my bots"),
        ("/home", "/"),
    ] {
        assert_eq!(mount_in(table, Path::new(path)), Path::new(mount), "{path}");
    }
    assert_eq!(mount_in(b"", Path::new("/x")), Path::new("/"));
}

#[test]
fn a_look_within_a_look_is_a_part_of_it() {
    let looks = BoundedBlocking::new(SOON);
    let within = looks.clone();
    let work = move || within.run(Path::new("/s/a"), || 2).unwrap();
    assert_eq!(looks.run(Path::new("/s/a"), work).unwrap(), 2);
}

#[test]
fn a_batch_answers_in_order_and_goes_on_beside_what_hangs() {
    let hung = Hung::new();
    let looks = BoundedBlocking::new(Duration::from_millis(200)).with_threads(2);
    let mut round = looks.round();
    let items = (0..200u32).map(|n| (PathBuf::from(format!("/nowhere/{n}")), n));
    let look = {
        let (release, began) = (Arc::clone(&hung.release), Arc::clone(&hung.began));
        move |n: u32| {
            if n % 50 == 7 {
                let (release, began) = (Arc::clone(&release), Arc::clone(&began));
                Hung { release, began }.look()();
            }
            if n == 11 {
                std::panic::resume_unwind(Box::new(()));
            }
            n
        }
    };
    let looked = round.run_all(items, look);
    assert_eq!(looked.len(), 200);
    for (n, looked) in (0..).zip(looked) {
        match looked {
            Ok(value) => assert_eq!(value, n),
            Err(error) if n % 50 == 7 => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
            Err(error) => assert_eq!((n, error.kind()), (11, io::ErrorKind::Other)),
        }
    }
    assert_eq!(looks.overdue(), 4);
    // While they hang, a second look fails at once.
    let again = round.run_all([(PathBuf::from("/nowhere/7"), ())], |()| ());
    assert!(again.into_iter().all(timed_out));
    hung.release();
}

#[test]
fn a_batch_uses_as_many_threads_as_it_may() {
    let looks = BoundedBlocking::new(SOON).with_threads(3);
    let barrier = Arc::new(std::sync::Barrier::new(3));
    let items = (0..6).map(|n| (PathBuf::from(format!("/nowhere/{n}")), ()));
    let looked = looks.round().run_all(items, move |()| {
        barrier.wait();
    });
    assert!(looked.into_iter().all(|looked| looked.is_ok()));
    assert!(looks.round().run_all(Vec::new(), |()| ()).is_empty());
}
