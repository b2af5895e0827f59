//! Looks at files that may hang in the kernel: nobody waits for one longer than its time,
//! and only so many are left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::time::Duration;

pub(super) use exporter_toolkit::secret::open;

/// Each look that was left behind holds a thread.
const MOST_LEFT_BEHIND: isize = 64;

static LOOKS: Looks = Looks::new();

/// Looks in a thread of its own. The error begins with `what`.
pub(crate) async fn within<T: Send + 'static>(
    what: &str,
    timeout: Duration,
    look: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    LOOKS.within(what, timeout, look).await
}

/// How many looks were given up and have not come back.
struct Looks {
    left_behind: AtomicIsize,
}

impl Looks {
    const fn new() -> Self {
        Self {
            left_behind: AtomicIsize::new(0),
        }
    }

    async fn within<T: Send + 'static>(
        &'static self,
        what: &str,
        timeout: Duration,
        look: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        if self.left_behind.load(Ordering::SeqCst) >= MOST_LEFT_BEHIND {
            return Err(format!(
                "{what} was not tried: earlier looks have not come back"
            ));
        }
        let one_ended = Arc::new(AtomicBool::new(false));
        let looker = Side {
            looks: self,
            one_ended: Arc::clone(&one_ended),
            waits: false,
        };
        let _waiter = Side {
            looks: self,
            one_ended,
            waits: true,
        };
        let looking =
            tokio::task::spawn_blocking(move || match looker.one_ended.load(Ordering::SeqCst) {
                // It was given up before a thread was free.
                true => Err(String::new()),
                false => look(),
            });
        match tokio::time::timeout(timeout, looking).await {
            Ok(Ok(looked)) => looked,
            Ok(Err(_)) => Err(format!("{what} broke off")),
            Err(_) => Err(format!(
                "{what} took longer than {}",
                humantime::format_duration(timeout)
            )),
        }
    }
}

/// Who waits, or who looks. If the one who waits ends first (it may be dropped as well), the
/// look is left behind until it ends.
struct Side {
    looks: &'static Looks,
    one_ended: Arc<AtomicBool>,
    waits: bool,
}

impl Drop for Side {
    fn drop(&mut self) {
        match (self.one_ended.swap(true, Ordering::SeqCst), self.waits) {
            (false, true) => self.looks.left_behind.fetch_add(1, Ordering::SeqCst),
            (true, false) => self.looks.left_behind.fetch_sub(1, Ordering::SeqCst),
            _ => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn looks_that_hang_do_not_pile_up() {
        static HUNG: Looks = Looks::new();
        let soon = Duration::from_millis(20);
        let mut gates = Vec::new();
        // One that was given up before it began is not left behind.
        while gates.len() < 1000 {
            let (gate, hangs) = mpsc::channel::<()>();
            gates.push(gate);
            let said = HUNG
                .within("it", soon, move || Ok(hangs.recv().is_ok()))
                .await;
            if said.unwrap_err() != "it took longer than 20ms" {
                break;
            }
        }
        assert!(
            (MOST_LEFT_BEHIND as usize..1000).contains(&gates.len()),
            "{}",
            gates.len()
        );
        assert_eq!(HUNG.left_behind.load(Ordering::SeqCst), MOST_LEFT_BEHIND);
        let later = Duration::from_secs(60);
        let said = HUNG.within("it", later, || Ok(())).await;
        assert_eq!(
            said.unwrap_err(),
            "it was not tried: earlier looks have not come back"
        );
        // They come back.
        gates.clear();
        for _ in 0..1000 {
            if HUNG.left_behind.load(Ordering::SeqCst) == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(HUNG.within("it", later, || Ok(7)).await, Ok(7));
        assert_eq!(
            HUNG.within("it", later, || Err::<(), _>("no".into()))
                .await
                .unwrap_err(),
            "no"
        );
        assert_eq!(
            HUNG.left_behind.load(Ordering::SeqCst),
            0,
            "what came back in time was never left behind"
        );
    }

    #[test]
    fn only_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap();
        assert!(made.success());
        assert!(open(&pipe).unwrap_err().to_string().contains("not a file"));
        assert!(open(dir.path()).is_err());
        std::fs::write(dir.path().join("file"), "x").unwrap();
        assert_eq!(open(&dir.path().join("file")).unwrap().1.len(), 1);
    }
}
