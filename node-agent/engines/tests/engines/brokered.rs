//! Runs whose network is brokered: real R and Python, real destinations of this machine.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_engines::{Destination, NetworkPolicy, Programs, RunPolicy};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_util::sync::CancellationToken;

use super::bench::*;

/// A destination on this machine, which greets whoever asks it by HTTP.
struct Server {
    port: u16,
    /// How many connected.
    visits: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        Self::answering(|stream| {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
            let _ = stream.write_all(GREETING);
        })
    }

    fn answering(answer: impl Fn(&mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&visits);
        thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::Relaxed);
                answer(&mut stream.expect("a connection"));
            }
        });
        Self { port, visits }
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}

const GREETING: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\nConnection: close\r\n\r\ngreetings\n";

fn to(listed: &[(&str, u16)]) -> RunPolicy {
    let listed = listed.iter().map(|(host, port)| Destination {
        host: (*host).to_owned(),
        port: *port,
    });
    RunPolicy {
        network: NetworkPolicy::Brokered(listed.collect()),
        programs: Programs::All,
        ..RunPolicy::default()
    }
}

#[test]
fn both_languages_reach_what_is_listed() {
    let server = Server::start();
    let policy = to(&[("127.0.0.1", server.port)]);
    let r = format!(
        "at <- 'http://127.0.0.1:{}/x'
         cat(readLines(url(at)), '\\n')
         download.file(at, 'got', quiet = TRUE); cat(readLines('got'), '\\n')
         cat(names(read.csv(at)), '\\n')",
        server.port
    );
    let ended = NODE
        .run(order(R, Unrestricted, &r).under(policy.clone()))
        .succeeded();
    assert_eq!(ended.stdout(), "greetings \ngreetings \ngreetings \n");
    let python = format!(
        "import http.client, urllib.request
at = 'http://127.0.0.1:{port}/x'
print(urllib.request.urlopen(at).read())
from pip._vendor import requests
print(requests.get(at).text)
through = http.client.HTTPConnection('127.0.0.1', 3128)
through.set_tunnel('127.0.0.1', {port})
through.request('GET', '/x')
print(through.getresponse().read())",
        port = server.port
    );
    let ended = NODE
        .run(order(Python, Unrestricted, &python).under(policy))
        .succeeded();
    assert_eq!(ended.stdout(), "b'greetings\\n'\ngreetings\n\nb'greetings\\n'\n");
    assert_eq!(ended.ending.network_refused, [] as [&str; 0]);
    assert_eq!(server.visits(), 6);
}

#[test]
fn what_is_listed_is_reached_by_tls_from_end_to_end() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let certificate = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(made.cert.der())
    );
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a configuration");
    let config = Arc::new(config);
    let server = Server::answering(move |stream| {
        let mut session = rustls::ServerConnection::new(Arc::clone(&config)).expect("a session");
        let mut stream = rustls::Stream::new(&mut session, stream);
        let mut heard = [0; 1024];
        if stream.read(&mut heard).is_ok() {
            let _ = stream.write_all(GREETING);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    let policy = to(&[("127.0.0.1", server.port)]);
    let python = format!(
        "import ssl, urllib.request
context = ssl.create_default_context(cadata='''{certificate}''')
print(urllib.request.urlopen('https://127.0.0.1:{}/x', context=context).read())",
        server.port
    );
    let ended = NODE
        .run(order(Python, Unrestricted, &python).under(policy.clone()))
        .succeeded();
    assert_eq!(ended.stdout(), "b'greetings\\n'\n");
    let r = format!(
        "writeLines('{certificate}', 'authority.pem')
         Sys.setenv(CURL_CA_BUNDLE = file.path(getwd(), 'authority.pem'))
         cat(readLines(url('https://127.0.0.1:{}/x')))",
        server.port
    );
    let ended = NODE.run(order(R, Unrestricted, &r).under(policy)).succeeded();
    assert_eq!(ended.stdout(), "greetings");
}

#[test]
fn what_is_not_listed_is_refused_by_its_name_and_noted() {
    let (listed, other) = (Server::start(), Server::start());
    // The second by a name that leads to this node.
    let policy = to(&[
        ("127.0.0.1", listed.port),
        ("localhost", other.port),
        ("169.254.169.254.nip.example", 80),
    ]);
    let python = format!(
        "import urllib.request
for at in ['http://127.0.0.1:{0}/', 'http://localhost:{0}/', 'https://evil.example.net/x', 'http://169.254.169.254/',
           'http://[::ffff:127.0.0.1]:{0}/', 'http://2130706433:{0}/']:
    try: print(urllib.request.urlopen(at).read())
    except Exception as error: print(error)
print(urllib.request.urlopen('http://127.0.0.1:{1}/').read())",
        other.port, listed.port
    );
    let ended = NODE
        .run(order(Python, Unrestricted, &python).under(policy.clone()))
        .succeeded();
    let said = ended.stdout();
    let lines: Vec<&str> = said.lines().collect();
    let port = other.port;
    for (line, expected) in lines.iter().zip([
        format!("HTTP Error 403: the administrator's policy does not list 127.0.0.1:{port}"),
        format!("HTTP Error 403: localhost:{port} is at "),
        "<urlopen error Tunnel connection failed: 403 the administrator's policy does not list evil.example.net:443>"
            .to_owned(),
        "HTTP Error 403: the administrator's policy does not list 169.254.169.254:80".to_owned(),
        format!("HTTP Error 403: the administrator's policy does not list 127.0.0.1:{port}"),
        "HTTP Error 400: this is the broker of a jail".to_owned(),
        "b'greetings\\n'".to_owned(),
    ]) {
        assert!(line.starts_with(&expected), "{line} is not {expected}");
    }
    assert!(lines[1].contains("which is this node itself"), "{said}");
    assert_eq!((lines.len(), other.visits()), (7, 0), "{said}");
    let noted = ended.ending.network_refused;
    assert_eq!(
        noted,
        [
            format!("127.0.0.1:{port}"),
            "169.254.169.254:80".to_owned(),
            "evil.example.net:443".to_owned(),
            format!("localhost:{port}"),
        ]
    );
    let r = format!("readLines(url('http://127.0.0.1:{port}/'))");
    let ended = NODE.run(order(R, Unrestricted, &r).under(policy));
    assert!(ended.stderr().contains("403 Forbidden"), "{}", ended.stderr());
    let words = ended.words();
    let said = format!("The network's broker refused 127.0.0.1:{port}");
    assert!(words.contains(&said), "{words}");
    assert_eq!(other.visits(), 0);
}

#[test]
fn beside_the_broker_there_is_no_way_out() {
    let server = Server::start();
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    datagrams.set_nonblocking(true).expect("not to wait");
    let policy = to(&[("127.0.0.1", server.port)]);
    let python = format!(
        "import socket
def attempt(what):
    try: print(what())
    except OSError as error: print(type(error).__name__, error.errno)
for address in [('127.0.0.1', {0}), ('192.0.2.1', 80), ('1.1.1.1', 53), ('169.254.169.254', 80)]:
    attempt(lambda: socket.create_connection(address, 5))
attempt(lambda: socket.create_connection(('2001:db8::1', 80), 5))
attempt(lambda: socket.getaddrinfo('example.com', 80))
for address in [('127.0.0.1', {1}), ('192.0.2.1', 53)]:
    attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hello', address))",
        server.port,
        datagrams.local_addr().expect("its address").port()
    );
    let ended = NODE
        .run(order(Python, Unrestricted, &python).under(policy.clone()))
        .succeeded();
    let said = ended.stdout();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "ConnectionRefusedError 111", "{said}");
    for line in &lines[1..5] {
        assert_eq!(*line, "OSError 101", "{said}");
    }
    assert!(lines[5].starts_with("gaierror"), "{said}");
    // The loopback of the jail takes what nobody waits for.
    assert_eq!(lines[6..], ["5", "OSError 101"], "{said}");
    assert!(datagrams.recv(&mut [0; 8]).is_err(), "nothing came");
    let r = format!(
        "for (at in list(c('127.0.0.1', {}), c('192.0.2.1', 80)))
             tryCatch(socketConnection(at[1], as.integer(at[2]), timeout = 5, blocking = TRUE),
                      error = function(e) cat('no way\\n'))
         cat(is.null(suppressWarnings(nsl('example.com'))))",
        server.port
    );
    let ended = NODE.run(order(R, Unrestricted, &r).under(policy)).succeeded();
    assert_eq!(ended.stdout(), "no way\nno way\nTRUE");
    assert_eq!(server.visits(), 0);
}

#[test]
fn a_run_cannot_take_the_brokers_place() {
    let server = Server::start();
    let python = format!(
        "import socket, urllib.request
for address in ['127.0.0.1', '0.0.0.0']:
    for option in [socket.SO_REUSEADDR, socket.SO_REUSEPORT]:
        thief = socket.socket()
        thief.setsockopt(socket.SOL_SOCKET, option, 1)
        try: thief.bind((address, 3128)); thief.listen(); print('stolen')
        except OSError as error: print(error.errno)
print(urllib.request.urlopen('http://127.0.0.1:{}/').read())",
        server.port
    );
    let policy = to(&[("127.0.0.1", server.port)]);
    let ended = NODE
        .run(order(Python, Unrestricted, &python).under(policy))
        .succeeded();
    assert_eq!(ended.stdout(), "98\n98\n98\n98\nb'greetings\\n'\n");
}

#[test]
fn each_policy_has_a_broker_of_its_own() {
    let (one, other) = (Server::start(), Server::start());
    let script = format!(
        "import urllib.request
for port in [{}, {}]:
    try: print(urllib.request.urlopen(f'http://127.0.0.1:{{port}}/').read())
    except Exception as error: print(error)",
        one.port, other.port
    );
    let never = CancellationToken::new();
    let (first, second) = RUNTIME.block_on(async {
        let run = |port| {
            let policy = to(&[("127.0.0.1", port)]);
            NODE.start(order(Python, Unrestricted, &script).under(policy), &never)
        };
        tokio::join!(run(one.port), run(other.port))
    });
    let refused = |port| format!("HTTP Error 403: the administrator's policy does not list 127.0.0.1:{port}");
    assert_eq!(
        first.succeeded().stdout(),
        format!("b'greetings\\n'\n{}\n", refused(other.port))
    );
    assert_eq!(
        second.succeeded().stdout(),
        format!("{}\nb'greetings\\n'\n", refused(one.port))
    );
}

#[test]
fn no_other_class_has_a_broker() {
    let server = Server::start();
    let policy = to(&[("127.0.0.1", server.port)]);
    let ended = NODE
        .run(order(R, Restricted, "cat('<', Sys.getenv('http_proxy'), '>', sep = '')").under(policy.clone()))
        .succeeded();
    assert_eq!(ended.stdout(), "<>");
    let asks = "import socket; socket.create_connection(('127.0.0.1', 3128), 5)";
    let ended = NODE.run(order(Python, Restricted, asks).under(policy));
    assert!(!ended.overstep().is_empty());
    let asks = "import os, socket
print([name for name in os.environ if 'proxy' in name.lower()])
try: socket.create_connection(('127.0.0.1', 3128), 5)
except OSError as error: print(error.errno)";
    let none = RunPolicy {
        network: NetworkPolicy::None,
        ..to(&[])
    };
    let ended = NODE
        .run(order(Python, Unrestricted, asks).under(none))
        .succeeded();
    assert_eq!(ended.stdout(), "[]\n101\n");
}

#[test]
fn a_flood_at_the_broker_ends_with_its_run() {
    let server = Server::start();
    let policy = to(&[("127.0.0.1", server.port)]);
    let flood = "import os, socket
open_ones = []
for number in range(180):
    one = socket.socket(); one.setblocking(False)
    try: one.connect(('127.0.0.1', 3128))
    except BlockingIOError: pass
    open_ones.append(one)
for number, one in enumerate(open_ones):
    try: one.send([b'GET http://x/', b'CONNECT', os.urandom(9000), b'\\x16\\x03\\x01'][number % 4])
    except OSError: pass
print(len(open_ones))";
    let ended = NODE
        .run(order(Python, Unrestricted, flood).under(policy.clone()))
        .succeeded();
    assert_eq!(ended.stdout(), "180\n");
    let asks = format!(
        "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:{}/').read())",
        server.port
    );
    let ended = NODE
        .run(order(Python, Unrestricted, &asks).under(policy))
        .succeeded();
    assert_eq!(ended.stdout(), "b'greetings\\n'\n");
}
