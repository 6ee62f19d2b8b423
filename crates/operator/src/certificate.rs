//! When a certificate ends. Pure: reads just far enough into the DER, and keeps nothing of it.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use k8s_openapi::ByteString;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize as _;
use serde_json::Value;

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
/// `[0]`: the version, left out in the oldest form.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When the first certificate of a PEM text ends, as the API writes bytes: in base64. `None` = it holds none.
pub(crate) fn first_ends(encoded: &Value) -> Option<Timestamp> {
    let ByteString(text) = ByteString::deserialize(encoded).ok()?;
    ends(&CertificateDer::from_pem_slice(&text).ok()?)
}

/// `notAfter` of a certificate (RFC 5280, 4.1); `None` = it is no certificate.
fn ends(der: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = value(der, SEQUENCE)?;
    let (mut signed, _) = value(certificate, SEQUENCE)?;
    if let Some((_, rest)) = value(signed, VERSION) {
        signed = rest;
    }
    let (_serial, rest) = value(signed, INTEGER)?;
    let (_algorithm, rest) = value(rest, SEQUENCE)?;
    let (_issuer, rest) = value(rest, SEQUENCE)?;
    let (validity, _) = value(rest, SEQUENCE)?;
    let (_from, rest) = time(validity)?;
    time(rest).map(|(until, _)| until)
}

/// The value of the first element, where it has this tag, and what follows it.
fn value(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // Four bytes of length are 4 GiB: more than any certificate has.
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                length
                    .iter()
                    .fold(0, |sum: usize, byte| (sum << 8) | usize::from(*byte)),
                rest,
            )
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    (tag == wanted).then_some((value, rest))
}

/// A time, and what follows it. Two digits of a year are 1950 to 2049.
fn time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (text, rest) = if let Some((text, rest)) = value(bytes, UTC_TIME) {
        let text = std::str::from_utf8(text).ok()?;
        let early = text.get(..2)?.parse::<u8>().ok()? < 50;
        (format!("{}{text}", if early { "20" } else { "19" }), rest)
    } else {
        let (text, rest) = value(bytes, GENERALIZED_TIME)?;
        (std::str::from_utf8(text).ok()?.to_owned(), rest)
    };
    let moment = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some((moment.to_zoned(TimeZone::UTC).ok()?.timestamp(), rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut parameters = CertificateParams::new(vec!["me.example.test".to_owned()]).unwrap();
        parameters.not_before = date_time_ymd(year - 1, 2, 3);
        parameters.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_notations() {
        for (year, expected) in [
            (1999, "1999-12-31T00:00:00Z"),
            (2027, "2027-12-31T00:00:00Z"),
            (2051, "2051-12-31T00:00:00Z"),
        ] {
            assert_eq!(ends(&certificate(year)), Some(expected.parse().unwrap()));
        }
    }

    #[test]
    fn what_breaks_off_or_is_none_has_no_end() {
        let good = certificate(2027);
        assert_eq!(ends(&good.repeat(2)), ends(&good), "what follows is not read");
        for length in 0..good.len() {
            assert_eq!(ends(&good[..length]), None, "{length}");
        }
        for bad in [
            &b"-----BEGIN"[..],
            &[SEQUENCE, 0x85, 1, 1, 1, 1, 1],
            &[SEQUENCE, 0xff],
            &[SEQUENCE, 0],
        ] {
            assert_eq!(ends(bad), None);
        }
    }
}
