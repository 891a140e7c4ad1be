//! Reports that were left for an owner ↔ the value of a record of `<prefix>-commands`.
//!
//! ```text
//! 0 u8 version | 1… bincode 2, its standard configuration: a list of reports
//! ```
//! Results are bytes, and most of it; so it is no JSON. Field order is the format. Records wait for
//! an owner across releases: whoever changes a type of a report raises `VERSION`, reads the older
//! ones as well, and lets a release pass that only reads the new one.
//!
//! Must not: believe a length, or claim more memory than the size of the value allows.

use crate::codec::peer::{self, Error};
use crate::model::report::Report;
use bincode::config;

const VERSION: u8 = 1;

/// Encodes reports of one partition.
///
/// # Errors
/// They are larger than a message between instances may be.
pub fn encode(reports: &[Report]) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![VERSION];
    bincode::serde::encode_into_std_write(reports, &mut bytes, config::standard())
        .map_err(|e| Error::Body(e.to_string()))?;
    peer::check_size(bytes.len())?;
    Ok(bytes)
}

/// Decodes them.
///
/// # Errors
/// Another version, too large, bytes that do not fit or are left over.
pub fn decode(bytes: &[u8]) -> Result<Vec<Report>, Error> {
    peer::check_size(bytes.len())?;
    match bytes {
        [VERSION, body @ ..] => peer::decode_body(body),
        [] => Err(crate::codec::Malformed("reports: empty").into()),
        [version, ..] => Err(Error::Version(*version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{Epoch, LeaseNo, PartitionId};
    use crate::model::lease::LeaseToken;
    use crate::model::report::Verb;
    use crate::model::task::{Blob, Encoding};
    use proptest::prelude::*;

    fn reports() -> Vec<Report> {
        let (partition, epoch, number) = (PartitionId(3), Epoch(1 << 40), LeaseNo(77));
        let token = Some(LeaseToken { partition, epoch, number, secret: u64::MAX });
        let result = Some(Blob { encoding: Encoding::Base64, bytes: vec![0, 255] });
        let fail = Verb::Fail {
            class: "io".into(),
            message: "m".into(),
            retryable: true,
            retry_after_ms: Some(5),
            run_ms: None,
        };
        let verbs = [
            Verb::Start,
            Verb::Complete { result, run_ms: Some(9) },
            fail,
            Verb::Release { delay_ms: 1 },
        ];
        verbs.map(|verb| Report { token, worker: Some("w".into()), verb }).to_vec()
    }

    #[test]
    fn every_verb_survives_the_round_trip_and_nothing_else_is_read() {
        let bytes = encode(&reports()).unwrap();
        assert_eq!(decode(&bytes).unwrap(), reports());
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(decode(&[bytes, vec![0]].concat()).is_err(), "a byte more");
        assert!(matches!(decode(b"{}"), Err(Error::Version(b'{'))));
    }

    /// Records of this version may wait in Kafka: it is read for ever.
    #[test]
    fn the_format_of_this_version_is_golden() {
        let sum = crc32c::crc32c(&encode(&reports()).unwrap());
        assert_eq!((VERSION, sum), (1, 0x0849_8784), "{sum:#x}");
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
            drop(decode(&bytes));
            bytes[0] = VERSION;
            drop(decode(&bytes));
        }
    }
}
