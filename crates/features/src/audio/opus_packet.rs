//! Packets of several Opus streams: all but the last say where they end (RFC 6716, appendix B).

/// Splits the first, self-delimited packet off, as an ordinary packet, from those that follow. None where it is broken.
///
/// A self-delimited packet has one more length in its head: that of its last frame (of every frame, where all are of one
/// size), which an ordinary packet leaves to be known from its end.
pub(super) fn split_first(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (&toc, rest) = bytes.split_first()?;
    let mut head = vec![toc];
    let (sizes, extra, rest) = match toc & 3 {
        0 => {
            let (size, rest) = length(rest)?;
            (size, 0, rest)
        }
        1 => {
            let (size, rest) = length(rest)?;
            (2 * size, 0, rest)
        }
        2 => {
            let (first, after) = length(rest)?;
            head.extend_from_slice(&rest[..rest.len() - after.len()]);
            let (second, rest) = length(after)?;
            (first + second, 0, rest)
        }
        _ => many(rest, &mut head)?,
    };
    let body = sizes.checked_add(extra)?;
    if body > rest.len() {
        return None;
    }
    let (own, others) = rest.split_at(body);
    head.extend_from_slice(own);
    Some((head, others))
}

/// The head of a packet of any number of frames: bytes of frames, bytes of padding after them, what follows the head.
fn many<'a>(bytes: &'a [u8], head: &mut Vec<u8>) -> Option<(usize, usize, &'a [u8])> {
    let (&count, mut rest) = bytes.split_first()?;
    head.push(count);
    let frames = usize::from(count & 0x3f);
    if frames == 0 {
        return None;
    }
    let mut padding = 0;
    if count & 0x40 != 0 {
        loop {
            let (&more, after) = rest.split_first()?;
            head.push(more);
            rest = after;
            padding += usize::from(more.min(254));
            if more != 255 {
                break;
            }
        }
    }
    let mut sizes = 0;
    if count & 0x80 != 0 {
        for _ in 0..frames - 1 {
            let (size, after) = length(rest)?;
            head.extend_from_slice(&rest[..rest.len() - after.len()]);
            rest = after;
            sizes += size;
        }
        let (last, after) = length(rest)?;
        Some((sizes + last, padding, after))
    } else {
        let (size, after) = length(rest)?;
        Some((frames * size, padding, after))
    }
}

/// The length of a frame (RFC 6716, section 3.2.1) and what follows it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match *bytes {
        [short @ 0..=251, ref rest @ ..] => Some((usize::from(short), rest)),
        [first, second, ref rest @ ..] => Some((usize::from(first) + 4 * usize::from(second), rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_loses_its_extra_length_and_what_follows_is_kept() {
        for (delimited, ordinary) in [
            // One frame of 3 bytes.
            (&[0xf8, 3, 1, 2, 3][..], &[0xf8, 1, 2, 3][..]),
            // Two of 2 bytes.
            (&[0xf9, 2, 1, 2, 3, 4], &[0xf9, 1, 2, 3, 4]),
            // One of 1 and one of 2.
            (&[0xfa, 1, 2, 9, 8, 7], &[0xfa, 1, 9, 8, 7]),
            // Three of 1, with 2 bytes of padding.
            (&[0xfb, 0x43, 2, 1, 7, 8, 9, 0, 0], &[0xfb, 0x43, 2, 7, 8, 9, 0, 0]),
            // Two of different sizes.
            (&[0xfb, 0x82, 1, 2, 7, 8, 9], &[0xfb, 0x82, 1, 7, 8, 9]),
        ] {
            let followed = [delimited, &[0xaa, 0xbb]].concat();
            assert_eq!(split_first(&followed), Some((ordinary.to_vec(), &[0xaa, 0xbb][..])), "{delimited:?}");
            for cut in 0..delimited.len() {
                assert_eq!(split_first(&delimited[..cut]), None, "{delimited:?} cut to {cut}");
            }
        }
    }

    #[test]
    fn lengths_of_two_bytes_reach_1275() {
        let long = [&[0xf8, 255, 255][..], &[5; 1275]].concat();
        let (ordinary, rest) = split_first(&long).expect("a packet");
        assert_eq!((ordinary.len(), rest.len()), (1276, 0));
    }
}
