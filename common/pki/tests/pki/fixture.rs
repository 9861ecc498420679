//! A collective in memory, and TLS handshakes between two configurations.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use muster_ids::{CollectiveId, ControlPlaneId, NodeId};
use muster_pki::{
    CertificateDer, ClientConfig, KeyUse, Profile, Purpose, Roots, Serial, ServerConfig, ServerName,
    SignFuture, Signer, SoftwareSigner, SpiffeId, Subject, Validity, create_root, issue, tls,
};
use rustls::{ClientConnection, HandshakeKind, ServerConnection};

/// The moment at which everything here is made: 2026-01-01.
pub(crate) const NOW_MS: i64 = 1_767_225_600_000;
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// The result of a future of a key in memory, which is ready at once.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a key in memory answers at once"),
    }
}

pub(crate) fn at(ms: i64) -> tls::Now {
    Arc::new(move || ms)
}

pub(crate) fn serial(number: u8) -> Serial {
    Serial::from_random([number; 16])
}

pub(crate) fn days(count: u32) -> Validity {
    Validity::starting(NOW_MS, DAY * count)
}

/// A leaf with its chain and key.
pub(crate) struct Member {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: SoftwareSigner,
}

impl Member {
    pub(crate) fn credential(&self) -> tls::Credential {
        tls::Credential::new(self.chain.clone(), &self.key).expect("the key is the certificate's")
    }
}

fn authority(certificate: &CertificateDer<'static>, key: &SoftwareSigner) -> Member {
    let pkcs8 = key.to_pkcs8().expect("DER");
    Member {
        chain: vec![certificate.clone()],
        key: SoftwareSigner::from_pkcs8(&pkcs8, KeyUse::Authority).expect("key"),
    }
}

/// One collective with one control plane and one node.
pub(crate) struct Collective {
    pub(crate) id: CollectiveId,
    pub(crate) control_plane: ControlPlaneId,
    pub(crate) node: NodeId,
    pub(crate) root_key: SoftwareSigner,
    pub(crate) root: CertificateDer<'static>,
    pub(crate) issuing_key: SoftwareSigner,
    pub(crate) issuing: CertificateDer<'static>,
}

impl Collective {
    pub(crate) fn new(number: u8) -> Self {
        let id = CollectiveId::new(NOW_MS, [number; 10]);
        Self::with_id(id, number)
    }

    /// A collective that claims an identifier: the identifier is public, the keys are not.
    pub(crate) fn with_id(id: CollectiveId, number: u8) -> Self {
        let control_plane = ControlPlaneId::new(NOW_MS, [number; 10]);
        let root_key = SoftwareSigner::generate(KeyUse::Authority).expect("key");
        let issuing_key = SoftwareSigner::generate(KeyUse::Authority).expect("key");
        let root = ready(create_root(id, &root_key, &serial(1), &days(3650))).expect("root");
        let profile = Profile::Issuing {
            collective: id,
            control_plane,
        };
        let issuing = ready(issue(
            &profile,
            issuing_key.public_key(),
            &root,
            &root_key,
            &serial(2),
            &days(365),
        ))
        .expect("issuing");
        let node = NodeId::new(NOW_MS, [number; 10]);
        Self {
            id,
            control_plane,
            node,
            root_key,
            root,
            issuing_key,
            issuing,
        }
    }

    pub(crate) fn roots(&self) -> Arc<Roots> {
        Arc::new(Roots::new(vec![self.root.clone()]).expect("root"))
    }

    pub(crate) fn subject(&self, subject: Subject) -> Profile {
        Profile::Identity(SpiffeId::new(self.id, subject))
    }

    pub(crate) fn member(&self, subject: Subject) -> Member {
        let key_use = match subject {
            Subject::Node(_) | Subject::ControlPlane(_) => KeyUse::Tls,
            Subject::Policy(_) => KeyUse::Policy,
            Subject::Receipt(_) => KeyUse::Receipt,
        };
        self.of_profile(&self.subject(subject), key_use)
    }

    pub(crate) fn of_profile(&self, profile: &Profile, key_use: KeyUse) -> Member {
        self.issued(profile, key_use, &serial(3), &days(7))
    }

    pub(crate) fn issued(
        &self,
        profile: &Profile,
        key_use: KeyUse,
        serial: &Serial,
        validity: &Validity,
    ) -> Member {
        let key = SoftwareSigner::generate(key_use).expect("key");
        let leaf = ready(issue(
            profile,
            key.public_key(),
            &self.issuing,
            &self.issuing_key,
            serial,
            validity,
        ))
        .expect("leaf");
        Member {
            chain: vec![leaf, self.issuing.clone()],
            key,
        }
    }

    pub(crate) fn node_member(&self) -> Member {
        self.member(Subject::Node(self.node))
    }

    pub(crate) fn control_plane_member(&self) -> Member {
        self.member(Subject::ControlPlane(self.control_plane))
    }

    /// The root as the signer of a message.
    pub(crate) fn root_itself(&self) -> Member {
        authority(&self.root, &self.root_key)
    }

    /// The issuing intermediate as the signer of a message, which it must not be.
    pub(crate) fn issuing_itself(&self) -> Member {
        authority(&self.issuing, &self.issuing_key)
    }

    pub(crate) fn policy_member(&self) -> Member {
        self.member(Subject::Policy(self.control_plane))
    }

    pub(crate) fn receipt_member(&self) -> Member {
        self.member(Subject::Receipt(self.node))
    }

    pub(crate) fn front_end_member(&self) -> Member {
        let names = vec![
            ServerName::try_from("muster.example").expect("name"),
            ServerName::try_from("192.0.2.7").expect("address"),
        ];
        self.of_profile(
            &Profile::FrontEnd {
                collective: self.id,
                names,
            },
            KeyUse::Tls,
        )
    }
}

/// A signer whose device signs something else than it was asked to.
#[derive(Debug)]
pub(crate) struct Faulty(pub(crate) SoftwareSigner);

impl Signer for Faulty {
    fn public_key(&self) -> &muster_pki::PublicKey {
        self.0.public_key()
    }

    fn sign<'a>(&'a self, purpose: Purpose, _: &'a [u8]) -> SignFuture<'a> {
        self.0.sign(purpose, b"something else")
    }
}

/// A finished handshake.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) kind: HandshakeKind,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) client_certificates: Vec<CertificateDer<'static>>,
}

/// Runs a real handshake in memory and one byte of application data each way, which is where a client of
/// TLS 1.3 learns that its certificate was refused.
pub(crate) fn connect(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> Result<Connected, rustls::Error> {
    use std::io::{Read as _, Write as _};

    let name = ServerName::try_from(name.to_owned()).expect("server name");
    let mut client = ClientConnection::new(client, name)?;
    let mut server = ServerConnection::new(server)?;
    client.writer().write_all(b"?").expect("buffered");
    server.writer().write_all(b"!").expect("buffered");
    let mut wire = Vec::new();
    for _ in 0..10 {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        feed(&wire, |mut rest| server.read_tls(&mut rest))?;
        server.process_new_packets()?;
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
        feed(&wire, |mut rest| client.read_tls(&mut rest))?;
        client.process_new_packets()?;
    }
    let mut byte = [0];
    server.reader().read_exact(&mut byte).expect("the client's byte");
    client.reader().read_exact(&mut byte).expect("the server's byte");
    Ok(Connected {
        kind: client.handshake_kind().expect("finished"),
        alpn: client.alpn_protocol().map(<[u8]>::to_vec),
        client_certificates: server.peer_certificates().unwrap_or_default().to_vec(),
    })
}

fn feed(mut wire: &[u8], mut read: impl FnMut(&[u8]) -> std::io::Result<usize>) -> Result<(), rustls::Error> {
    while !wire.is_empty() {
        let taken = read(wire).map_err(|error| rustls::Error::General(error.to_string()))?;
        if taken == 0 {
            return Err(rustls::Error::General("the connection is closed".to_owned()));
        }
        wire = &wire[taken..];
    }
    Ok(())
}
