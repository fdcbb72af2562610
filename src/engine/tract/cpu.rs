//! `linnetd explain-cpu`: what the processor offers and which kernels tract takes on it.

use std::fmt;

use tract_onnx::prelude::DatumType;
use tract_onnx::prelude::tract_linalg::routines::{Func, best_for};
use tract_onnx::prelude::tract_linalg::{BinOp, MmmDispatch, isa};

use crate::store::memory::{Memory, memory};

/// What `linnetd explain-cpu` prints; [`fmt::Display`] is the text for people.
#[derive(Debug, Clone, PartialEq)]
pub struct CpuReport {
    /// `x86_64`, `aarch64`, …
    pub architecture: &'static str,
    /// The processor's name as the kernel gives it, where it does.
    pub processor: Option<String>,
    /// Instruction sets beyond the plain architecture that tract has kernels for.
    pub features: Vec<String>,
    /// What runs on them.
    pub kernels: Vec<KernelChoice>,
    /// Threads that this process may use at once (affinity and control group counted).
    pub threads: usize,
    /// Memory, where the system tells.
    pub memory: Option<Memory>,
}

/// One kernel that tract takes on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelChoice {
    /// What it computes.
    pub what: &'static str,
    /// Its name in tract.
    pub kernel: String,
}

/// Looks at this machine.
pub fn cpu_report() -> CpuReport {
    let isa = isa::native();
    let dispatch = MmmDispatch::native();
    let mut kernels = Vec::new();
    // A matrix product with one weight matrix and many frames, and one with a single column, choose apart.
    for (what, accumulator, columns) in [
        ("f32 matrix product", DatumType::F32, Some(64)),
        ("f32 matrix by vector", DatumType::F32, Some(1)),
        ("f16 matrix product", DatumType::F16, Some(64)),
        ("int8 matrix product", DatumType::I32, Some(64)),
        ("int8 matrix by vector", DatumType::I32, Some(1)),
    ] {
        if let Some(kernel) = dispatch.preferred_kernel(accumulator, Some(256), Some(256), columns) {
            kernels.push(KernelChoice { what, kernel: kernel.name().to_owned() });
        }
    }
    for (what, func) in [
        ("sigmoid", Func::Sigmoid),
        ("SiLU", Func::Silu),
        ("softmax", Func::Softmax2),
        ("depthwise convolution", Func::DepthwiseC),
        ("addition", Func::BinUnicast(BinOp::Add)),
        ("multiplication", Func::BinUnicast(BinOp::Mul)),
    ] {
        if let Some(routine) = best_for(func, DatumType::F32, &isa) {
            kernels.push(KernelChoice { what, kernel: routine.name().to_owned() });
        }
    }
    CpuReport {
        architecture: std::env::consts::ARCH,
        processor: processor_name(),
        features: isa.iter().filter(|i| !i.is_arch()).map(|i| i.name().to_owned()).collect(),
        kernels,
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory: memory(),
    }
}

/// `model name` of x86, `Model` of many ARM boards.
fn processor_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        matches!(key.trim(), "model name" | "Model").then(|| value.trim().to_owned())
    })
}

impl fmt::Display for CpuReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let features =
            if self.features.is_empty() { "none that matter here".to_owned() } else { self.features.join(" ") };
        writeln!(f, "processor     {}", self.processor.as_deref().unwrap_or("not named by the kernel"))?;
        writeln!(f, "architecture  {}", self.architecture)?;
        writeln!(f, "features      {features}")?;
        writeln!(f, "threads       {}", self.threads)?;
        match &self.memory {
            Some(m) => writeln!(f, "memory        {} MiB, {} MiB available", m.total_mib, m.available_mib)?,
            None => writeln!(f, "memory        not told by the system")?,
        }
        writeln!(f, "kernels")?;
        for choice in &self.kernels {
            writeln!(f, "  {:<22} {}", choice.what, choice.kernel)?;
        }
        Ok(())
    }
}
