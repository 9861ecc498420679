//! Whether each listener can be reached by the addresses that others are told, and whether it is this control plane that
//! answers there and not another program.

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};

use muster_app::authority::Authority;
use muster_daemon::clock::Clock;
use muster_ids::Digest;
use muster_pki::{
    CertificateDer, ClientConfig, Role, ServerName, Subject,
    tls::{FrontEndTrust, front_end_client, front_end_probe},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    config::{Config, is_loopback},
    instance::Instance,
};

/// A listener that takes longer than this is not there.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer that is looked at, bytes.
const ANSWER: u64 = 4096;

/// What was found out about one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// This control plane.
    Us,
    /// Somebody else, or a process of before.
    Another,
    /// Nobody.
    Nothing,
}

/// Looks at every listener.
pub(super) async fn examine(config: &Config, authority: Option<&Authority>, findings: &mut Vec<String>) {
    let Some(path) = Instance::path(&config.state_dir) else {
        findings.push("The control plane was never started; start muster-server serve.".to_owned());
        return;
    };
    let registration = local(config.registration);
    report(
        findings,
        "registration",
        &registration,
        plain(&registration, &path).await,
    );
    let operations = local(config.operations);
    report(
        findings,
        "operations",
        &operations,
        plain(&operations, &path).await,
    );
    for address in front_ends(config) {
        report(findings, "front end", &address, tls(&address, &path).await);
    }
    let told = config.back_ends();
    let back_ends = told.into_iter().map(|address| {
        // Nodes are told the host by which they came; here that is this machine.
        if address.starts_with(':') {
            local(config.back_end)
        } else {
            address
        }
    });
    for address in back_ends {
        let found = back_end(&address, authority).await;
        report(findings, "back end", &address, found);
    }
    if config.back_end_is_loopback() && !config.registration.ip().is_loopback() {
        findings.push(
            "Nodes on other machines are told a loopback address of the back end; set [back_end] advertise to an \
             address that they can reach."
                .to_owned(),
        );
    }
    for address in &config.back_end_advertised {
        if is_loopback(address) && config.registration.ip().is_loopback() {
            findings.push(format!(
                "The back end is advertised as {address}, which other machines cannot reach; set [back_end] advertise."
            ));
        }
    }
}

fn report(findings: &mut Vec<String>, listener: &str, address: &str, found: Found) {
    match found {
        Found::Us => {}
        Found::Another => findings.push(format!(
            "Another program, or a control plane of another folder, answers at {address}, where the {listener} \
             listener of this one should be; end it or change the port, and restart muster-server serve."
        )),
        Found::Nothing => findings.push(format!(
            "Nothing answers at {address}, where the {listener} listener should be; start muster-server serve, and \
             check name, port and firewall."
        )),
    }
}

/// The address by which this machine reaches its own listener.
fn local(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    address.to_string()
}

/// The names that people use for the front end, or its own address where it does not listen to all.
fn front_ends(config: &Config) -> Vec<String> {
    if !config.front_end.ip().is_unspecified() {
        return vec![config.front_end.to_string()];
    }
    let port = config.front_end.port();
    let names = config.front_end_names.iter().map(ServerName::to_str);
    let host = |name: Cow<'_, str>| {
        if name.contains(':') {
            format!("[{name}]:{port}")
        } else {
            format!("{name}:{port}")
        }
    };
    names.map(host).collect()
}

async fn plain(address: &str, path: &str) -> Found {
    match connect(address).await {
        Some(stream) => ask(stream, path).await,
        None => Found::Nothing,
    }
}

async fn tls(address: &str, path: &str) -> Found {
    let Some(presented) = presented(address).await else {
        return Found::Nothing;
    };
    let Some(leaf) = presented.first() else {
        return Found::Another;
    };
    // Whoever knows the name of this process is this process: whatever was presented is believed for that one question.
    let trust = FrontEndTrust::Fingerprints(vec![Digest::of(leaf)]);
    let clock = Clock::system();
    let Ok(mut config) = front_end_client(trust, Arc::new(move || clock.unix_ms())) else {
        return Found::Another;
    };
    config.alpn_protocols = Vec::new();
    let Some(stream) = connect(address).await else {
        return Found::Nothing;
    };
    match handshake(stream, address, config).await {
        Some(stream) => ask(stream, path).await,
        None => Found::Another,
    }
}

/// The back end proves itself by its certificate before it asks for ours.
async fn back_end(address: &str, authority: Option<&Authority>) -> Found {
    let Some(presented) = presented(address).await else {
        return Found::Nothing;
    };
    let Some(authority) = authority else {
        return Found::Another;
    };
    let verified = authority
        .roots
        .verify(&presented, Role::ControlPlane, Clock::system().unix_ms());
    match verified {
        Ok(facts) if facts.id.subject == Subject::ControlPlane(authority.control_plane) => Found::Us,
        _ => Found::Another,
    }
}

/// The certificates that whoever listens at `address` presents, leaf first; `None` where nobody listens.
async fn presented(address: &str) -> Option<Vec<CertificateDer<'static>>> {
    let stream = connect(address).await?;
    let clock = Clock::system();
    let (mut config, recorder) = front_end_probe(Arc::new(move || clock.unix_ms())).ok()?;
    config.alpn_protocols = Vec::new();
    // It ends the handshake as soon as it has seen them.
    let _ = handshake(stream, address, config).await;
    Some(recorder.chain())
}

async fn connect(address: &str) -> Option<TcpStream> {
    let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
    connected.ok()?.ok()
}

async fn handshake(stream: TcpStream, address: &str, config: ClientConfig) -> Option<TlsStream<TcpStream>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).ok()?;
    let done = TlsConnector::from(Arc::new(config)).connect(name, stream);
    tokio::time::timeout(PATIENCE, done).await.ok()?.ok()
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> Found {
    let asked = async {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        (&mut stream).take(ANSWER).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) if answer.starts_with(b"HTTP/1.1 200 ") => Found::Us,
        _ => Found::Another,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_program_on_the_port_is_not_taken_for_this_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await;
        });
        assert_eq!(plain(&address, "/healthz/00").await, Found::Another);
        server.await.expect("served");
        assert_eq!(plain(&address, "/healthz/00").await, Found::Nothing);
    }
}
