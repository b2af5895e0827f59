use std::collections::BTreeSet;

use clap::Arg;

use super::*;

fn command() -> Command {
    let flag = |name| Arg::new(name).long(name);
    Command::new("prog")
        .arg(flag("config.file").help("The file"))
        .subcommand(Command::new("plan").about("Shows").arg(flag("output")))
}

#[test]
fn it_is_requested_by_its_whole_command_line() {
    assert_eq!(
        is_requested(&["prog", "generate", "/d"]),
        Some(Path::new("/d"))
    );
    assert_eq!(is_requested(&["prog", "generate"]), None);
    assert_eq!(is_requested(&["prog", "plan", "generate"]), None);
    assert_eq!(is_requested(&["prog", "generate", "/d", "more"]), None);
}

#[test]
fn pages_and_completions_are_the_same_each_time() {
    let dirs = [(), ()].map(|()| tempfile::tempdir().unwrap());
    for dir in &dirs {
        generate(command(), dir.path()).unwrap();
    }
    let files = |dir: &Path| -> BTreeSet<(String, String)> {
        fs::read_dir(dir)
            .unwrap()
            .map(|file| {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect()
    };
    let [first, second] = dirs.each_ref().map(|dir| files(dir.path()));
    assert_eq!(first, second);
    let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["_prog", "prog-plan.1", "prog.1", "prog.bash", "prog.fish"]
    );
    for (name, text) in &first {
        let flag = if name == "prog-plan.1" {
            "output"
        } else {
            "config.file"
        };
        let text = text.replace("\\-", "-").replace("\\.", ".");
        assert!(text.contains(flag), "{name}: {text}");
    }
}
