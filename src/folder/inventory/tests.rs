use super::*;

fn entry(name: &str) -> Entry {
    Entry {
        name: FileName::new(name),
        shape: Shape::Regular,
        stamp: Stamp::default(),
        inside: SessionActivity::NotRead,
    }
}

#[test]
fn companions_come_before_their_main_file_and_count_as_one_key() {
    let names = [
        "pre-key-1.json",
        "x.bak",
        "pre-key-1.json.bak",
        "pre-key-1.json.tmp",
        "pre-key-2.json.bak",
    ];
    let inventory = Inventory::new(names.map(entry), Creds::Missing);
    let units: Vec<Unit<'_>> = inventory.units().collect();
    assert_eq!(units.len(), 3);
    assert_eq!(units[0].files.len(), 3);
    assert!(!units[0].files[2].name.parts().companion);
    assert_eq!(units[1].id, b"2");
    assert_eq!(inventory.count(Kind::PreKey), 4);
}

#[test]
fn the_files_of_a_kind_are_in_the_order_of_their_names() {
    let ids = [
        "1",
        "2@lid",
        "79100000000@s.whatsapp.net",
        "79100000000@t",
        "",
        "-",
        "x",
    ];
    let prefixes = crate::folder::kind::PREFIXES.iter().rev();
    let names = prefixes.flat_map(|(prefix, _)| {
        let names = ids
            .iter()
            .rev()
            .map(move |id| format!("{prefix}-{id}.json"));
        names.flat_map(|name| [name.clone(), format!("{name}.bak")])
    });
    let names: Vec<String> = names.collect();
    let inventory = Inventory::new(names.iter().map(|name| entry(name)), Creds::Missing);
    let parts = |file: &Entry| {
        let parts = file.name.parts();
        (parts.kind, parts.main.to_vec(), !parts.companion)
    };
    let found: Vec<_> = inventory.files().iter().map(parts).collect();
    assert!(found.is_sorted(), "{found:?}");
    assert_eq!(inventory.units().count() * 2, names.len());
}

#[test]
fn names_stay_out_of_debug_output() {
    let shown = format!("{:?}", entry("session-79100000000.0.json"));
    assert!(!shown.contains("791"), "{shown}");
}
