//! Power spectrum of one windowed frame.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// A real FFT with its buffers.
#[derive(Clone)]
pub(super) struct PowerSpectrum {
    fft: Arc<dyn RealToComplex<f32>>,
    /// The windowed frame, padded with zeros; the FFT uses it as its own space.
    input: Vec<f32>,
    output: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    power: Vec<f32>,
}

impl std::fmt::Debug for PowerSpectrum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PowerSpectrum").field("size", &self.input.len()).finish_non_exhaustive()
    }
}

impl PowerSpectrum {
    /// For an FFT of `size` points.
    pub(super) fn new(size: usize) -> Self {
        let fft = RealFftPlanner::<f32>::new().plan_fft_forward(size);
        Self {
            input: fft.make_input_vec(),
            output: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            power: vec![0.0; size / 2 + 1],
            fft,
        }
    }

    /// Squared magnitudes, `size / 2 + 1` of them, of what `fill` writes into a frame of `size` zeros.
    pub(super) fn of(&mut self, fill: impl FnOnce(&mut [f32])) -> &[f32] {
        self.input.fill(0.0);
        fill(&mut self.input);
        self.fft
            .process_with_scratch(&mut self.input, &mut self.output, &mut self.scratch)
            .expect("the buffers are the plan's own");
        for (power, bin) in self.power.iter_mut().zip(&self.output) {
            *power = bin.norm_sqr();
        }
        &self.power
    }
}
