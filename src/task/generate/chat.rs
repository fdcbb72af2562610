//! Conversations as prompts, by the model's chat template.

use std::path::Path;

use linnet_proto::WireError;
use linnet_proto::generate::Chat;

use super::Shared;
use super::request::Ready;

#[derive(Debug)]
pub(super) struct Template;

impl Template {
    pub(super) fn load(_dir: &Path) -> Result<Option<Self>, String> {
        Ok(None)
    }
}

pub(super) fn prompt(_shared: &Shared, _chat: &Chat) -> Result<Ready, WireError> {
    Err(super::super::wrong_task(&crate::job::TaskRequest::Detect(Default::default())))
}
