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
        Backend::Cuda => probe("cuda", || Device::cuda(0)),
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => probe("wgpu", || Device::wgpu(Default::default())),
        #[allow(unreachable_patterns)] // With every feature on, nothing is left.
        other => {
            let name = format!("{other:?}").to_lowercase();
            Err(Failure::unavailable(format!(
                "this linnet-train was built without the back end `{name}`; build it with `cargo build --release --features {name}`"
            )))
        }
    }
}

/// Computes one number on a GPU, because Burn opens a device at its first use, and panics in a thread of its own where there is none.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn probe(name: &str, open: fn() -> Device) -> Result<Device> {
    let opened = std::panic::catch_unwind(|| {
        let device = open();
        let sum = burn::tensor::Tensor::<1>::ones([4], &device).sum().into_data();
        (device, sum.iter::<f32>().next())
    });
    match opened {
        Ok((device, Some(4.0))) => Ok(device),
        Ok((_, sum)) => Err(Failure::unavailable(format!("the back end `{name}` computes 1 + 1 + 1 + 1 = {sum:?}"))),
        Err(_) => Err(Failure::unavailable(format!(
            "the back end `{name}` finds no device that it can use (why, it says above); docs/training.md says what a GPU needs, \
             and `--backend flex` trains on the CPU"
        ))),
    }
}
