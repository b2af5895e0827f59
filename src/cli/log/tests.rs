use std::sync::{Arc, mpsc};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// A queue whose writer takes what this function takes. The log goes on behind it.
fn queue(
    mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
) -> (Arc<LogQueue>, mpsc::Receiver<u64>) {
    let queue = Arc::new(LogQueue::default());
    let (sender, dropped) = mpsc::channel();
    let log = Arc::clone(&queue);
    thread::spawn(move || {
        log.write_to(&mut write, |lines| {
            log.push(format!("dropped {lines}\n").as_bytes());
            let _ = sender.send(lines);
        });
    });
    (queue, dropped)
}

#[test]
fn a_reader_that_hangs_keeps_nothing_waiting_and_what_it_missed_is_counted() {
    let (open, gate) = mpsc::channel::<()>();
    let (sender, written) = mpsc::channel();
    let (queue, dropped) = queue(move |line| {
        // It hangs until the sender is gone.
        let _ = gate.recv();
        let _ = sender.send(String::from_utf8_lossy(line).into_owned());
        Ok(())
    });
    let pushed = MAX_QUEUED_BYTES / 100 + 2_000;
    for n in 0..pushed {
        queue.push(format!("{n:099}\n").as_bytes());
    }
    assert!(!queue.flush(Duration::from_millis(10)));
    drop(open);
    assert!(queue.flush(PATIENCE));
    let lost = dropped.recv_timeout(PATIENCE).unwrap();
    let lines: Vec<String> = written.try_iter().collect();
    let (last, lines) = lines.split_last().unwrap();
    assert_eq!(last, &format!("dropped {lost}\n"));
    assert_eq!(lines.len() + usize::try_from(lost).unwrap(), pushed);
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("{n:099}\n"), "in their order");
    }
    queue.push(b"goes on\n");
    assert!(queue.flush(PATIENCE));
    assert_eq!(written.try_iter().collect::<String>(), "goes on\n");
}

#[test]
fn lines_that_cannot_be_written_are_counted_as_well() {
    let (sender, written) = mpsc::channel();
    let (queue, dropped) = queue(move |line| {
        let line = String::from_utf8_lossy(line).into_owned();
        match line.starts_with("full") {
            true => Err(io::Error::from(io::ErrorKind::StorageFull)),
            false => {
                let _ = sender.send(line);
                Ok(())
            }
        }
    });
    for line in ["full\n", "full\n", "room\n"] {
        queue.push(line.as_bytes());
        assert!(queue.flush(PATIENCE));
    }
    assert_eq!(dropped.recv_timeout(PATIENCE), Ok(2));
    assert_eq!(written.try_iter().collect::<String>(), "room\ndropped 2\n");
}
