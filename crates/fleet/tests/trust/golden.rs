//! Repositories that `python-tuf` has written (`tests/goldens/fleet/generate.py`), through the source that reads a stick.

use std::path::PathBuf;

use linnet_fleet::clock::VirtualClock;
use linnet_fleet::select::{Passed, choose};
use linnet_fleet::source::{Directory, Pace, Progress, Wanted, download};
use linnet_fleet::trust::{Limits, Trusted, fetch_generation, refresh};
use linnet_proto::fleet::{DeviceFacts, Rollout, file_path};

use super::support::NOW;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/fleet").join(name)
}

#[tokio::test]
async fn repositories_of_the_reference_implementation_are_updated_from() {
    let root = std::fs::read(golden("first/metadata/1.root.json")).expect("a root");
    let trusted = Trusted::begin(&root).expect("trusted");
    let (clock, limits) = (VirtualClock::at(NOW), Limits::default());
    let (first, second) = (Directory::new(golden("first")), Directory::new(golden("second")));
    let refreshed = refresh(&trusted, &first, &clock, &limits).await.expect("accepted");
    let device = DeviceFacts { name: "kitchen".into(), ..DeviceFacts::default() };
    assert_eq!(choose(&refreshed.contents, "golden", &device, 0, &[]).begin.expect("generation 1").number, 1);

    // The online key has been rotated meanwhile.
    let refreshed = refresh(&refreshed.trusted, &second, &clock, &limits).await.expect("accepted");
    assert_eq!(refreshed.trusted.versions().reported(), [2, 2, 2]);
    let passed = choose(&refreshed.contents, "golden", &device, 1, &[]).passed;
    let opened = Rollout::BUCKETS / 10;
    assert!(matches!(&passed[..], [(2, Passed::NotOpened { opened: said, .. })] if *said == opened), "{passed:?}");
    let inside = (0..).map(|n| DeviceFacts { name: format!("device-{n}"), ..DeviceFacts::default() });
    let begun = inside.take(200).filter(|device| {
        choose(&refreshed.contents, "golden", device, 1, &[]).begin.is_some_and(|begin| begin.number == 2)
    });
    assert!((5..50).contains(&begun.count()), "about a tenth is in the wave");

    let generation = fetch_generation(&refreshed.contents, &second, "golden", 2, &limits).await.expect("fetched");
    for file in generation.files() {
        let wanted = Wanted { path: file_path(&file.sha256), bytes: file.bytes, sha256: file.sha256.clone() };
        let mut content = Vec::new();
        download(&second, &wanted, &mut Progress::new(), &mut content, &Pace::default()).await.expect("fetched");
        assert_eq!(content, b"# manifest of generation 2\n");
    }
    // And not back again.
    let e = refresh(&refreshed.trusted, &first, &clock, &limits).await.expect_err("refused");
    assert!(matches!(e.code(), "rollback" | "wrong_keys"), "{e}");
    assert_eq!(Trusted::parse(&refreshed.trusted.to_json()).expect("reads"), refreshed.trusted);
}
