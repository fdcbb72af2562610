//! Linear and companded PCM: bytes to samples.

use bytes::Bytes;

use super::AudioError;
use super::mix::mix;
use super::source::{Form, Source};

/// Frames that one read decodes.
const FRAMES_PER_READ: usize = 4096;

/// How one sample is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Unsigned, 128 is silence.
    U8,
    /// Signed, little-endian.
    S16,
    /// Signed, big-endian.
    S16Be,
    /// Signed, little-endian, 3 bytes.
    S24,
    /// Signed, little-endian.
    S32,
    /// IEEE 754, little-endian.
    F32,
    /// IEEE 754, little-endian.
    F64,
    /// ITU-T G.711.
    ALaw,
    /// ITU-T G.711.
    MuLaw,
}

impl Encoding {
    /// Bytes of one sample.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::ALaw | Self::MuLaw => 1,
            Self::S16 | Self::S16Be => 2,
            Self::S24 => 3,
            Self::S32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Appends the samples in `bytes`; what is not finite comes out as NaN.
    fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::U8 => out.extend(bytes.iter().map(|&b| (f32::from(b) - 128.0) / 128.0)),
            Self::ALaw => out.extend(bytes.iter().map(|&b| f32::from(a_law(b)) / 32_768.0)),
            Self::MuLaw => out.extend(bytes.iter().map(|&b| f32::from(mu_law(b)) / 32_768.0)),
            Self::S16 => each(bytes, out, |b| f32::from(i16::from_le_bytes(b)) / 32_768.0),
            Self::S16Be => each(bytes, out, |b| f32::from(i16::from_be_bytes(b)) / 32_768.0),
            Self::S24 => each(bytes, out, |[a, b, c]| (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0),
            Self::S32 => each(bytes, out, |b| (f64::from(i32::from_le_bytes(b)) / 2_147_483_648.0) as f32),
            Self::F32 => each(bytes, out, f32::from_le_bytes),
            // A finite value beyond f32 is loud, not broken.
            Self::F64 => each(bytes, out, |b| match f64::from_le_bytes(b) {
                x if x.is_finite() => x.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32,
                _ => f32::NAN,
            }),
        }
    }
}

fn each<const N: usize>(bytes: &[u8], out: &mut Vec<f32>, sample: impl Fn([u8; N]) -> f32) {
    out.extend(bytes.as_chunks::<N>().0.iter().map(|&b| sample(b)));
}

/// G.711 A-law to 16 bits.
fn a_law(byte: u8) -> i16 {
    let coded = byte ^ 0x55;
    let segment = (coded >> 4) & 7;
    let step = i16::from(coded & 15) << 4;
    let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    if coded & 0x80 == 0 { -magnitude } else { magnitude }
}

/// G.711 mu-law to 16 bits.
fn mu_law(byte: u8) -> i16 {
    let coded = !byte;
    let magnitude = ((i16::from(coded & 15) << 3) + 0x84) << ((coded >> 4) & 7);
    if coded & 0x80 == 0 { magnitude - 0x84 } else { 0x84 - magnitude }
}

/// Interleaved samples in memory.
pub(super) struct Pcm {
    bytes: Bytes,
    encoding: Encoding,
    /// Bytes from one sample to the next (a 24-bit sample may stand in 4), the sample at their end.
    stride: usize,
    form: Form,
    declared_frames: u64,
    frames_read: u64,
    samples: Vec<f32>,
}

impl Pcm {
    /// Samples without gaps. `bytes` that do not fill a frame at the end are left out.
    pub(super) fn new(bytes: Bytes, encoding: Encoding, form: Form) -> Self {
        Self::with_stride(bytes, encoding, encoding.bytes(), form)
    }

    /// Samples at the upper end of `stride` bytes each.
    pub(super) fn with_stride(bytes: Bytes, encoding: Encoding, stride: usize, form: Form) -> Self {
        let frame_bytes = (stride * usize::from(form.channels)).max(1);
        let declared_frames = (bytes.len() / frame_bytes) as u64;
        Self { bytes, encoding, stride, form, declared_frames, frames_read: 0, samples: Vec::new() }
    }

    /// What the header says, where more than there is.
    pub(super) fn declare(&mut self, frames: u64) {
        self.declared_frames = frames;
    }
}

impl Source for Pcm {
    fn form(&self) -> Option<Form> {
        Some(self.form)
    }

    fn declared_secs(&self) -> Option<f64> {
        (self.form.rate > 0).then(|| self.declared_frames as f64 / f64::from(self.form.rate))
    }

    fn read(&mut self, mono: &mut Vec<f32>) -> Result<bool, AudioError> {
        let frame_bytes = (self.stride * usize::from(self.form.channels)).max(1);
        let frames = (self.bytes.len() / frame_bytes).min(FRAMES_PER_READ);
        if frames == 0 {
            return Ok(false);
        }
        let piece = self.bytes.split_to(frames * frame_bytes);
        self.samples.clear();
        if self.stride == self.encoding.bytes() {
            self.encoding.decode(&piece, &mut self.samples);
        } else {
            let gap = self.stride - self.encoding.bytes();
            for sample in piece.chunks_exact(self.stride) {
                self.encoding.decode(&sample[gap..], &mut self.samples);
            }
        }
        mix(&self.samples, self.form.channels, self.frames_read, mono)?;
        self.frames_read += frames as u64;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoding: Encoding, bytes: &[u8]) -> Vec<f32> {
        let mut out = Vec::new();
        encoding.decode(bytes, &mut out);
        out
    }

    #[test]
    fn every_encoding_reaches_its_ends_and_its_middle() {
        assert_eq!(decode(Encoding::U8, &[0, 128, 192]), [-1.0, 0.0, 0.5]);
        assert_eq!(decode(Encoding::S16, &[0, 0x80, 0, 0, 0, 0x40]), [-1.0, 0.0, 0.5]);
        assert_eq!(decode(Encoding::S16Be, &[0x80, 0, 0, 0, 0x40, 0]), [-1.0, 0.0, 0.5]);
        assert_eq!(decode(Encoding::S24, &[0, 0, 0x80, 0, 0, 0, 0, 0, 0x40]), [-1.0, 0.0, 0.5]);
        assert_eq!(decode(Encoding::S32, &[0, 0, 0, 0x80, 0, 0, 0, 0x40]), [-1.0, 0.5]);
        assert_eq!(decode(Encoding::F32, &(-0.25f32).to_le_bytes()), [-0.25]);
        assert_eq!(decode(Encoding::F64, &0.75f64.to_le_bytes()), [0.75]);
        assert_eq!(decode(Encoding::F64, &1e300f64.to_le_bytes()), [f32::MAX]);
        assert!(decode(Encoding::F64, &f64::INFINITY.to_le_bytes())[0].is_nan());
    }

    #[test]
    fn companded_codes_have_the_values_of_the_standard() {
        // ITU-T G.711, tables 1 and 2, scaled to 16 bits.
        for (code, value) in [(0xd5, 8), (0x55, -8), (0xaa, 32_256), (0x2a, -32_256), (0x80, 5_504), (0xc5, 264)] {
            assert_eq!(a_law(code), value, "A-law {code:#x}");
        }
        for (code, value) in [(0xff, 0), (0x7f, 0), (0x80, 32_124), (0x00, -32_124), (0xf0, 120), (0xef, 132)] {
            assert_eq!(mu_law(code), value, "mu-law {code:#x}");
        }
    }

    #[test]
    fn padded_samples_are_taken_from_the_upper_end() {
        let bytes = Bytes::from_static(&[9, 0, 0, 0x40, 9, 0, 0, 0xc0]);
        let mut pcm = Pcm::with_stride(bytes, Encoding::S24, 4, Form { rate: 16_000, channels: 1 });
        let mut mono = Vec::new();
        assert_eq!(pcm.read(&mut mono), Ok(true));
        assert_eq!(mono, [0.5, -0.5]);
    }
}
