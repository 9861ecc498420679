//! The peer: Debian's nats-server behind TLS, one publisher, and a process of as many subscribers as there are nodes, each
//! on a connection of its own, each of which verifies what it gets. NATS' protocol is lines of text (docs.nats.io,
//! "Client Protocol"), so that no crate is needed.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use muster_daemon::{Clock, descriptors};
use muster_pki::{CertificateDer, Envelope, PayloadType, Roots, pem};
use muster_tests::Server;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::now_us;
use crate::{fleet::Said, sample};

/// The first argument of the process of subscribers; then come the address, the certificate of its authority, the roots
/// of the collective, and how many.
pub(crate) const ARGUMENT: &str = "--subscribe";

/// What messages are about.
const SUBJECT: &str = "trust";
/// The name in the server's certificate.
const NAME: &str = "localhost";
/// How long the server may take until it listens.
const READY: Duration = Duration::from_secs(20);

/// The running server.
pub(super) struct Nats {
    child: Child,
    address: SocketAddr,
    authority: PathBuf,
}

impl Nats {
    #[expect(clippy::disallowed_methods, reason = "a benchmark starts the peers")]
    pub(super) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let authority = certificates(folder)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let config = folder.join("nats.conf");
        let of = |name: &str| folder.join(name).display().to_string();
        fs::write(
            &config,
            format!(
                "host: 127.0.0.1\nport: {port}\ntls {{ cert_file: \"{}\", key_file: \"{}\", timeout: 30 }}\n",
                of("server.pem"),
                of("server.key")
            ),
        )?;
        let child = Command::new("/usr/sbin/nats-server")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start nats-server, which tests/benches/run.sh installs")?;
        let nats = Self {
            child,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            authority,
        };
        let begun = now_us();
        while let Err(error) = nats.connect().await {
            ensure!(
                u128::from(now_us() - begun) < READY.as_micros(),
                "nats-server cannot be used: {error:#}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(nats)
    }

    /// A connection that has spoken first.
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.address, &connector(&self.authority)?).await
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority and a certificate of the server under it; where that of the authority lies.
fn certificates(folder: &Path) -> anyhow::Result<PathBuf> {
    let (key, pair) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let server = CertificateParams::new(vec![NAME.to_owned()])?.signed_by(&pair, &issuer)?;
    fs::write(folder.join("server.pem"), pem::write_certificates([server.der()]))?;
    fs::write(
        folder.join("server.key"),
        pem::write_private_key(pair.serialized_der()),
    )?;
    let file = folder.join("authority.pem");
    fs::write(&file, pem::write_certificates([authority.der()]))?;
    Ok(file)
}

fn certificates_of(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    Ok(pem::certificates(&text)?)
}

/// TLS without resumption, as ours.
fn connector(authority: &Path) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates_of(authority)? {
        roots.add(certificate)?;
    }
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One connection to the server.
pub(super) struct Connection(BufReader<TlsStream<TcpStream>>);

impl Connection {
    async fn open(address: SocketAddr, connector: &TlsConnector) -> anyhow::Result<Self> {
        let mut plain = BufReader::new(TcpStream::connect(address).await?);
        let mut greeting = String::new();
        plain.read_line(&mut greeting).await?;
        ensure!(greeting.starts_with("INFO "), "it greets with {greeting:?}");
        ensure!(plain.buffer().is_empty(), "it says more before the handshake");
        let plain = plain.into_inner();
        plain.set_nodelay(true)?;
        let stream = connector.connect(ServerName::try_from(NAME)?, plain).await?;
        let mut connection = Self(BufReader::new(stream));
        connection
            .send(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":true,\"lang\":\"rust\",\"version\":\"1\",\"protocol\":1}\r\n")
            .await?;
        connection.settle().await?;
        Ok(connection)
    }

    async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.0.write_all(bytes).await?;
        Ok(self.0.flush().await?)
    }

    /// Waits until the server has read all that was sent before.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.send(b"PING\r\n").await?;
        while self.line().await? != "PONG" {}
        Ok(())
    }

    /// The next line; the server's own questions are answered.
    async fn line(&mut self) -> anyhow::Result<String> {
        loop {
            let mut line = String::new();
            ensure!(
                self.0.read_line(&mut line).await? > 0,
                "the server has closed the connection"
            );
            match line.trim_end() {
                "PING" => self.send(b"PONG\r\n").await?,
                error if error.starts_with("-ERR") => bail!("the server refuses: {error}"),
                line => return Ok(line.to_owned()),
            }
        }
    }

    pub(super) async fn publish(&mut self, message: &[u8]) -> anyhow::Result<()> {
        let head = format!("PUB {SUBJECT} {}\r\n", message.len());
        self.send(&[head.as_bytes(), message, b"\r\n"].concat()).await
    }

    /// The next message.
    async fn message(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            let line = self.line().await?;
            if let Some(head) = line.strip_prefix("MSG ") {
                let length: usize = head.rsplit(' ').next().context("a length")?.parse()?;
                let mut message = vec![0; length + 2];
                self.0.read_exact(&mut message).await?;
                message.truncate(length);
                return Ok(message);
            }
        }
    }
}

/// The process of subscribers.
pub(super) struct Subscribers {
    child: Child,
    said: Said,
}

impl Subscribers {
    #[expect(clippy::disallowed_methods, reason = "a benchmark starts the peers")]
    pub(super) async fn start(nats: &Nats, server: &Server, count: usize) -> anyhow::Result<Self> {
        let roots = nats.authority.with_file_name("roots.pem");
        fs::write(&roots, pem::write_certificates(&server.certificates("root.pem")))?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .arg(nats.address.to_string())
            .args([&nats.authority, &roots])
            .arg(count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the subscribers")?;
        let said = Said::of(&mut child)?;
        let subscribers = Self { child, said };
        subscribers.said.line("subscribed").await?;
        Ok(subscribers)
    }

    /// The rest of the next line that begins with `start`.
    pub(super) async fn line(&self, start: &str) -> anyhow::Result<String> {
        self.said.line(start).await
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process of subscribers: says `subscribed`, and after each message `received` with the time at which each of them
/// had verified it.
pub(crate) fn subscribe(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut next = |what| arguments.next().context(what);
    let address: SocketAddr = next("say the address")?.parse()?;
    let connector = connector(Path::new(&next("say the authority")?))?;
    let roots = Arc::new(Roots::new(certificates_of(Path::new(&next("say the roots")?))?)?);
    let count: usize = next("say how many")?.parse()?;
    descriptors::raise();
    tokio::runtime::Runtime::new()?.block_on(async {
        let (heard, mut times) = mpsc::unbounded_channel();
        for _ in 0..count {
            let mut connection = Connection::open(address, &connector).await?;
            connection.send(format!("SUB {SUBJECT} 1\r\n").as_bytes()).await?;
            connection.settle().await?;
            let (roots, heard) = (Arc::clone(&roots), heard.clone());
            tokio::spawn(async move {
                loop {
                    let time = verified(&mut connection, &roots).await;
                    let over = time.is_err();
                    if heard.send(time).is_err() || over {
                        return;
                    }
                }
            });
        }
        drop(heard);
        sample::say("subscribed")?;
        loop {
            let mut line = String::from("received");
            for _ in 0..count {
                let time = times.recv().await.context("nobody listens any more")??;
                line.push(' ');
                line.push_str(&time.to_string());
            }
            sample::say(&line)?;
        }
    })
}

/// When the next message was verified.
async fn verified(connection: &mut Connection, roots: &Roots) -> anyhow::Result<u64> {
    let message = connection.message().await?;
    let envelope = Envelope::from_json(&message, PayloadType::TrustState)?;
    envelope.verify(PayloadType::TrustState, roots, Clock::system().unix_ms())?;
    Ok(now_us())
}
