//! Reads what `strace -f -o FILE` writes.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::process;

/// Where strace is. Panics where it is not installed.
pub fn program() -> PathBuf {
    let found = process::find(&["strace"]);
    found.unwrap_or_else(|| {
        panic!("strace is missing; run: sudo apt-get install --no-install-recommends strace")
    })
}

/// One system call of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The thread's number; empty where only one is traced.
    pub thread: String,
    /// The call, its arguments and its result.
    pub call: String,
}

/// The calls in the order in which they began. strace writes a call in two parts when another
/// thread's call falls in between; here they are one. A call that never returned ends with
/// `<unfinished ...>`.
pub fn lines(trace: &str) -> Vec<Line> {
    const UNFINISHED: &str = "<unfinished ...>";
    let mut lines: Vec<Line> = Vec::new();
    let mut open: HashMap<String, usize> = HashMap::new();
    for text in trace.lines() {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (thread, call) = text.split_at(digits);
        let call = call.trim_start();
        let resumed = call
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once(" resumed>"));
        if let Some((_, result)) = resumed {
            if let Some(begun) = open.remove(thread) {
                let begun = &mut lines[begun].call;
                begun.truncate(begun.len() - UNFINISHED.len());
                begun.push_str(result);
            }
            continue;
        }
        if call.ends_with(UNFINISHED) {
            open.insert(thread.to_owned(), lines.len());
        }
        lines.push(Line {
            thread: thread.to_owned(),
            call: call.to_owned(),
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn a_call_in_two_parts_is_one_line_of_its_thread() {
        let trace = "\
1797  write(4<anon_inode:[eventfd]>, \"\"..., 8 <unfinished ...>
1795  write(2</tmp/a>, \"\"..., 8) = 8
1795  fsync(3</tmp/b> <unfinished ...>
1797  <... write resumed>)              = -1 ENOSPC (No space left on device) (INJECTED)
write(1</tmp/c>, \"\"..., 1) = 1
";
        let joined: Vec<String> = lines(trace)
            .into_iter()
            .map(|line| format!("{}|{}", line.thread, line.call))
            .collect();
        assert_eq!(
            joined,
            [
                "1797|write(4<anon_inode:[eventfd]>, \"\"..., 8 )              = -1 ENOSPC (No space left on device) (INJECTED)",
                "1795|write(2</tmp/a>, \"\"..., 8) = 8",
                "1795|fsync(3</tmp/b> <unfinished ...>",
                "|write(1</tmp/c>, \"\"..., 1) = 1",
            ]
        );
    }
}
