//! The back end: nodes dial control planes, each side proves its identity with a certificate of the
//! collective.
//!
//! Invariant: both sides check path, usage, role and collective by `Roots::verify`; the server also asks
//! whether the certificate is revoked, by an explicit question. (An empty list of CRLs would make the path
//! verifier check nothing.) Names and addresses of servers are not looked at.

use std::{fmt, sync::Arc};

use muster_ids::{ControlPlaneId, NodeId};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{
    Clock, Credential, Now, TlsError, harden_client, harden_server, milliseconds, provider, refusal,
};
use crate::{Facts, Role, Roots, Serial, Subject, verify::ALGORITHMS};

/// HTTP/2 only: one connection carries the control stream and the requests beside it.
const ALPN: &[&[u8]] = &[b"h2"];

static SCHEMES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: ALGORITHMS,
    mapping: &[(SignatureScheme::ECDSA_NISTP256_SHA256, ALGORITHMS)],
};

/// Whether a certificate of a node is revoked. Asked in every handshake; it must answer at once.
pub type IsRevoked = Arc<dyn Fn(&NodeId, &Serial) -> bool + Send + Sync>;

/// The control planes that a node accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlPlanes {
    /// Every control plane of the collective.
    Any,
    /// These only. An empty list accepts none.
    Only(Vec<ControlPlaneId>),
}

impl ControlPlanes {
    fn accepts(&self, id: ControlPlaneId) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ids) => ids.contains(&id),
        }
    }
}

/// The back-end listener of a control plane: TLS 1.3, a node's certificate required.
pub fn back_end_server(
    credential: &Credential,
    roots: Arc<Roots>,
    is_revoked: IsRevoked,
    now: Now,
) -> Result<ServerConfig, TlsError> {
    credential.require(Role::ControlPlane)?;
    let verifier = Arc::new(NodeVerifier { roots, is_revoked });
    let config = ServerConfig::builder_with_details(provider(), Arc::new(Clock(now)))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(credential.resolver());
    Ok(harden_server(config, ALPN))
}

/// A node that dials the back end of `accepted` control planes.
pub fn node_client(
    credential: &Credential,
    roots: Arc<Roots>,
    accepted: ControlPlanes,
    now: Now,
) -> Result<ClientConfig, TlsError> {
    credential.require(Role::Node)?;
    let verifier = Arc::new(ControlPlaneVerifier { roots, accepted });
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(Clock(now)))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(credential.resolver());
    // The name is not part of the verification, so it need not be told to the network.
    config.enable_sni = false;
    Ok(harden_client(config, ALPN))
}

struct NodeVerifier {
    roots: Arc<Roots>,
    is_revoked: IsRevoked,
}

impl ClientCertVerifier for NodeVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let facts = verify(&self.roots, end_entity, intermediates, Role::Node, now)?;
        match facts.id.subject {
            Subject::Node(node) if !(self.is_revoked)(&node, &facts.serial) => {
                Ok(ClientCertVerified::assertion())
            }
            _ => Err(CertificateError::Revoked.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &SCHEMES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.supported_schemes()
    }
}

impl fmt::Debug for NodeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeVerifier")
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct ControlPlaneVerifier {
    roots: Arc<Roots>,
    accepted: ControlPlanes,
}

impl ServerCertVerifier for ControlPlaneVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let facts = verify(&self.roots, end_entity, intermediates, Role::ControlPlane, now)?;
        match facts.id.subject {
            Subject::ControlPlane(id) if self.accepted.accepts(id) => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &SCHEMES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.supported_schemes()
    }
}

fn verify(
    roots: &Roots,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    role: Role,
    now: UnixTime,
) -> Result<Facts, rustls::Error> {
    let chain: Vec<CertificateDer<'_>> = std::iter::once(end_entity)
        .chain(intermediates)
        .map(|der| der.as_ref().into())
        .collect();
    roots.verify(&chain, role, milliseconds(now)).map_err(refusal)
}

fn no_tls12() -> rustls::Error {
    rustls::Error::General("the back end speaks TLS 1.3 only".to_owned())
}
