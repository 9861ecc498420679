//! Somebody who has a network connection and whatever certificates a test gives them.

use std::{net::SocketAddr, sync::Arc};

use muster_client::{ClientError, Connection, Endpoint, Limits, Request, Transport};
use muster_daemon::Random;
use muster_pki::{KeyUse, Profile, Serial, Signer as _, SoftwareSigner, SpiffeId, Subject, Validity, issue};
use muster_tests::Server;
use muster_wire::node::v1::trust_state::TRUST_STATE_PATH;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs::{default_provider, sign::any_supported_type},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

/// A TLS client that believes every server and shows `certificate` if there is one.
pub(crate) fn client(
    versions: &[&'static SupportedProtocolVersion],
    certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .expect("the provider knows these versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believer));
    let mut config = match certificate {
        Some((chain, key)) => {
            // Shown as it is: the library would not let an honest client show some of these.
            let key = any_supported_type(&key).expect("a key");
            let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
            builder.with_client_cert_resolver(Arc::new(shown))
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(16);
    config.enable_early_data = true;
    config
}

/// What happens when somebody with this certificate asks the back end for the trust state.
pub(crate) async fn asks_back_end(
    back_end: SocketAddr,
    certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<(), ClientError> {
    let config = client(&[&TLS13], certificate);
    let connection = connects(back_end, config).await?;
    connection.send(Request::get(TRUST_STATE_PATH)).await.map(drop)
}

/// A connection with this configuration.
pub(crate) async fn connects(address: SocketAddr, config: ClientConfig) -> Result<Connection, ClientError> {
    let endpoint: Endpoint = format!("https://{address}").parse().expect("an endpoint");
    Transport::tls(Arc::new(config), Limits::default())
        .connect(&endpoint)
        .await
}

/// The key in the form that TLS takes.
pub(crate) fn tls_key(signer: &SoftwareSigner) -> PrivateKeyDer<'static> {
    let pkcs8 = signer.to_pkcs8().expect("a key").to_vec();
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8))
}

/// A certificate that the stolen key of the control plane's authority signs.
pub(crate) async fn forged(
    server: &Server,
    subject: Subject,
    key: &SoftwareSigner,
    validity: &Validity,
) -> Vec<CertificateDer<'static>> {
    let intermediate = server.certificates("issuing.pem").remove(0);
    let id = SpiffeId::new(server.roots().collective(), subject);
    let leaf = issue(
        &Profile::Identity(id),
        key.public_key(),
        &intermediate,
        &server.key("issuing.key", KeyUse::Authority),
        &Serial::from_random(Random::system().bytes()),
        validity,
    )
    .await
    .expect("issued");
    vec![leaf, intermediate]
}

/// TLS itself said no: there was no answer over HTTP.
pub(crate) fn refused_in_tls(result: Result<(), ClientError>) {
    let error = result.expect_err("this must be refused");
    assert!(error.problem().is_none(), "it passed TLS: {error}");
    let said = error.to_string();
    // The server's last word can be overtaken by the end of the connection.
    assert!(
        said.contains("does not accept the certificate of this side") || said.contains("was cut"),
        "{said}"
    );
}

#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
