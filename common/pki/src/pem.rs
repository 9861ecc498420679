//! PEM files, read and written: the one module that uses `rustls-pemfile`.
//!
//! That crate is archived upstream (RUSTSEC-2025-0134: unmaintained, no known weakness); its successor is the
//! `PemObject` trait of `rustls-pki-types`. The tests below hold both against each other, so that the switch
//! is a change of this file alone.
//!
//! Invariant: what is returned was read whole. A file with a damaged section gives an error, never the
//! sections before the damage.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// Why a text is not the PEM file that was expected.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// A section without an end, or one that is not base64.
    #[error("cannot read the PEM text; check that the file is complete")]
    Damaged(#[source] std::io::Error),
    /// There is no certificate in it.
    #[error("the PEM text holds no certificate; expected a section BEGIN CERTIFICATE")]
    NoCertificate,
    /// There is no private key in it.
    #[error("the PEM text holds no private key; expected a section BEGIN PRIVATE KEY")]
    NoKey,
    /// More than one private key: which one is meant cannot be known.
    #[error(
        "the PEM text holds more than one private key; leave only the one that belongs to the certificate"
    )]
    SeveralKeys,
}

/// All certificates of `pem`, at least one, in their order. Other sections are skipped.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Vec<_> = rustls_pemfile::certs(&mut &*pem)
        .collect::<Result<_, _>>()
        .map_err(PemError::Damaged)?;
    if found.is_empty() {
        Err(PemError::NoCertificate)
    } else {
        Ok(found)
    }
}

/// The one private key of `pem` (PKCS#8, PKCS#1 or SEC 1). Other sections are skipped.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    let mut rest = pem;
    let key = rustls_pemfile::private_key(&mut rest)
        .map_err(PemError::Damaged)?
        .ok_or(PemError::NoKey)?;
    match rustls_pemfile::private_key(&mut rest).map_err(PemError::Damaged)? {
        None => Ok(key),
        Some(_) => Err(PemError::SeveralKeys),
    }
}

/// `certificates` as PEM, in their order.
pub fn write_certificates<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> String {
    certificates
        .into_iter()
        .map(|certificate| section("CERTIFICATE", certificate))
        .collect()
}

/// A revocation list (DER) as PEM.
pub fn write_crl(der: &[u8]) -> String {
    section("X509 CRL", der)
}

/// A private key in PKCS#8 DER as PEM.
pub fn write_private_key(pkcs8: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(section("PRIVATE KEY", pkcs8))
}

/// RFC 7468: base64 in lines of 64 characters. Everything is sized before it is filled, so that no copy of a
/// key is left behind by a growing buffer.
fn section(label: &str, der: &[u8]) -> String {
    const LINE: usize = 64;
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut text = String::with_capacity(encoded.len() + encoded.len() / LINE + 2 * label.len() + 64);
    text.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(LINE));
        text.extend([line, "\n"]);
        rest = next;
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    /// What the successor of the archived crate makes of the same text.
    fn successor_certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
        let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .ok()?;
        (!found.is_empty()).then_some(found)
    }

    fn agree(pem: &[u8]) {
        assert_eq!(
            certificates(pem).ok(),
            successor_certificates(pem),
            "{}",
            String::from_utf8_lossy(pem)
        );
        match (private_key(pem), PrivateKeyDer::from_pem_slice(pem)) {
            (Ok(ours), theirs) => assert_eq!(ours, theirs.expect("the successor reads it")),
            (Err(PemError::SeveralKeys | PemError::Damaged(_)), _) => {}
            (Err(_), theirs) => assert!(theirs.is_err()),
        }
    }

    fn sample() -> String {
        let certificates = [
            CertificateDer::from(vec![7; 100]),
            CertificateDer::from(vec![8; 48]),
        ];
        write_certificates(&certificates) + &write_private_key(&[9; 121])
    }

    #[test]
    fn what_is_written_is_read_again() {
        let pem = sample();
        let read = certificates(pem.as_bytes()).expect("certificates");
        assert_eq!(
            read,
            [
                CertificateDer::from(vec![7; 100]),
                CertificateDer::from(vec![8; 48])
            ]
        );
        assert_eq!(private_key(pem.as_bytes()).expect("key").secret_der(), [9; 121]);
    }

    #[test]
    fn the_archived_crate_and_its_successor_read_the_same() {
        let pem = sample();
        let crlf = pem.replace('\n', "\r\n");
        let prose = format!("a comment\n{pem}\ntrailing words");
        let sec1 = pem.replace("PRIVATE KEY", "EC PRIVATE KEY");
        let rsa = pem.replace("PRIVATE KEY", "RSA PRIVATE KEY");
        let unknown = pem.replace("CERTIFICATE", "SOMETHING");
        let cut = &pem[..pem.len() / 3];
        let dented = pem.replace('B', "!");
        for text in [
            "", "garbage", &pem, &crlf, &prose, &sec1, &rsa, &unknown, cut, &dented,
        ] {
            agree(text.as_bytes());
        }
        agree(&[0xff, 0xfe, 0x00, b'-', b'-', b'-', b'-', b'-']);
    }

    #[test]
    fn nothing_is_read_from_a_damaged_text() {
        let pem = sample();
        let cut = &pem[..pem.rfind("-----END CERTIFICATE").expect("there") + 5];
        assert!(matches!(certificates(cut.as_bytes()), Err(PemError::Damaged(_))));
        assert!(matches!(certificates(b""), Err(PemError::NoCertificate)));
        assert!(matches!(private_key(b"words"), Err(PemError::NoKey)));
        let twice = format!("{}{}", *write_private_key(&[1; 40]), *write_private_key(&[2; 40]));
        assert!(matches!(
            private_key(twice.as_bytes()),
            Err(PemError::SeveralKeys)
        ));
    }

    proptest! {
        #[test]
        fn any_text_reads_the_same_in_both(
            text in any::<Vec<u8>>(), from in 0usize..600, length in 0usize..80, byte in any::<u8>(),
        ) {
            agree(&text);
            let mut dented = sample().into_bytes();
            let from = from.min(dented.len());
            let to = (from + length).min(dented.len());
            dented[from..to].fill(byte);
            agree(&dented);
        }

        #[test]
        fn any_content_survives_its_text(content in proptest::collection::vec(any::<u8>(), 1..300)) {
            let certificate = CertificateDer::from(content);
            let pem = write_certificates([&certificate]);
            prop_assert!(pem.lines().all(|line| line.len() <= 64));
            prop_assert_eq!(certificates(pem.as_bytes()).expect("read"), [certificate]);
        }
    }
}
