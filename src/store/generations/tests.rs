//! The store's own properties, on a directory of this machine and on the file system that forgets. Its way through power cuts stands with the
//! whole update in `push/tests/power_cut.rs`.

use linnet_proto::fleet::{Generation, PackageFile, PackageList};

use super::bounds::MAX_REFUSED;
use super::faulty::{FaultyDisk, Loss};
use super::fs::{Disk, RealDisk};
use super::*;

const OPTIONS: Options = Options { free_margin_bytes: 1000, sync_every_bytes: 16 };

/// A generation of one package with these files; its document.
fn generation(number: u64, files: &[(&str, &[u8])]) -> (Generation, Vec<u8>) {
    let mut list: Vec<_> = files
        .iter()
        .map(|(path, bytes)| PackageFile { path: (*path).to_owned(), bytes: bytes.len() as u64, sha256: digest(bytes) })
        .collect();
    list.push(PackageFile { path: "manifest.toml".into(), bytes: 4, sha256: digest(b"name") });
    let generation = Generation {
        config: format!("# {number}\n"),
        packages: vec![PackageList { name: "a".into(), version: "1.0.0".into(), files: list }],
        ..Generation::empty("home", number)
    };
    let document = serde_json::to_vec(&generation).expect("JSON");
    (generation, document)
}

/// Every file that it can take from `contents`, fetched whole.
fn fetch(store: &mut GenerationStore, contents: &[&[u8]]) {
    for content in contents.iter().copied().chain([&b"name"[..]]) {
        let sha256 = digest(content);
        let have = store.have(&sha256).expect("reads");
        store.put_piece(&sha256, have, &content[have as usize..]).expect("writes");
        store.finish_file(&sha256, content.len() as u64).expect("it is what was asked for");
    }
}

fn confirmed(store: &mut GenerationStore, number: u64, files: &[(&str, &[u8])]) {
    let (generation, document) = generation(number, files);
    fetch(store, &files.iter().map(|file| file.1).collect::<Vec<_>>());
    store.install(&document, &generation).expect("installs");
    store.set_live(number).expect("it is whole");
    store.confirm().expect("writes");
}

fn open(disk: &FaultyDisk) -> Opened {
    GenerationStore::open(Box::new(disk.clone()), OPTIONS).expect("it can be read")
}

fn opened(disk: &FaultyDisk) -> GenerationStore {
    let Opened { store, said } = open(disk);
    assert_eq!(said, Vec::<String>::new());
    store
}

/// The property on both kinds of disk.
fn on_each_disk(property: impl Fn(&dyn Fn() -> Box<dyn Disk>)) {
    let faulty = FaultyDisk::new();
    property(&|| Box::new(faulty.clone()));
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state/fleet");
    property(&|| Box::new(RealDisk::at(&path).expect("it can be made")));
}

#[test]
fn a_generation_is_fetched_installed_tried_and_kept_and_the_next_start_finds_it() {
    on_each_disk(|disk| {
        let open = || GenerationStore::open(disk(), OPTIONS).expect("opens");
        let (generation, document) =
            generation(3, &[("onnx/model.onnx", b"weights of a model, more than two steps long")]);
        let mut store = open().store;
        let instance = store.instance().to_owned();
        assert_eq!((store.live(), store.good(), instance.len()), (0, 0, 32));
        assert_eq!(store.missing_files(&generation).expect("reads").len(), 2);
        let refused = store.install(&document, &generation).expect_err("nothing is there yet");
        assert_eq!(refused.code(), "not_whole", "{refused}");
        fetch(&mut store, &[b"weights of a model, more than two steps long"]);
        store.install(&document, &generation).expect("installs");
        store.set_live(3).expect("it is whole");
        assert_eq!((store.live(), store.good()), (3, 0));
        store.save_update(b"{}").expect("writes");
        store.refuse(&digest(b"bad"), 2).expect("writes");
        store.commit_trust(b"roles").expect("writes");
        let Opened { mut store, said } = open();
        assert_eq!(said, Vec::<String>::new());
        assert_eq!((store.live(), store.good(), store.instance()), (3, 0, &*instance));
        assert_eq!(store.installed(3).expect("reads"), generation);
        let path = store.packages_dir(3).join("a/onnx/model.onnx");
        let relative = path.strip_prefix(disk().root()).expect("inside").to_str().expect("UTF-8").to_owned();
        assert_eq!(disk().read(&relative, 99).expect("reads"), b"weights of a model, more than two steps long");
        assert_eq!(store.update(), Some(&b"{}"[..]));
        assert_eq!(store.trust().expect("reads").as_deref(), Some(&b"roles"[..]));
        assert!(store.is_refused(&digest(b"bad"), 1) && store.is_refused(&digest(b"bad"), 2));
        assert!(!store.is_refused(&digest(b"bad"), 3) && !store.is_refused(&digest(b"good"), 1));
        store.confirm().expect("writes");
        store.collect_garbage(None).expect("removes");
        assert_eq!((open().store.live(), open().store.good()), (3, 3));
    });
}

#[test]
fn a_roll_back_leads_to_the_last_good_one_and_leaves_nothing_of_what_failed() {
    on_each_disk(|disk| {
        let mut store = GenerationStore::open(disk(), OPTIONS).expect("opens").store;
        confirmed(&mut store, 1, &[("model", b"old"), ("both", b"shared")]);
        store.collect_garbage(None).expect("removes");
        let names = |path: &str| {
            let mut names: Vec<_> = disk().list(path).expect("lists").into_iter().map(|entry| entry.name).collect();
            names.sort();
            names
        };
        let before = [names("files"), names("partial"), names("generations")];
        let (second, document) = generation(2, &[("model", b"new"), ("both", b"shared")]);
        fetch(&mut store, &[b"new"]);
        store.put_piece(&digest(b"half"), 0, b"ha").expect("writes");
        store.install(&document, &second).expect("installs");
        store.set_live(2).expect("whole");
        store.collect_garbage(None).expect("removes");
        assert_eq!(names("generations"), ["1", "2"], "neither the live nor the last good one goes");
        store.roll_back().expect("writes");
        store.collect_garbage(None).expect("removes");
        assert_eq!((store.live(), store.good()), (1, 1));
        assert_eq!([names("files"), names("partial"), names("generations")], before);
        assert_eq!(GenerationStore::open(disk(), OPTIONS).expect("opens").said, Vec::<String>::new());
    });
}

#[test]
fn garbage_leaves_what_an_update_in_progress_has_so_far() {
    let disk = FaultyDisk::new();
    let mut store = opened(&disk);
    let (generation, document) = generation(2, &[("one", b"first"), ("two", b"second file, longer than one step")]);
    let sha256 = store.keep_document(&document).expect("writes");
    fetch(&mut store, &[b"first"]);
    let second = digest(b"second file, longer than one step");
    store.put_piece(&second, 0, b"second file, long").expect("writes");
    store.put_piece(&digest(b"of another update"), 0, b"of another update").expect("writes");
    store.collect_garbage(Some(&sha256)).expect("removes");
    assert_eq!(store.document(&sha256).as_deref(), Some(&document[..]));
    assert_eq!(store.have(&second).expect("reads"), 17);
    assert_eq!(store.missing_files(&generation).expect("reads").len(), 1);
    assert_eq!(store.have(&digest(b"of another update")).expect("reads"), 0);
    store.collect_garbage(None).expect("removes");
    assert!(disk.tree().keys().all(|path| !path.starts_with("files/") && !path.starts_with("partial/")));
}

#[test]
fn what_was_not_signed_never_becomes_a_file() {
    let disk = FaultyDisk::new();
    let mut store = opened(&disk);
    let sha256 = digest(b"what was signed");
    for (came, bytes) in [(&b"what was forged"[..], 15), (b"what was", 15), (b"what was signed and more", 15), (b"", 0)]
    {
        store.put_piece(&sha256, 0, came).expect("writes");
        let e = store.finish_file(&sha256, bytes).expect_err("another");
        assert_eq!(e.code(), "digest", "{e}");
        assert!(e.to_string().contains("fetched anew"), "{e}");
        assert_eq!(store.have(&sha256).expect("reads"), 0, "it begins anew");
        assert!(disk.tree().keys().all(|path| !path.starts_with("files/")));
    }
    for name in ["../../etc/passwd", "AB", "", &"A".repeat(64)] {
        assert_eq!(store.put_piece(name, 0, b"x").expect_err("no digest").code(), "digest");
        assert_eq!(store.refuse(name, 1).expect_err("no digest").code(), "digest");
    }
}

#[test]
fn a_piece_continues_where_the_file_ends_and_nowhere_else() {
    let mut store = opened(&FaultyDisk::new());
    let sha256 = digest(b"0123456789");
    store.put_piece(&sha256, 0, b"01234").expect("writes");
    for offset in [0, 4, 6, u64::MAX] {
        assert_eq!(store.put_piece(&sha256, offset, b"x").expect_err("a gap").code(), "offset");
    }
    store.put_piece(&sha256, 5, b"56789").expect("writes");
    store.finish_file(&sha256, 10).expect("whole");
    // A second source that sends it again finds it done.
    store.put_piece(&sha256, 0, b"0").expect("writes");
    store.finish_file(&sha256, 10).expect("whole");
}

#[test]
fn an_empty_file_is_a_file() {
    let mut store = opened(&FaultyDisk::new());
    let (generation, document) = generation(1, &[("empty", b"")]);
    fetch(&mut store, &[b""]);
    store.install(&document, &generation).expect("installs");
    store.set_live(1).expect("whole");
}

#[test]
fn a_download_is_trusted_as_far_as_it_was_synced() {
    let disk = FaultyDisk::new();
    let mut store = opened(&disk);
    let content: Vec<u8> = (0..60).collect();
    let sha256 = digest(&content);
    store.put_piece(&sha256, 0, &content[..40]).expect("writes");
    for loss in [Loss::All, Loss::Nothing, Loss::Zeros, Loss::Names, Loss::Random(1), Loss::Random(2)] {
        let mut after = opened(&disk.restart(loss));
        let have = after.have(&sha256).expect("reads");
        assert!(have == 16 || have == 32, "{have} of 40 with {loss:?}");
        after.put_piece(&sha256, have, &content[have as usize..]).expect("writes");
        after.finish_file(&sha256, 60).expect("what was believed was there");
    }
}

#[test]
fn an_update_that_does_not_fit_is_refused_with_both_numbers_before_anything_is_written() {
    let disk = FaultyDisk::new();
    let mut store = opened(&disk);
    let (generation, _) = generation(1, &[("model", &[7; 5000])]);
    disk.set_capacity(5000);
    let before = disk.operations();
    let e = store.reserve(&generation).expect_err("it does not fit");
    assert_eq!((e.code(), disk.operations()), ("no_space", before));
    let said = e.to_string();
    assert!(said.contains("needs 6004 bytes") && said.contains("only 4968 are free"), "{said}");
    // What has come already is not counted again.
    disk.set_capacity(6100);
    assert_eq!(store.reserve(&generation).expect("it fits"), Reserved::Held);
    store.put_piece(&digest(&[7; 5000]), 0, &[7; 4000]).expect("writes");
    store.reserve(&generation).expect("it fits still");
}

#[test]
fn room_that_was_reserved_is_nobody_elses_and_costs_no_byte() {
    let disk = FaultyDisk::new();
    let mut store = opened(&disk);
    let (wanted, _) = generation(1, &[("model", &[7; 5000])]);
    disk.set_capacity(6100);
    assert_eq!(store.reserve(&wanted).expect("it fits"), Reserved::Held);
    assert_eq!(store.bytes_written(), 32, "only its instance");
    let (other, _) = generation(2, &[("model", &[8; 200])]);
    assert_eq!(store.reserve(&other).expect_err("the room is taken").code(), "no_space");
    // Whoever writes beside it gets what is left, and not more.
    disk.create("stranger", &[1; 2000]).expect_err("no room");
    let left = usize::try_from(store.free_bytes().expect("tells")).expect("few");
    disk.create("stranger", &vec![1; left]).expect("the rest");
    assert_eq!(store.reserve(&wanted).expect("it is held"), Reserved::Held, "its margin was judged before");
    store.put_piece(&digest(&[7; 5000]), 0, &[7; 5000]).expect("its own room");
    store.finish_file(&digest(&[7; 5000]), 5000).expect("whole");
    // What no update needs any more gives it back.
    let mut store = opened(&disk.restart(Loss::Nothing));
    store.collect_garbage(None).expect("collects");
    assert!(store.free_bytes().expect("tells") >= 5000);
}

#[test]
fn where_no_room_can_be_held_it_is_only_checked() {
    let disk = FaultyDisk::new();
    disk.set_can_hold(false);
    let mut store = opened(&disk);
    let (wanted, _) = generation(1, &[("model", &[7; 5000])]);
    disk.set_capacity(6100);
    assert_eq!(store.reserve(&wanted).expect("it fits"), Reserved::OnlyChecked);
    disk.create("stranger", &[1; 1100]).expect("room for it");
    let e = store.put_piece(&digest(&[7; 5000]), 0, &[7; 5000]).expect_err("another took the room");
    assert_eq!(e.code(), "no_space", "{e}");
}

#[test]
fn room_on_a_real_disk_is_taken_without_a_length() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = RealDisk::at(directory.path()).expect("it is there");
    if !disk.hold("download", 1 << 20).expect("it may be asked for") {
        eprintln!("SKIPPED: this file system holds no room for a file");
        return;
    }
    assert_eq!(disk.file_bytes("download").expect("tells"), Some(0));
    assert!(disk.held_bytes("download").expect("tells") >= Some(1 << 20));
    disk.write_at("download", 0, b"begun").expect("writes");
    assert_eq!(disk.file_bytes("download").expect("tells"), Some(5));
    assert!(disk.held_bytes("download").expect("tells") >= Some(1 << 20));
    assert_eq!(disk.held_bytes("nothing").expect("tells"), None);
}

#[test]
fn a_number_that_serves_is_never_given_other_content() {
    let mut store = opened(&FaultyDisk::new());
    confirmed(&mut store, 1, &[("model", b"old")]);
    let (other, document) = generation(1, &[("model", b"old"), ("copy", b"old")]);
    let e = store.install(&document, &other).expect_err("taken");
    assert!(e.to_string().contains("higher number"), "{e}");
    // One that does not serve makes way.
    let (second, document) = generation(2, &[("model", b"old")]);
    store.install(&document, &second).expect("installs");
    let (second, document) = generation(2, &[("renamed", b"old")]);
    store.install(&document, &second).expect("installs");
    assert_eq!(store.installed(2).expect("reads"), second);
}

#[test]
fn a_generation_that_is_not_whole_does_not_serve() {
    let disk = FaultyDisk::new();
    let mut store = opened(&disk);
    confirmed(&mut store, 1, &[("model", b"old")]);
    assert_eq!(store.set_live(7).expect_err("never seen").code(), "not_whole");
    let (second, document) = generation(2, &[("model", b"old")]);
    store.install(&document, &second).expect("installs");
    disk.uproot("generations/2/packages/a/model");
    let e = store.set_live(2).expect_err("a file is missing").to_string();
    assert!(e.contains("/fleet/generations/2/packages/a/model is missing"), "{e}");
    assert_eq!(store.live(), 1);
    store.install(&document, &second).expect("it is built anew");
    store.set_live(2).expect("whole");
}

/// A device with generation 1 confirmed and 2 on trial.
fn on_trial() -> FaultyDisk {
    let disk = FaultyDisk::new();
    let mut store = opened(&disk);
    confirmed(&mut store, 1, &[("model", b"old")]);
    let (second, document) = generation(2, &[("model", b"new")]);
    fetch(&mut store, &[b"new"]);
    store.install(&document, &second).expect("installs");
    store.set_live(2).expect("whole");
    disk
}

#[test]
fn damage_leads_back_to_the_last_good_generation_and_is_told() {
    type Damage = fn(&FaultyDisk);
    let cases: [(&str, Damage, u64, u64); 9] = [
        ("pointers", |d| d.plant("pointers", b"\0\0"), 1, 1),
        (
            "pointers",
            |d| d.plant("pointers", b"{\"form\":1,\"live\":{\"generation\":9},\"good\":{\"generation\":1}}"),
            1,
            1,
        ),
        ("pointers", |d| d.plant("pointers", b"{\"form\":7}"), 1, 1),
        ("pointers", |d| d.plant("pointers", &[b'x'; 1 << 17]), 1, 1),
        ("pointers", |d| d.uproot("pointers"), 1, 1),
        ("generation 2", |d| d.uproot("generations/2/packages/a/model"), 1, 1),
        ("generation 2", |d| d.plant("generations/2/generation.json", b"{}"), 1, 1),
        ("generation 1", |d| d.uproot("generations/1/generation.json"), 2, 0),
        ("generation 1", |d| d.plant("generations/1/packages/a/model", b"longer"), 2, 0),
    ];
    for (named, damage, live, good) in cases {
        let disk = on_trial();
        damage(&disk);
        let Opened { store, said } = open(&disk);
        assert_eq!((store.live(), store.good()), (live, good), "{said:?}");
        assert!(said.len() == 1 && said[0].contains(named), "{said:?}");
        assert_eq!(open(&disk.restart(Loss::All)).said, Vec::<String>::new(), "it was healed for good");
    }
}

#[test]
fn where_nothing_good_is_left_what_was_shipped_serves() {
    let disk = on_trial();
    disk.uproot("generations/1/generation.json");
    disk.uproot("generations/2/generation.json");
    let Opened { store, said } = open(&disk);
    assert_eq!((store.live(), store.good(), said.len()), (0, 0, 2), "{said:?}");
    assert!(said[1].ends_with("what was shipped serves"), "{said:?}");
}

#[test]
fn garbage_in_any_file_of_the_store_never_stops_it() {
    for name in ["pointers", "update.json", "refused.json", "instance", "trust.json"] {
        for garbage in [&b""[..], b"{", b"null", b"[]", b"\xff\xfe", b"{\"form\":1}", &[b'9'; 70_000]] {
            let disk = on_trial();
            let mut store = opened(&disk);
            for (saved, bytes) in [("update.json", b"{}"), ("trust.json", b"{}")] {
                if saved == "update.json" { store.save_update(bytes) } else { store.commit_trust(bytes) }
                    .expect("writes");
            }
            disk.plant(name, garbage);
            let mut after = open(&disk).store;
            assert_eq!((after.good(), after.instance().len()), (1, 32), "{name}: {garbage:?}");
            after.save_update(b"new").expect("what cannot be read is replaced");
            after.commit_trust(b"new").expect("likewise");
            after.refuse(&digest(b"bad"), 1).expect("likewise");
            let after = opened(&disk.restart(Loss::All));
            assert_eq!(after.update(), Some(&b"new"[..]));
            assert_eq!(after.trust().expect("reads").as_deref(), Some(&b"new"[..]));
            assert!(after.is_refused(&digest(b"bad"), 1));
        }
    }
}

#[test]
fn what_was_being_made_goes_and_a_strangers_file_stays() {
    let disk = on_trial();
    opened(&disk);
    for path in [".new-pointers", "files/.new-x", "partial/.x", "generations/.new-9", "notes.txt", "generations/README"]
    {
        disk.plant(path, b"x");
    }
    opened(&disk);
    let tree = disk.tree();
    assert!(tree.keys().all(|path| !path.split('/').any(|name| name.starts_with('.'))), "{:?}", tree.keys());
    assert!(tree.contains_key("notes.txt") && tree.contains_key("generations/README"));
}

#[test]
fn a_disk_that_cannot_be_written_still_serves() {
    let disk = on_trial();
    disk.set_writable(false);
    let mut store = opened(&disk);
    assert_eq!((store.live(), store.good()), (2, 1));
    let e = store.roll_back().expect_err("nothing can be written");
    assert!(e.code() == "disk" && e.to_string().contains("cannot write /fleet/pointers"), "{e}");
    disk.uproot("generations/2/generation.json");
    let Opened { store, said } = open(&disk);
    assert_eq!((store.live(), store.good()), (1, 1), "damage is healed in memory");
    assert_eq!(said.len(), 2, "{said:?}");
    let empty = FaultyDisk::new();
    empty.set_writable(false);
    let Opened { store, said } = open(&empty);
    assert_eq!((store.live(), store.good(), store.instance().len()), (0, 0, 32));
    assert!(!said.is_empty());
}

#[test]
fn what_was_shipped_comes_back_whatever_was_pushed() {
    let disk = on_trial();
    let mut store = opened(&disk);
    store.return_to_shipped().expect("writes");
    store.collect_garbage(None).expect("removes");
    let store = opened(&disk);
    assert_eq!((store.live(), store.good()), (0, 0));
    assert!(disk.tree().keys().all(|path| !path.starts_with("generations/") && !path.starts_with("files/")));
}

#[test]
fn the_memory_of_what_was_refused_is_bounded() {
    let disk = FaultyDisk::new();
    let mut store = opened(&disk);
    let name = |n: usize| digest(&n.to_le_bytes());
    for n in 0..MAX_REFUSED + 10 {
        store.refuse(&name(n), 1).expect("writes");
    }
    assert!(!store.is_refused(&name(9), 1) && store.is_refused(&name(10), 1));
    store.refuse(&name(10), 2).expect("writes");
    let store = opened(&disk);
    assert!(store.is_refused(&name(10), 2) && store.is_refused(&name(11), 1));
}

#[test]
fn a_card_that_fails_under_a_file_makes_it_missing_and_nothing_else() {
    let disk = on_trial();
    let mut store = opened(&disk);
    let (third, _) = generation(3, &[("model", b"old"), ("new", b"new")]);
    assert_eq!(store.discard_damaged(&third).expect("reads"), Vec::<String>::new());
    disk.plant(&format!("files/{}", digest(b"old")), b"odd");
    assert_eq!(store.discard_damaged(&third).expect("reads"), [digest(b"old")]);
    assert_eq!(store.missing_files(&third).expect("reads").len(), 1);
    opened(&disk);
}

#[test]
fn nothing_is_written_that_is_there_already() {
    let disk = on_trial();
    let mut store = opened(&disk);
    store.save_update(b"{}").expect("writes");
    store.commit_trust(b"roles").expect("writes");
    store.refuse(&digest(b"bad"), 1).expect("writes");
    store.confirm().expect("writes");
    store.collect_garbage(None).expect("removes");
    let before = disk.operations();
    let mut store = opened(&disk);
    let (second, document) = generation(2, &[("model", b"new")]);
    store.save_update(b"{}").expect("nothing to do");
    store.commit_trust(b"roles").expect("nothing to do");
    store.refuse(&digest(b"bad"), 1).expect("nothing to do");
    store.install(&document, &second).expect("nothing to do");
    store.set_live(2).expect("nothing to do");
    store.confirm().expect("nothing to do");
    store.roll_back().expect("nothing to do");
    store.collect_garbage(None).expect("nothing to do");
    assert_eq!(store.discard_damaged(&second).expect("reads"), Vec::<String>::new());
    assert_eq!((disk.operations(), store.bytes_written()), (before, 0));
}

#[test]
fn a_download_that_could_not_be_made_durable_is_not_believed_when_the_next_try_succeeds() {
    let disk = FaultyDisk::new();
    let mut store = opened(&disk);
    let content: Vec<u8> = (0..60).collect();
    let sha256 = digest(&content);
    store.put_piece(&sha256, 0, &content[..16]).expect("writes");
    disk.fail_next_sync();
    let e = store.put_piece(&sha256, 16, &content[16..40]).expect_err("the sync fails");
    assert_eq!((e.code(), store.have(&sha256).expect("reads")), ("disk", 0), "{e}");
    store.put_piece(&sha256, 0, &content).expect("writes");
    disk.fail_next_sync();
    assert_eq!(store.finish_file(&sha256, 60).expect_err("the sync fails").code(), "disk");
    assert_eq!(store.have(&sha256).expect("reads"), 0);
    fetch(&mut store, &[&content]);
}
