//! TLS configurations of both listeners and of those who dial them.
//!
//! Invariants: resumption is off on both sides (no tickets, no session store, no early data), because a
//! resumed session skips verification; the provider is always named, never the process's default; the time
//! comes from the caller. The back end speaks TLS 1.3 with certificates of the collective on both sides.
//!
//! A configuration is immutable: after a reload or a renewal, make another and swap it.

mod back_end;
mod front_end;

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, OtherError, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::{Facts, FactsError, Role, SoftwareSigner, VerifyError};

pub use back_end::{ControlPlanes, IsRevoked, back_end_server, node_client};
pub use front_end::{FrontEndTrust, Recorder, front_end_client, front_end_probe, front_end_server};

/// The present, in milliseconds since 1970, UTC.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key is of an unknown kind or belongs to another certificate.
    #[error("cannot use the TLS certificate with its private key; check that both files belong together")]
    Credential(#[source] rustls::Error),
    /// The certificate is not one for this side of the connection.
    #[error("cannot use the TLS certificate here: it is not that of a {expected}")]
    Role {
        /// Who must present a certificate here.
        expected: Role,
        /// What it is instead, when that is not another role.
        #[source]
        source: Option<FactsError>,
    },
    /// No certificate to trust.
    #[error("cannot connect: neither a CA certificate nor a fingerprint to trust was given")]
    NothingTrusted,
    /// A certificate to trust is damaged.
    #[error("cannot use the CA certificate; check that the file holds CA certificates in PEM")]
    Trusted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The TLS library refused.
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
}

/// A certificate chain with its private key, checked to belong together.
#[derive(Clone)]
pub struct Credential(Arc<CertifiedKey>);

impl Credential {
    /// `chain` (leaf first) with the key of `signer`.
    pub fn new(chain: Vec<CertificateDer<'static>>, signer: &SoftwareSigner) -> Result<Self, TlsError> {
        Self::of(chain, signer.tls_key().map_err(TlsError::Credential)?)
    }

    /// `chain` (leaf first) with a key of any kind that TLS knows: a front end's own files.
    pub fn from_files(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Self, TlsError> {
        Self::of(
            chain,
            aws_lc_rs::sign::any_supported_type(key).map_err(TlsError::Credential)?,
        )
    }

    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: Arc<dyn rustls::sign::SigningKey>,
    ) -> Result<Self, TlsError> {
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(TlsError::Credential)?;
        Ok(Self(Arc::new(certified)))
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.cert
    }

    fn require(&self, expected: Role) -> Result<(), TlsError> {
        match peer(self.chain()) {
            Ok(facts) if facts.id.role() == expected => Ok(()),
            Ok(_) => Err(TlsError::Role {
                expected,
                source: None,
            }),
            Err(source) => Err(TlsError::Role {
                expected,
                source: Some(source),
            }),
        }
    }

    fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(self.0.clone().into())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("leaf", &peer(self.chain()))
            .finish_non_exhaustive()
    }
}

/// Whose certificate the peer of a finished back-end handshake presented: the identity and serial number by
/// which each of its requests is authorized. The handshake has verified them.
pub fn peer(certificates: &[CertificateDer<'_>]) -> Result<Facts, FactsError> {
    Facts::of(certificates.first().ok_or(FactsError::Missing)?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn harden_server(mut config: ServerConfig, alpn: &[&[u8]]) -> ServerConfig {
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

fn harden_client(mut config: ClientConfig, alpn: &[&[u8]]) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// A refusal in the words of TLS, so that the peer gets the fitting alert.
fn refusal(error: VerifyError) -> rustls::Error {
    rustls::Error::InvalidCertificate(match error {
        VerifyError::Expired => CertificateError::Expired,
        VerifyError::NotYetValid => CertificateError::NotValidYet,
        VerifyError::UnknownIssuer | VerifyError::Denied => CertificateError::UnknownIssuer,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}

/// The caller's clock as the TLS library asks for it.
struct Clock(Now);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from((self.0)().div_euclid(1000)).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Milliseconds of a time that the TLS library took from [`Clock`].
fn milliseconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_mul(1000)
}
