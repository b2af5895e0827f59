//! No two modules of a crate use each other, directly or through others. What a module
//! re-exports counts for the module that defines it, so a parent may re-export its children.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;

/// A path of names: of a module, or of an item in one.
type Names = Vec<String>;

/// The modules of a crate, with what each says.
struct Modules {
    texts: BTreeMap<Names, String>,
    /// Items that a module imports or re-exports, and where they come from.
    exports: BTreeMap<(Names, String), Names>,
}

/// The modules in the files of a source directory, without tests and programs.
fn modules(root: &Path) -> BTreeMap<Names, String> {
    let mut texts = BTreeMap::new();
    for file in super::sources(root) {
        let path = file.strip_prefix(root).unwrap().with_extension("");
        let mut names: Names = path
            .iter()
            .map(|name| name.to_str().unwrap().to_owned())
            .collect();
        names.pop_if(|name| name == "mod" || name == "lib");
        if !names.iter().any(|name| name == "tests" || name == "bin") {
            texts.insert(names, std::fs::read_to_string(&file).unwrap());
        }
    }
    texts
}

/// The text without comments and without unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths that a `use` names: `a::{b, c::d}` are `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<Names> {
    let tree = tree.trim();
    let Some((prefix, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        let names = path.split("::").map(|name| name.trim().to_owned());
        return vec![names.filter(|name| !name.is_empty()).collect()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in inside.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| expand(&format!("{}{}", prefix.trim(), part.trim())))
        .collect()
}

impl Modules {
    fn new(texts: BTreeMap<Names, String>) -> Self {
        let texts = texts
            .into_iter()
            .map(|(name, text)| (name, code(&text)))
            .collect();
        let mut modules = Self {
            texts,
            exports: BTreeMap::new(),
        };
        for (module, text) in &modules.texts {
            for (_, path) in uses(text) {
                if let Some(path) = modules.absolute(module, &path) {
                    let name = path.last().cloned().unwrap_or_default();
                    modules.exports.insert((module.clone(), name), path);
                }
            }
        }
        modules
    }

    /// A path from the root of the crate; `None` for one into another crate.
    fn absolute(&self, module: &Names, path: &[String]) -> Option<Names> {
        let mut base = module.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|name| name == "super") {
                    base.pop()?;
                    rest = &rest[1..];
                }
            }
            child => {
                base.push(child.to_owned());
                self.texts.get(&base)?;
                base.pop();
            }
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// The module that defines the item at `path`; `None` for a path of a module.
    fn home(&self, mut path: Names) -> Option<Names> {
        // Each step follows one re-export.
        for _ in 0..8 {
            let lengths = (0..=path.len()).rev();
            let length = lengths
                .into_iter()
                .find(|length| self.texts.contains_key(&path[..*length]))?;
            let item = path.get(length)?;
            let key = (path[..length].to_vec(), item.clone());
            match self.exports.get(&key).filter(|origin| **origin != path) {
                Some(origin) => path = [origin.as_slice(), &path[length + 1..]].concat(),
                None => return Some(key.0),
            }
        }
        None
    }

    /// The modules whose items a module uses, but for those that it re-exports.
    fn used_by(&self, module: &Names) -> BTreeSet<Names> {
        let text = &self.texts[module];
        let mut paths = Vec::new();
        let mut aliases = BTreeMap::new();
        for (public, path) in uses(text) {
            let Some(mut path) = self.absolute(module, &path) else {
                continue;
            };
            path.pop_if(|name| name == "self");
            if let Some(name) = path.last().filter(|_| self.texts.contains_key(&path)) {
                aliases.insert(name.clone(), path.clone());
            }
            let is_export = |home: &Names| public && home.starts_with(module);
            paths.extend(self.home(path).filter(|home| !is_export(home)));
        }
        let path = Regex::new(r"\b\w+(?:::\w+)+").unwrap();
        for found in path.find_iter(&use_statement().replace_all(text, "")) {
            let names: Names = found.as_str().split("::").map(str::to_owned).collect();
            let of_alias = || Some([aliases.get(&names[0])?, &names[1..]].concat());
            let absolute = self.absolute(module, &names).or_else(of_alias);
            paths.extend(absolute.and_then(|path| self.home(path)));
        }
        paths.into_iter().filter(|home| home != module).collect()
    }

    /// Each use that is a part of a cycle.
    fn cycles(&self) -> BTreeSet<String> {
        let graph: BTreeMap<&Names, BTreeSet<Names>> = self
            .texts
            .keys()
            .map(|module| (module, self.used_by(module)))
            .collect();
        let reaches = |from: &Names, to: &Names| {
            let (mut open, mut seen) = (vec![from.clone()], BTreeSet::new());
            while let Some(module) = open.pop() {
                if module == *to {
                    return true;
                }
                if seen.insert(module.clone()) {
                    open.extend(graph[&module].iter().cloned());
                }
            }
            false
        };
        let mut cycles = BTreeSet::new();
        for (module, used) in &graph {
            for used in used.iter().filter(|used| reaches(used, module)) {
                cycles.insert(format!("{} uses {}", module.join("::"), used.join("::")));
            }
        }
        cycles
    }
}

fn use_statement() -> Regex {
    Regex::new(r"\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);").unwrap()
}

/// The paths of the `use` statements of a text, and whether each is a re-export.
fn uses(text: &str) -> Vec<(bool, Names)> {
    let mut all = Vec::new();
    for found in use_statement().captures_iter(text) {
        let paths = expand(&found[2]);
        all.extend(paths.into_iter().map(|path| (found.get(1).is_some(), path)));
    }
    all
}

#[test]
fn no_two_modules_of_a_crate_use_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut roots = vec![root.join("src")];
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        roots.push(entry.unwrap().path().join("src"));
    }
    let (mut wrong, mut uses) = (Vec::new(), 0);
    for root in roots {
        let modules = Modules::new(modules(&root));
        let all = modules.texts.keys();
        uses += all
            .map(|module| modules.used_by(module).len())
            .sum::<usize>();
        let cycles = modules.cycles().into_iter();
        wrong.extend(cycles.map(|cycle| format!("{}: {cycle}", root.display())));
    }
    assert!(uses > 500, "only {uses} uses were found");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_cycle_is_found_and_a_re_export_is_none() {
    let cycles = |texts: &[(&str, &str)]| {
        let texts = texts.iter().map(|(name, text)| {
            let names = name.split("::").filter(|name| !name.is_empty());
            (names.map(str::to_owned).collect(), (*text).to_owned())
        });
        Modules::new(texts.collect()).cycles()
    };
    let direct = [
        ("", "mod a;\nmod b;"),
        ("a", "use super::b::{self, X};\npub struct Y;"),
        ("b", "pub struct X(crate::a::Y);"),
    ];
    assert_eq!(
        cycles(&direct),
        ["a uses b", "b uses a"].map(str::to_owned).into()
    );
    let through_an_alias = [
        ("", "mod a;\nmod b;\nmod c;"),
        ("a", "use crate::b;\nfn f() { b::g(); }\npub fn h() {}"),
        ("b", "pub fn g() { crate::c::i(); }"),
        ("c", "use super::{a::h};\npub fn i() { h() }"),
    ];
    assert_eq!(cycles(&through_an_alias).len(), 3);
    let parent_and_child = [
        (
            "p",
            "mod low;\nmod high;\npub use low::X;\npub use high::make;",
        ),
        ("p::low", "pub struct X;"),
        (
            "p::high",
            "use super::X; // and no use of super::Y\npub fn make() -> X { X }",
        ),
        ("q", "use crate::p::{X, make};"),
    ];
    assert_eq!(cycles(&parent_and_child), BTreeSet::new());
}
