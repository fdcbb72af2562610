//! What becomes of a model whose removal is cut off.

use std::time::Duration;

use super::*;
use crate::daemon::update::{self, Order, Orders};
use crate::store::write::settle_abandoned;
use crate::task::catalog::Catalog;

/// A directory with a model `lang-id`, its changes, and the loop's side of them.
fn bench() -> (tempfile::TempDir, ModelChanges, Orders) {
    let dir = tempfile::tempdir().expect("a directory");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/lang-id");
    let model = dir.path().join("lang-id");
    std::fs::create_dir(&model).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a model of the tree").flatten() {
        std::fs::copy(entry.path(), model.join(entry.file_name())).expect("copies");
    }
    let (updates, orders) = update::updates();
    let catalog = CatalogHandle::new(Arc::new(Catalog::new(Vec::new(), None)));
    (dir, ModelChanges::new(updates, catalog), orders)
}

/// Answers where models are, and gives the order to load them, to be answered.
async fn until_load(orders: &mut Orders, dir: &Path) -> tokio::sync::oneshot::Sender<Result<(), String>> {
    loop {
        match orders.next().await {
            Order::Places { answer } => {
                let places = Places { into: dir.to_owned(), own: vec![dir.to_owned()], fleet: None };
                answer.send(places).expect("somebody asked");
            }
            Order::LoadModels { answer } => return answer,
            _ => panic!("nobody asks for anything else"),
        }
    }
}

async fn eventually(what: &str, is: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_removal_whose_caller_leaves_is_done_to_its_end() {
    for refused in [true, false] {
        let (dir, changes, mut orders) = bench();
        let model = dir.path().join("lang-id");
        let caller = tokio::spawn(changes.remove("lang-id".to_owned()));
        let answer = until_load(&mut orders, dir.path()).await;
        assert!(!model.exists(), "it is out of sight");
        caller.abort();
        assert!(caller.await.expect_err("it has left").is_cancelled());
        let told = if refused { Err("the configuration names it".to_owned()) } else { Ok(()) };
        answer.send(told).expect("the change goes on without its caller");
        // The next change waits for this one.
        drop(changes.one_at_a_time.lock().await);
        let left = || std::fs::read_dir(dir.path()).expect("reads").count();
        assert_eq!((model.is_dir(), left()), (refused, usize::from(refused)));
    }
}

#[tokio::test]
async fn a_model_whose_removal_a_kill_cut_off_is_there_again() {
    let (dir, changes, mut orders) = bench();
    let model = dir.path().join("lang-id");
    let doomed = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let removing = changes.remove("lang-id".to_owned());
    let runs = std::thread::spawn(move || {
        // Ends, and drops what it runs, when the models are to be loaded.
        let answer = doomed.block_on(async {
            tokio::spawn(removing);
            until_load(&mut orders, dir.path()).await
        });
        drop(doomed);
        drop(answer);
        dir
    });
    let dir = runs.join().expect("it ends");
    assert!(!model.exists(), "it is out of sight");
    eventually("it is put back", || settle_abandoned(dir.path()).put_back == 1).await;
    assert!(model.join("manifest.toml").is_file());
}
