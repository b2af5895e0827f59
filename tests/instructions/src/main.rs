//! `instructions PATH TIMES DIR`: runs one hot path TIMES times, for valgrind to count its
//! instructions (`tests/instructions/check.sh`). The difference of two runs with different TIMES
//! is the cost of the path, without the start of the program and without what is made ready
//! before. `instructions --ready DIR` fills the empty directory DIR.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a tool of the tests")]

use std::path::Path;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--ready", dir] => instructions::make_ready(Path::new(dir)),
        [path, times, dir] => {
            let mut run = instructions::hot_path(path, Path::new(dir));
            (0..times.parse().unwrap()).for_each(|_| run());
        }
        _ => panic!("instructions PATH TIMES DIR"),
    }
}
