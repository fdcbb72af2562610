//! The edit list of an MP4's audio track (ISO/IEC 14496-12, section 8.6.6), which `symphonia` passes over: AAC encoders put
//! a frame or two of silence before the audio and some after it, and note here what to leave out.

/// Which of the decoded audio is meant to be heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Presented {
    /// Left out at the start, seconds.
    pub(super) skip_secs: f64,
    /// Heard after that, seconds; none for all that there is.
    pub(super) secs: Option<f64>,
}

/// Whether the file holds a whole header.
pub(super) fn has_header(file: &[u8]) -> bool {
    child(file, b"moov").is_some()
}

/// What the list of the track of `id` says, where there is one that can be followed.
pub(super) fn presented(file: &[u8], id: u32) -> Option<Presented> {
    let movie = child(file, b"moov")?;
    let movie_scale = time_scale(child(movie, b"mvhd")?)?;
    let track =
        children(movie).filter(|(kind, _)| kind == b"trak").map(|(_, body)| body).find(|t| track_id(t) == Some(id))?;
    let media_scale = time_scale(child(child(track, b"mdia")?, b"mdhd")?)?;
    let list = child(child(track, b"edts")?, b"elst")?;
    let wide = *list.first()? == 1;
    let size = if wide { 20 } else { 12 };
    let count = be_u32(list, 4)? as usize;
    // An entry without media is a pause before the track: nothing of it is in the audio.
    let mut entries = list.get(8..)?.chunks_exact(size).take(count).filter_map(|entry| {
        let (length, start) = if wide {
            (be_u64(entry, 0)?, be_u64(entry, 8)?.cast_signed())
        } else {
            (be_u32(entry, 0)?.into(), i64::from(be_u32(entry, 4)?.cast_signed()))
        };
        Some((length, u64::try_from(start).ok()?))
    });
    let (length, start) = entries.next()?;
    let one = entries.next().is_none();
    Some(Presented {
        skip_secs: start as f64 / media_scale,
        // Fragmented files leave the length open; of several cuts only the first start is followed.
        secs: (length > 0 && one).then(|| length as f64 / movie_scale),
    })
}

fn track_id(track: &[u8]) -> Option<u32> {
    let header = child(track, b"tkhd")?;
    be_u32(header, if *header.first()? == 1 { 20 } else { 12 })
}

/// Units per second of an `mvhd` or `mdhd`.
fn time_scale(header: &[u8]) -> Option<f64> {
    let scale = be_u32(header, if *header.first()? == 1 { 20 } else { 12 })?;
    (scale > 0).then(|| f64::from(scale))
}

fn child<'a>(body: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    children(body).find(|(k, _)| k == kind).map(|(_, body)| body)
}

/// The boxes that stand one after another in `body`, each with its kind. A broken length ends them.
fn children(mut body: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let kind = body.get(4..8)?.try_into().ok()?;
        let (head, size) = match be_u32(body, 0)? {
            0 => (8, body.len() as u64),
            1 => (16, be_u64(body, 8)?),
            size => (8, u64::from(size)),
        };
        let size = usize::try_from(size).ok().filter(|s| (head..=body.len()).contains(s))?;
        let (own, rest) = body.split_at(size);
        body = rest;
        Some((kind, &own[head..]))
    })
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut out = (body.len() as u32 + 8).to_be_bytes().to_vec();
        out.extend(kind);
        out.extend(body);
        out
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_be_bytes()).collect()
    }

    fn file(edits: &[u32]) -> Vec<u8> {
        let media = boxed(b"mdia", &boxed(b"mdhd", &words(&[0, 0, 0, 44_100, 0])));
        let list = boxed(b"edts", &boxed(b"elst", &words(edits)));
        let track = [boxed(b"tkhd", &words(&[0, 0, 0, 7])), media, list].concat();
        let movie = [boxed(b"mvhd", &words(&[0, 0, 0, 1_000, 0])), boxed(b"trak", &track)].concat();
        [boxed(b"ftyp", b"M4A "), boxed(b"moov", &movie)].concat()
    }

    #[test]
    fn the_first_edit_says_what_to_leave_out() {
        let both = Presented { skip_secs: 1_024.0 / 44_100.0, secs: Some(0.3) };
        assert_eq!(presented(&file(&[0, 1, 300, 1_024, 0x1_0000]), 7), Some(both));
        // After a pause.
        assert_eq!(presented(&file(&[0, 2, 50, u32::MAX, 0x1_0000, 300, 1_024, 0x1_0000]), 7), Some(both));
        // Of several only the start; of an open one too.
        let start = Presented { secs: None, ..both };
        assert_eq!(presented(&file(&[0, 2, 300, 1_024, 0x1_0000, 300, 9_999, 0x1_0000]), 7), Some(start));
        assert_eq!(presented(&file(&[0, 1, 0, 1_024, 0x1_0000]), 7), Some(start));
        assert_eq!(presented(&file(&[0, 1, 300, 1_024, 0x1_0000]), 8), None);
    }

    #[test]
    fn no_cut_makes_it_panic() {
        let whole = file(&[0, 1, 300, 1_024, 0x1_0000]);
        for cut in 0..whole.len() {
            let _ = presented(&whole[..cut], 7);
        }
    }
}
