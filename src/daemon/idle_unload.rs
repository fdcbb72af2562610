//! Models that nobody uses are let go of.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::scheduler::Scheduler;
use crate::task::catalog::Budget;

/// Shortest pause between two looks.
const LOOK_EVERY_AT_LEAST: Duration = Duration::from_secs(1);
/// Looks within the time after which a model is let go of.
const LOOKS: u32 = 4;

/// The task that looks; it ends with this value. While nothing is ever let go of it sleeps.
#[derive(Debug)]
pub(super) struct IdleUnload {
    after: watch::Sender<Duration>,
    task: AbortHandle,
}

impl IdleUnload {
    /// Lets go of what was not used for `after` (never when zero), and has the workers drop what they hold of it.
    pub(super) fn start(budget: &Budget, scheduler: &Arc<Scheduler>, after: Duration) -> Self {
        let workers = Arc::downgrade(scheduler);
        budget.on_leave(move || {
            if let Some(scheduler) = workers.upgrade() {
                scheduler.tidy();
            }
        });
        let (sender, mut receiver) = watch::channel(after);
        let budget = budget.clone();
        let task = tokio::spawn(async move {
            loop {
                let after = *receiver.borrow_and_update();
                if after.is_zero() {
                    if receiver.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                let pause = (after / LOOKS).max(LOOK_EVERY_AT_LEAST);
                if let Ok(changed) = tokio::time::timeout(pause, receiver.changed()).await {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                let budget = budget.clone();
                // Dropping weights unmaps memory, which may take a moment.
                let _ = tokio::task::spawn_blocking(move || budget.let_go_of_idle(after)).await;
            }
        });
        Self { after: sender, task: task.abort_handle() }
    }

    /// Another time.
    pub(super) fn set(&self, after: Duration) {
        // Told only when it differs: a pause that is under way goes on.
        self.after.send_if_modified(|own| std::mem::replace(own, after) != after);
    }
}

impl Drop for IdleUnload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::{FakeEngine, FakeModel, FakeRun};
    use crate::scheduler::SchedulerSettings;
    use crate::status::Events;
    use crate::store::Package;
    use crate::task::Pipeline;
    use crate::task::catalog::{Catalog, CatalogHandle, Families, Home, Loader, Presence};
    use crate::task::fake::{self, FakePipeline};

    #[tokio::test]
    async fn what_nobody_uses_is_let_go_of_once_a_time_is_set() {
        let pipeline = || Arc::new(FakePipeline::new(|_, _| Ok(fake::transcript("hello")))) as Arc<dyn Pipeline>;
        let engine = FakeEngine(FakeModel::new(|_, _| FakeRun::Fail("no graph".into())));
        let families = Families::default().with("test", move |_, _, _| Ok(pipeline()));
        let (events, budget) = (Events::default(), Budget::default());
        let loader = Loader { engine: Arc::new(engine), families, events: events.clone(), budget: budget.clone() };
        let mut manifest = fake::manifest("a");
        (manifest.canary, manifest.family) = (None, "test".to_owned());
        let package = Package { dir: std::env::temp_dir(), manifest, unlisted: Vec::new() };
        let home = Home::empty(package, loader, budget.clone(), false);
        home.pipeline(&mut || Ok(())).expect("it loads");

        let catalog = CatalogHandle::new(Arc::new(Catalog::new(Vec::new(), None)));
        let scheduler = Scheduler::start(SchedulerSettings::default(), catalog, events).expect("threads start");
        let scheduler = Arc::new(scheduler);
        let idle = IdleUnload::start(&budget, &scheduler, Duration::ZERO);
        tokio::time::sleep(LOOK_EVERY_AT_LEAST + Duration::from_millis(500)).await;
        assert!(matches!(home.presence(), Presence::In(_)), "without a time everything stays");
        idle.set(Duration::from_millis(100));
        let gone = async {
            while home.presence() != Presence::Out {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone).await.expect("it is let go of");
    }
}
