//! The executors that one worker keeps between jobs.

use std::sync::{Arc, Weak};

use linnet_proto::WireError;

use super::bounds::MAX_EXECUTORS;
use crate::task::catalog::{Catalog, Served};
use crate::task::{Execute, Pipeline};

/// Executors by model, the most recently used last.
#[derive(Default)]
pub(super) struct Executors(Vec<Kept>);

struct Kept {
    served: Arc<Served>,
    /// The weights that it runs on; another load of the same model has others.
    pipeline: Weak<dyn Pipeline>,
    executor: Box<dyn Execute>,
}

impl Executors {
    /// The executor of `served`, made when there is none; the model is loaded when it is not in memory, and `wait` is called
    /// meanwhile.
    pub(super) fn of(
        &mut self,
        served: &Arc<Served>,
        wait: &mut dyn FnMut() -> Result<(), WireError>,
    ) -> Result<&mut dyn Execute, WireError> {
        if served.home.peek().is_none() {
            // What is left of an earlier load must not lie beside the next one.
            self.0.retain(|kept| !Arc::ptr_eq(&kept.served, served));
        }
        let pipeline = served.home.pipeline(wait)?;
        let is_of = |kept: &Kept| Arc::ptr_eq(&kept.served, served) && kept.runs_on(&pipeline);
        let kept = match self.0.iter().position(is_of) {
            Some(at) => self.0.remove(at),
            None => {
                self.0.retain(|kept| !Arc::ptr_eq(&kept.served, served));
                let executor = pipeline.executor()?;
                if self.0.len() >= MAX_EXECUTORS {
                    self.0.remove(0);
                }
                Kept { served: Arc::clone(served), pipeline: Arc::downgrade(&pipeline), executor }
            }
        };
        self.0.push(kept);
        let last = self.0.len() - 1;
        Ok(&mut *self.0[last].executor)
    }

    /// Drops those whose model `catalog` does not serve any more, or that was let go of.
    pub(super) fn keep_only(&mut self, catalog: &Catalog) {
        self.0.retain(|kept| {
            let there = kept.served.home.peek().is_some_and(|pipeline| kept.runs_on(&pipeline));
            there && catalog.holds(&kept.served)
        });
    }
}

impl Kept {
    fn runs_on(&self, pipeline: &Arc<dyn Pipeline>) -> bool {
        self.pipeline.upgrade().is_some_and(|own| Arc::ptr_eq(&own, pipeline))
    }
}
