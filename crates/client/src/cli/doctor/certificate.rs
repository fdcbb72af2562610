//! When a certificate ends.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::dates;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when to when a certificate counts, seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: i64,
    pub(super) until: i64,
}

/// The first certificate of a PEM file: in a chain the server's or client's own. `None` where there is none.
pub(super) fn first_of_pem(pem: &[u8]) -> Option<Validity> {
    CertificateDer::pem_slice_iter(pem).next()?.ok().and_then(|der| validity(&der))
}

/// Every certificate of a PEM file: the authorities.
pub(super) fn all_of_pem(pem: &[u8]) -> Vec<Validity> {
    CertificateDer::pem_slice_iter(pem).filter_map(|der| validity(&der.ok()?)).collect()
}

/// `Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serial, signature, issuer, validity, … } … }` (RFC 5280, 4.1).
fn validity(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = value_of(der, SEQUENCE)?;
    let (mut rest, _) = value_of(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Serial number, signature's algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (validity, _) = value_of(rest, SEQUENCE)?;
    let (from, rest) = time(validity)?;
    let (until, _) = time(rest)?;
    Some(Validity { from, until })
}

fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (tag, value, rest) = element(der)?;
    let text = std::str::from_utf8(value).ok()?;
    let secs = match tag {
        UTC_TIME => dates::of_certificate(text, false),
        GENERALIZED_TIME => dates::of_certificate(text, true),
        _ => None,
    };
    Some((secs?, rest))
}

fn value_of(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, ..)| *found == tag).map(|(_, value, rest)| (value, rest))
}

/// Tag, value and what follows of the first element of `der`.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // The length's own length: certificates need three bytes at most.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `openssl req -new -newkey ed25519 -subj /CN=h`, then `openssl ca -selfsign -startdate 20240101000000Z -enddate 20300131120000Z`.
    pub(in crate::cli::doctor) const UNTIL_2030: &str = include_str!("testdata/until-2030.pem");

    #[test]
    fn a_certificates_end_is_read_as_openssl_wrote_it() {
        let validity = first_of_pem(UNTIL_2030.as_bytes()).expect("a certificate");
        assert_eq!(validity.from, dates::of_rfc3339("2024-01-01T00:00:00Z").expect("a date"));
        assert_eq!(validity.until, dates::of_rfc3339("2030-01-31T12:00:00Z").expect("a date"));
        assert_eq!(all_of_pem(UNTIL_2030.repeat(2).as_bytes()), [validity, validity]);
    }

    #[test]
    fn what_is_cut_off_or_changed_has_no_end_and_breaks_nothing() {
        assert_eq!(first_of_pem(b""), None);
        assert_eq!(first_of_pem(b"-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n"), None);
        let der = CertificateDer::pem_slice_iter(UNTIL_2030.as_bytes()).next().expect("one").expect("reads");
        for length in 0..der.len() {
            // Cut off anywhere the outermost length no longer fits.
            assert_eq!(validity(&der[..length]), None, "{length} bytes");
            let mut changed = der.to_vec();
            changed[length] = 0xff;
            // Any answer will do, as long as there is one.
            let _ = validity(&changed);
        }
    }
}
