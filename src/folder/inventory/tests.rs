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
fn names_stay_out_of_debug_output() {
    let shown = format!("{:?}", entry("session-79100000000.0.json"));
    assert!(!shown.contains("791"), "{shown}");
}
