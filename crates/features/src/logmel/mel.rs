//! Triangular filters on the mel scale.

/// A bank of filters over the bins of a power spectrum, each stored from its first weight that is not 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MelBank {
    filters: Vec<Filter>,
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    first: usize,
    weights: Vec<f32>,
}

impl MelBank {
    /// Kaldi's bank: triangles that are straight lines on the mel scale `1127 ln(1 + f / 700)`, over `bins` bins of
    /// `bin_hz` (the bin at the Nyquist frequency is left out, as Kaldi does).
    pub(super) fn kaldi(filters: usize, bins: usize, bin_hz: f64, low_hz: f64, high_hz: f64) -> Self {
        let (low, high) = (hz_to_mel(low_hz), hz_to_mel(high_hz));
        let step = (high - low) / (filters + 1) as f64;
        let filter = |index: usize| {
            let left = low + index as f64 * step;
            let (centre, right) = (left + step, left + 2.0 * step);
            Filter::from_weights((0..bins).map(|bin| {
                let at = hz_to_mel(bin as f64 * bin_hz);
                if at <= centre { (at - left) / step } else { (right - at) / step }
            }))
        };
        Self { filters: (0..filters).map(filter).collect() }
    }

    /// Slaney's bank as `librosa` makes it: triangles that are straight lines in Hz between edges that lie evenly on
    /// Slaney's mel scale (linear below 1 kHz, logarithmic above), each with an area of 1.
    pub(super) fn slaney(filters: usize, bins: usize, bin_hz: f64, high_hz: f64) -> Self {
        let high = hz_to_slaney(high_hz);
        let edges: Vec<f64> = (0..filters + 2).map(|i| slaney_to_hz(high * i as f64 / (filters + 1) as f64)).collect();
        let filter = |edge: &[f64]| {
            let (left, centre, right) = (edge[0], edge[1], edge[2]);
            let height = 2.0 / (right - left);
            Filter::from_weights((0..bins).map(|bin| {
                let hz = bin as f64 * bin_hz;
                height * ((hz - left) / (centre - left)).min((right - hz) / (right - centre))
            }))
        };
        Self { filters: edges.windows(3).map(filter).collect() }
    }

    /// How many filters there are.
    pub(super) fn filters(&self) -> usize {
        self.filters.len()
    }

    /// The energy that each filter passes, in order.
    pub(super) fn energies<'a>(&'a self, power: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        self.filters.iter().map(|filter| {
            let power = &power[filter.first..filter.first + filter.weights.len()];
            filter.weights.iter().zip(power).map(|(w, p)| w * p).sum()
        })
    }
}

impl Filter {
    /// Keeps the run of positive weights: a triangle has one.
    fn from_weights(weights: impl Iterator<Item = f64>) -> Self {
        let mut filter = Self { first: 0, weights: Vec::new() };
        for (bin, weight) in weights.enumerate().filter(|(_, w)| *w > 0.0) {
            if filter.weights.is_empty() {
                filter.first = bin;
            }
            filter.weights.push(weight as f32);
        }
        filter
    }
}

/// An energy whose logarithm is a finite number: not-a-number becomes the floor.
pub(super) fn bounded(energy: f32, floor: f32) -> f32 {
    if energy > floor { energy.min(f32::MAX) } else { floor }
}

/// Where Slaney's scale turns from linear to logarithmic.
const KNEE_HZ: f64 = 1000.0;
const KNEE_MEL: f64 = 15.0;
const HZ_PER_MEL: f64 = 200.0 / 3.0;

/// Logarithmic step of one mel above the knee: 6.4-fold in 27.
/// Kaldi's mel scale (HTK's, with the natural logarithm): `1127 ln(1 + f / 700)`.
pub fn hz_to_mel(hz: f64) -> f64 {
    1127.0 * (hz / 700.0).ln_1p()
}

/// The inverse of [`hz_to_mel`], Hz.
pub fn mel_to_hz(mel: f64) -> f64 {
    700.0 * (mel / 1127.0).exp_m1()
}

fn log_step() -> f64 {
    6.4f64.ln() / 27.0
}

fn hz_to_slaney(hz: f64) -> f64 {
    if hz < KNEE_HZ { hz / HZ_PER_MEL } else { KNEE_MEL + (hz / KNEE_HZ).ln() / log_step() }
}

fn slaney_to_hz(mel: f64) -> f64 {
    if mel < KNEE_MEL { mel * HZ_PER_MEL } else { KNEE_HZ * (log_step() * (mel - KNEE_MEL)).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slaneys_scale_goes_there_and_back() {
        for hz in [0.0, 150.0, 999.0, 1000.0, 1001.0, 4000.0, 8000.0] {
            assert!((slaney_to_hz(hz_to_slaney(hz)) - hz).abs() < 1e-9, "{hz}");
        }
        assert!((hz_to_slaney(6400.0) - 42.0).abs() < 1e-12);
    }

    #[test]
    fn every_filter_passes_something() {
        let kaldi = MelBank::kaldi(80, 256, 31.25, 20.0, 8000.0);
        let slaney = MelBank::slaney(80, 201, 40.0, 8000.0);
        assert_eq!(kaldi.energies(&[1.0; 256]).filter(|e| *e > 0.0).count(), 80);
        assert_eq!(slaney.energies(&[1.0; 201]).filter(|e| *e > 0.0).count(), 80);
    }
}
