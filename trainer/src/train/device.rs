//! The device that a back end names.

use burn::tensor::Device;

use super::args::Backend;
use crate::error::{Failure, Result};

/// The device, without autodiff. A back end that was not compiled in is refused with the way to compile it.
pub fn device(backend: Backend) -> Result<Device> {
    match backend {
        #[cfg(feature = "flex")]
        Backend::Flex => Ok(Device::flex()),
        #[cfg(feature = "cuda")]
        Backend::Cuda => Ok(Device::cuda(0)),
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => Ok(Device::wgpu(Default::default())),
        #[allow(unreachable_patterns)] // With every feature on, nothing is left.
        other => {
            let name = format!("{other:?}").to_lowercase();
            Err(Failure::unavailable(format!(
                "this linnet-train was built without the back end `{name}`; build it with `cargo build --release --features {name}`"
            )))
        }
    }
}
