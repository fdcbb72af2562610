//! Many channels to one.

use super::AudioError;

/// Appends the mean of the channels of each frame, clipped to `[-1, 1]`.
///
/// `interleaved` holds whole frames; `first_frame` is the place of the first one in its track, to name a sample that is not
/// a number.
pub(super) fn mix(interleaved: &[f32], channels: u16, first_frame: u64, mono: &mut Vec<f32>) -> Result<(), AudioError> {
    if let Some(at) = interleaved.iter().position(|x| !x.is_finite()) {
        let (frame, channel) = (at / usize::from(channels), at % usize::from(channels));
        return Err(AudioError::Malformed(format!(
            "sample {} of channel {} is {}; every sample must be a finite number",
            first_frame + frame as u64,
            channel + 1,
            interleaved[at]
        )));
    }
    if channels == 1 {
        mono.extend(interleaved.iter().map(|x| x.clamp(-1.0, 1.0)));
    } else {
        let scale = 1.0 / f32::from(channels);
        mono.extend(
            interleaved
                .chunks_exact(usize::from(channels))
                // Scaled before they are added: samples of any size stay finite.
                .map(|frame| frame.iter().map(|x| x * scale).sum::<f32>().clamp(-1.0, 1.0)),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_averaged_and_loud_samples_clipped() {
        let mut mono = Vec::new();
        mix(&[0.5, -0.25, 1.0, 1.0, f32::MAX, f32::MAX], 2, 0, &mut mono).expect("finite");
        assert_eq!(mono, [0.125, 1.0, 1.0]);
    }

    #[test]
    fn a_sample_that_is_not_a_number_is_named() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let e = mix(&[0.0, 0.0, 0.0, bad], 2, 100, &mut Vec::new()).expect_err("a refusal");
            assert_eq!(
                e,
                AudioError::Malformed(format!(
                    "sample 101 of channel 2 is {bad}; every sample must be a finite number"
                ))
            );
        }
    }
}
