//! The front end: people, the command line and automation dial a control plane over ordinary TLS.
//!
//! Its certificate is the administrator's, or one that the collective issued. A client trusts it by a CA file
//! or by fingerprints; [`front_end_probe`] only looks at it, so that a person can be asked once.

use std::sync::{Arc, Mutex, PoisonError};

use muster_ids::Digest;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        WebPkiSupportedAlgorithms, aws_lc_rs::default_provider, verify_tls12_signature,
        verify_tls13_signature,
    },
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{AuthorityFacts, CrossRoot, Roots, authority::signed_by};

use super::{Clock, Credential, Now, TlsError, harden_client, harden_server, provider};

const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];
/// Roots of a collective, and certificates of theirs for others, that are looked at: a server sends eight of its past.
const MOST_ROOTS: usize = 24;

/// What a client of the front end trusts.
#[derive(Debug, Clone)]
pub enum FrontEndTrust {
    /// These authorities; host name and validity are checked.
    Authorities(Vec<CertificateDer<'static>>),
    /// Certificates with one of these SHA-256 digests. A digest of the server's own certificate stands for
    /// that certificate under any host name, for as long as it is valid; a digest of an authority that the
    /// server sends along makes this authority trusted, and where it is the root of a collective also the roots that it
    /// vouches for ([`Roots::pinned_across`]) in certificates that the server sends along.
    Fingerprints(Vec<Digest>),
}

/// The front-end listener: TLS 1.2 and 1.3, no client certificates.
pub fn front_end_server(credential: &Credential, now: Now) -> Result<ServerConfig, TlsError> {
    let config = ServerConfig::builder_with_details(provider(), Arc::new(Clock(now)))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(credential.resolver());
    Ok(harden_server(config, ALPN))
}

/// A client of the front end.
pub fn front_end_client(trust: FrontEndTrust, now: Now) -> Result<ClientConfig, TlsError> {
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        FrontEndTrust::Authorities(authorities) if authorities.is_empty() => {
            return Err(TlsError::NothingTrusted);
        }
        FrontEndTrust::Authorities(authorities) => {
            authorities_verifier(&authorities).map_err(TlsError::Trusted)?
        }
        FrontEndTrust::Fingerprints(pins) if pins.is_empty() => return Err(TlsError::NothingTrusted),
        FrontEndTrust::Fingerprints(pins) => Arc::new(PinVerifier { pins }),
    };
    client(verifier, now)
}

/// A client that records the certificates of a front end and then ends the handshake. It sends nothing, so a
/// stranger learns nothing; ask the person, then connect with [`FrontEndTrust::Fingerprints`].
pub fn front_end_probe(now: Now) -> Result<(ClientConfig, Recorder), TlsError> {
    let recorder = Recorder::default();
    Ok((client(Arc::new(recorder.clone()), now)?, recorder))
}

/// What a probed front end presented.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<CertificateDer<'static>>>>);

impl Recorder {
    /// The presented chain, leaf first; empty when the server presented nothing.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// SHA-256 of the server's own certificate: the fingerprint that a person is shown.
    pub fn fingerprint(&self) -> Option<Digest> {
        self.chain().first().map(|leaf| Digest::of(leaf))
    }
}

fn client(verifier: Arc<dyn ServerCertVerifier>, now: Now) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_details(provider(), Arc::new(Clock(now)))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(harden_client(config, ALPN))
}

fn authorities_verifier(
    authorities: &[CertificateDer<'_>],
) -> Result<Arc<WebPkiServerVerifier>, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone().into_owned())?;
    }
    Ok(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?)
}

fn schemes() -> WebPkiSupportedAlgorithms {
    default_provider().signature_verification_algorithms
}

#[derive(Debug)]
struct PinVerifier {
    pins: Vec<Digest>,
}

impl PinVerifier {
    fn names(&self, certificate: &CertificateDer<'_>) -> bool {
        self.pins.contains(&Digest::of(certificate))
    }

    /// The authorities among `presented` that a pin names, and the roots that a named one vouches for.
    fn trusted(&self, presented: &[CertificateDer<'_>], now: UnixTime) -> Vec<CertificateDer<'static>> {
        let owned = |certificate: &CertificateDer<'_>| certificate.clone().into_owned();
        let named = presented.iter().filter(|authority| self.names(authority));
        let named: Vec<_> = named.map(owned).collect();
        if named.is_empty() {
            return named;
        }
        let (mut roots, mut crosses) = (Vec::new(), Vec::new());
        for certificate in presented {
            match AuthorityFacts::of(certificate) {
                Ok(facts) if facts.self_signed => roots.push((owned(certificate), facts.public_key)),
                Ok(facts) if facts.path_length == 1 => crosses.push(owned(certificate)),
                _ => {}
            }
        }
        roots.truncate(MOST_ROOTS);
        crosses.truncate(MOST_ROOTS);
        let crosses: Vec<CrossRoot> = crosses
            .into_iter()
            .filter_map(|certificate| {
                let (root, _) = roots.iter().find(|(_, key)| signed_by(&certificate, key))?;
                Some(CrossRoot {
                    root: root.clone(),
                    certificate,
                })
            })
            .collect();
        let now = i64::try_from(now.as_secs())
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        Roots::new(roots.into_iter().map(|(root, _)| root).collect())
            .ok()
            .and_then(|roots| roots.pinned_across(&self.pins, &crosses, now))
            .map_or(named, |kept| kept.certificates().to_vec())
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.names(end_entity) {
            currently_valid(end_entity, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        let trusted = self.trusted(intermediates, now);
        if trusted.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        authorities_verifier(&trusted)
            .map_err(|_| CertificateError::BadEncoding)?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &schemes())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &schemes())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes().supported_schemes()
    }
}

/// The pin says whose certificate it is, not that its time is not over.
fn currently_valid(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let (_, x509) =
        x509_parser::parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < x509.validity().not_before.timestamp() {
        Err(CertificateError::NotValidYet)
    } else if now > x509.validity().not_after.timestamp() {
        Err(CertificateError::Expired)
    } else {
        Ok(())
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let presented = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|der| der.clone().into_owned());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = presented.collect();
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes().supported_schemes()
    }
}
