use super::*;
use crate::remediator::store::runs::Status;
use crate::remediator::store::tests::{delivered as request, open, seconds as at};

fn files(count: u64) -> Vec<FileRecord> {
    let file = |inode| FileRecord {
        kind: "session",
        inode,
        size: 7,
        modified: at(-100),
        fate: Fate::Planned,
    };
    (1..=count).map(file).collect()
}

#[test]
fn a_run_is_shown_step_by_step() {
    let (_dir, store) = open();
    store.queue().accept(&[request("a")], at(0)).unwrap();
    let run = store.queue().claim_next(at(1), &[]).unwrap().unwrap();
    let step = |step, seconds| Step::new(at(seconds), step, None);
    store
        .audit()
        .set_plan(
            run.id,
            "20261123T201510Z-4f2a91",
            &[step("locked", 2)],
            &files(2),
        )
        .unwrap();
    let moved = files(2)
        .into_iter()
        .map(|file| FileRecord {
            fate: Fate::Moved,
            ..file
        })
        .collect();
    let ending = Ending {
        steps: vec![step("moved", 3)],
        moves: moved,
        ..Ending::default()
    };
    store
        .runs()
        .finish(run.id, Status::Done, &ending, at(4))
        .unwrap();
    let undo = store
        .runs()
        .begin("a", Action::Undo, "a person", at(5))
        .unwrap();
    store
        .runs()
        .set_name(undo, "20261123T201510Z-4f2a91")
        .unwrap();

    let shown = store
        .audit()
        .show(&RunKey::Name("20261123T201510Z-4f2a91".into()))
        .unwrap()
        .unwrap();
    assert_eq!(
        shown,
        store.audit().show(&RunKey::Id(run.id)).unwrap().unwrap(),
        "the clean-up, not its undo"
    );
    let steps: Vec<&str> = shown.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(steps, ["accepted", "begun", "locked", "moved", "done"]);
    assert_eq!(shown.steps[0].facts.as_ref().unwrap()["receiver"], "hook");
    assert!(shown.steps.windows(2).all(|pair| pair[0].at < pair[1].at));
    assert_eq!(
        shown
            .moves
            .iter()
            .map(|file| (file.inode, file.fate.as_str()))
            .collect::<Vec<_>>(),
        [(1, "moved"), (2, "moved")]
    );
    assert_eq!(shown.related, [undo]);
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!(
        (json["id"].as_i64(), json["status"].as_str()),
        (Some(run.id), Some("done"))
    );
    assert_eq!(store.audit().show(&RunKey::Id(99)).unwrap(), None);

    store
        .audit()
        .files_deleted("20261123T201510Z-4f2a91", at(9))
        .unwrap();
    let shown = store.audit().show(&RunKey::Id(run.id)).unwrap().unwrap();
    assert!(shown.moves.iter().all(|file| file.fate == "deleted"));
    assert_eq!(shown.steps.last().unwrap().step, "deleted");
}

#[test]
fn the_detail_goes_with_its_run_and_is_bounded() {
    let (_dir, store) = open();
    let mut ids = Vec::new();
    for second in 0..4 {
        let id = store
            .runs()
            .begin("a", Action::Cleanup, "a person", at(second))
            .unwrap();
        store.audit().set_plan(id, "x", &[], &files(10)).unwrap();
        ids.push(id);
        if second < 3 {
            store
                .runs()
                .finish(id, Status::Done, &Ending::default(), at(second))
                .unwrap();
        }
    }
    let held = |store: &Store| -> Vec<usize> {
        ids.iter()
            .map(|id| {
                store
                    .audit()
                    .show(&RunKey::Id(*id))
                    .unwrap()
                    .map_or(99, |r| r.moves.len())
            })
            .collect()
    };
    prune_to(&store.db, 25).unwrap();
    assert_eq!(held(&store), [0, 0, 10, 10], "the oldest lose theirs first");
    prune_to(&store.db, 5).unwrap();
    assert_eq!(held(&store), [0, 0, 0, 10], "a run under way keeps its own");
    store.prune(at(500 * 86_400)).unwrap();
    assert_eq!(held(&store), [99, 99, 99, 10]);
    let steps: i64 = store
        .db
        .query_row(
            "SELECT count(*) FROM run_steps WHERE run_id != ?1",
            [ids[3]],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(steps, 0, "nothing stays of a run that is forgotten");
}
