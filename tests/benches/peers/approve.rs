//! Durable approvals a second: the certificate of a node with its records in the database, beside a signer that keeps
//! nothing (`cfssl serve`) for requests of the same kind.

use std::{cell::RefCell, fs, path::Path, rc::Rc, sync::Arc};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::{Connection, Endpoint, Limits, Request, Rest, Transport};
use muster_daemon::{Clock, Random};
use muster_pki::{
    KeyUse, Purpose, Signer as _, SoftwareSigner, csr,
    join::{Transcript, commit},
};
use muster_wire::{
    admin::v1::join::{ApproveJoin, Join},
    node::v1::join::{HELLO_PATH, Hello, HelloReply, REVEAL_PATH, Reveal, SUITE},
};
use serde_json::json;
use tokio::task::LocalSet;

use crate::{
    collective::{Daemon, Ports, ask, free_ports, log_in, start_server, text_of, until},
    programs::Programs,
    report::{Row, note},
    sample::{median, now_us, number},
};

/// Requests that are under way at once.
const CLIENTS: usize = 16;
/// Approvals, or signatures, of one round.
const BATCH: usize = 400;
/// Rounds; each has one batch of ours and one of the peer's.
const ROUNDS: usize = 5;
/// Settings under which the joins of a benchmark are not strangers that knock too often.
const SETTINGS: &str = "[join]\noffers_per_second = 100000\npending_per_address = 10000\npending_per_prefix = 10000\npending_total = 10000\n";

/// A request that waits.
struct Waiting {
    id: String,
    code: String,
    csr: Vec<u8>,
}

/// One batch: how many a second, and the time of each in milliseconds.
struct Batch {
    rate: f64,
    times: Vec<f64>,
}

/// The control plane alone, and `cfssl` where it is installed.
pub(crate) async fn rows(programs: &Programs) -> anyhow::Result<Vec<Row>> {
    let clock = Clock::system();
    let folder = programs.folder().join(format!("approve-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let ports = free_ports()?;
    let mut server = start_server(programs, &folder, ports, SETTINGS)?;
    let measured = measure(&folder, ports, &clock).await;
    server.stop();
    let _ = fs::remove_dir_all(&folder);
    measured
}

async fn measure(folder: &Path, ports: Ports, clock: &Clock) -> anyhow::Result<Vec<Row>> {
    listening(ports.front_end).await?;
    let (cfssl, peer_port) = (start_cfssl(folder)?, free_ports()?.operations);
    let peer = cfssl.serve(folder, peer_port)?;
    listening(peer_port).await?;
    let rest = Arc::new(log_in(folder, ports.front_end, clock).await?);
    note(&format!("approve: {} joins reveal", BATCH * ROUNDS));
    let mut waiting = reveal(ports.registration, clock).await?;
    let (mut ours, mut theirs, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let batch = waiting.split_off(waiting.len() - BATCH);
        let requests = batch.iter().map(|join| join.csr.clone()).collect();
        let signed = if round % 2 == 0 {
            let approved = approve(&rest, batch).await?;
            ours.push(approved.rate);
            times.extend(approved.times);
            sign(peer_port, requests).await?
        } else {
            let signed = sign(peer_port, requests).await?;
            let approved = approve(&rest, batch).await?;
            ours.push(approved.rate);
            times.extend(approved.times);
            signed
        };
        theirs.push(signed.rate);
    }
    drop(peer);
    Ok(vec![
        Row::rate("approve_issue_per_s", median(ours.clone())),
        Row::rates_beside("approve_issue_vs_cfssl", &ours, "cfssl serve", &theirs),
        Row::alone("approve_issue_p50_ms", median(times.clone()), "ms"),
        Row::alone("approve_issue_p99_ms", high(times), "ms"),
    ])
}

/// The 99th percentile.
fn high(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    let at = times.len() * 99 / 100;
    times.get(at).copied().unwrap_or(f64::NAN)
}

/// Nodes ask to join, each with a key of its own.
async fn reveal(port: u16, clock: &Clock) -> anyhow::Result<Vec<Waiting>> {
    let mut connection = plain(port).await?;
    let mut waiting = Vec::new();
    for number in 0..BATCH * ROUNDS {
        // The port takes a bounded number of messages on one connection.
        if number % BATCH == 0 {
            connection = plain(port).await?;
        }
        waiting.push(apply(&connection, clock, number).await?);
    }
    Ok(waiting)
}

async fn apply(connection: &Connection, clock: &Clock, number: usize) -> anyhow::Result<Waiting> {
    let key = SoftwareSigner::generate(KeyUse::Tls)?;
    let r_n: [u8; 32] = Random::system().bytes();
    let request = csr::request(&key).await?;
    let created = clock.unix_ms();
    let hello = Hello {
        kind: "hello".to_owned(),
        suite: SUITE.to_owned(),
        csr: STANDARD.encode(&request),
        name: format!("bench-{number}").parse()?,
        capabilities: vec!["R".to_owned()],
        pool: None,
        site: None,
        addresses: vec!["10.0.0.5".to_owned()],
        agent_version: "0.1.0".to_owned(),
        created,
        expires: created + 60 * 60 * 1000,
        token_id: None,
        commit: commit(key.public_key(), &r_n),
    };
    let hello = serde_json::to_vec(&hello)?;
    let message = |path: &str, body: Vec<u8>| Request::post(path).bytes("application/json", body);
    let reply: HelloReply = connection
        .send(message(HELLO_PATH, hello.clone()))
        .await?
        .json()?;
    let offer = STANDARD.decode(&reply.offer)?;
    let transcript = Transcript::new(&hello, &offer, &r_n);
    let signature = key.sign(Purpose::JoinReveal, &transcript.reveal_input()).await?;
    let reveal = Reveal {
        kind: "reveal".to_owned(),
        hello: STANDARD.encode(&hello),
        offer: STANDARD.encode(&offer),
        mac: reply.mac,
        r_n: STANDARD.encode(r_n),
        token_proof: None,
        signature: STANDARD.encode(signature),
    };
    connection
        .send(message(REVEAL_PATH, serde_json::to_vec(&reveal)?))
        .await?;
    Ok(Waiting {
        id: transcript.join_id().to_string(),
        code: transcript.code().to_string(),
        csr: request,
    })
}

/// An administrator types the code of each.
async fn approve(rest: &Arc<Rest>, batch: Vec<Waiting>) -> anyhow::Result<Batch> {
    let clients = vec![rest.clone(); CLIENTS];
    run(batch, clients, async |rest: Arc<Rest>, join: Waiting| {
        let approval = ApproveJoin {
            code: Some(join.code),
            fingerprint: None,
        };
        let path = format!("/api/v1/joins/{}/approve", join.id);
        let approved: Join = rest.post(&path, &approval, None).await?;
        ensure!(approved.state == "issued", "a join is {}", approved.state);
        Ok(())
    })
    .await
}

/// The peer signs the same requests.
async fn sign(port: u16, requests: Vec<Vec<u8>>) -> anyhow::Result<Batch> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Arc::new(plain(port).await?));
    }
    run(
        requests,
        clients,
        async |connection: Arc<Connection>, request: Vec<u8>| {
            let pem = format!(
                "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
                lines(&STANDARD.encode(request))
            );
            let body = json!({ "certificate_request": pem, "hosts": ["node.example"] });
            let answer: serde_json::Value = connection
                .send(Request::post("/api/v1/cfssl/sign").json(&body))
                .await?
                .json()?;
            ensure!(answer["success"] == true, "cfssl said {answer}");
            Ok(())
        },
    )
    .await
}

/// Does `work` for each of `items`, by all clients at once.
async fn run<C: 'static, I: 'static>(
    items: Vec<I>,
    clients: Vec<Arc<C>>,
    work: impl AsyncFn(Arc<C>, I) -> anyhow::Result<()> + 'static,
) -> anyhow::Result<Batch> {
    let count = number(items.len() as u64);
    let (items, work) = (Rc::new(RefCell::new(items)), Rc::new(work));
    let times = Rc::new(RefCell::new(Vec::new()));
    let workers = LocalSet::new();
    let mut running = Vec::new();
    let begun = now_us();
    for client in clients {
        let (items, work, times) = (items.clone(), work.clone(), times.clone());
        running.push(workers.spawn_local(async move {
            loop {
                let item = items.borrow_mut().pop();
                let Some(item) = item else {
                    return Ok::<_, anyhow::Error>(());
                };
                let before = now_us();
                work(client.clone(), item).await?;
                times.borrow_mut().push(number(now_us() - before) / 1000.0);
            }
        }));
    }
    workers.await;
    for worker in running {
        worker.await??;
    }
    let seconds = number(now_us() - begun) / 1_000_000.0;
    Ok(Batch {
        rate: count / seconds,
        times: times.take(),
    })
}

/// A certificate authority of the peer, of the same kind of key.
struct Cfssl {
    certificate: String,
    key: String,
    config: String,
}

fn start_cfssl(folder: &Path) -> anyhow::Result<Cfssl> {
    let request = folder.join("ca.json");
    fs::write(
        &request,
        json!({ "CN": "bench", "key": { "algo": "ecdsa", "size": 256 } }).to_string(),
    )?;
    let said = ask(Path::new("cfssl"), &["gencert", "-initca", &text_of(&request)?])
        .context("the peer is missing: apt-get install golang-cfssl")?;
    let made: serde_json::Value = serde_json::from_str(&said)?;
    let write = |name: &str, text: &str| -> anyhow::Result<String> {
        let path = folder.join(name);
        fs::write(&path, text)?;
        text_of(&path)
    };
    let part = |name: &str| made[name].as_str().context("cfssl makes an authority");
    let profile = json!({ "signing": { "default": {
        "expiry": "168h", "usages": ["digital signature", "client auth"],
    } } });
    Ok(Cfssl {
        certificate: write("ca.pem", part("cert")?)?,
        key: write("ca.key", part("key")?)?,
        config: write("cfssl.json", &profile.to_string())?,
    })
}

impl Cfssl {
    fn serve(&self, folder: &Path, port: u16) -> anyhow::Result<Daemon> {
        let port = port.to_string();
        let arguments = [
            "serve",
            "-address",
            "127.0.0.1",
            "-port",
            &port,
            "-ca",
            &self.certificate,
            "-ca-key",
            &self.key,
            "-config",
            &self.config,
            "-loglevel",
            "4",
        ];
        Daemon::start(Path::new("cfssl"), &arguments, &folder.join("cfssl.log"))
    }
}

async fn listening(port: u16) -> anyhow::Result<()> {
    until("a program to listen", || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop))
    })
    .await
}

async fn plain(port: u16) -> anyhow::Result<Connection> {
    let endpoint: Endpoint = format!("http://127.0.0.1:{port}").parse()?;
    Ok(Transport::plain(Limits::default()).connect(&endpoint).await?)
}

/// Base64 in the lines of PEM.
fn lines(text: &str) -> String {
    let bytes: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    bytes.join("\n")
}
