//! The executors that one worker keeps between jobs.

use std::sync::Arc;

use linnet_proto::WireError;

use super::bounds::MAX_EXECUTORS;
use crate::task::Execute;
use crate::task::catalog::{Catalog, Served};

/// Executors by model, the most recently used last.
#[derive(Default)]
pub(super) struct Executors(Vec<(Arc<Served>, Box<dyn Execute>)>);

impl Executors {
    /// The executor of `served`, made when there is none.
    pub(super) fn of(&mut self, served: &Arc<Served>) -> Result<&mut dyn Execute, WireError> {
        let kept = match self.0.iter().position(|(of, _)| Arc::ptr_eq(of, served)) {
            Some(at) => self.0.remove(at),
            None => {
                let made = (Arc::clone(served), served.pipeline.executor()?);
                if self.0.len() >= MAX_EXECUTORS {
                    self.0.remove(0);
                }
                made
            }
        };
        self.0.push(kept);
        let last = self.0.len() - 1;
        Ok(&mut *self.0[last].1)
    }

    /// Drops those whose model `catalog` does not serve any more.
    pub(super) fn keep_only(&mut self, catalog: &Catalog) {
        self.0.retain(|(served, _)| catalog.holds(served));
    }
}
