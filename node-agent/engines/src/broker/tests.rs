//! What the broker answers to what runs may send, with destinations of this machine.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener as StdListener,
    thread,
};

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Runtime,
};

use super::*;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// What a destination heard in one connection, and the port of one that says `answer` to the first bytes that it hears.
fn destination(answer: &'static str) -> (u16, thread::JoinHandle<String>) {
    let listener = StdListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut heard = vec![0; 4096];
        let count = stream.read(&mut heard).expect("heard");
        stream.write_all(answer.as_bytes()).expect("said");
        heard.truncate(count);
        String::from_utf8(heard).expect("text")
    });
    (port, answering)
}

/// All that a run hears that sends `asked` to a broker whose policy lists 127.0.0.1 with `port`, and what was refused.
fn heard(port: u16, asked: &str) -> (String, BTreeSet<String>) {
    let listed = Destination {
        host: "127.0.0.1".to_owned(),
        port,
    };
    let policy = Arc::new(Policy::new(
        BTreeSet::from([listed]),
        Arc::new(ControlPlane::new(Vec::new())),
    ));
    let refusals = Arc::new(Refusals::default());
    let noted = Arc::clone(&refusals);
    let said = runtime().block_on(async {
        let (mut run, door) = tokio::io::duplex(1024);
        let serving = tokio::spawn(serve::serve(door, policy, noted));
        run.write_all(asked.as_bytes()).await.expect("asked");
        let mut said = Vec::new();
        let mut piece = [0; 1024];
        // The broker may keep the connection for the next request; a pause ends the conversation.
        let pause = Duration::from_millis(500);
        while let Ok(Ok(count @ 1..)) = tokio::time::timeout(pause, run.read(&mut piece)).await {
            said.extend_from_slice(&piece[..count]);
        }
        serving.abort();
        String::from_utf8(said).expect("text")
    });
    let refused = locked(&refusals.0)
        .last
        .iter()
        .map(|(_, one)| one.clone())
        .collect();
    (said, refused)
}

#[test]
fn a_request_goes_on_as_the_destination_is_to_see_it() {
    let (port, answering) = destination(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x-secret\r\nX-Secret: 1\r\nX-Kept: 2\r\n\r\nhello",
    );
    let asked = format!(
        "GET http://user:word@127.0.0.1:{port}/a/b?c=d HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: x-mine, close\r\n\
         X-Mine: 1\r\nProxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\nX-Also: 3\r\n\r\n"
    );
    let (said, refused) = heard(port, &asked);
    assert!(
        said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\nhello"),
        "{said}"
    );
    assert!(said.contains("x-kept: 2") && !said.contains("x-secret"), "{said}");
    let arrived = answering.join().expect("heard");
    assert!(arrived.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{arrived}");
    assert!(
        arrived.contains(&format!("host: 127.0.0.1:{port}\r\n")),
        "{arrived}"
    );
    assert!(arrived.contains("x-also: 3"), "{arrived}");
    for gone in ["x-mine", "proxy", "elsewhere", "word", "connection"] {
        assert!(!arrived.contains(gone), "{gone}: {arrived}");
    }
    assert!(refused.is_empty());
}

#[test]
fn a_tunnel_passes_bytes_as_they_are() {
    let (port, answering) = destination("\u{1}other\r\n");
    let asked = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n\u{2}no http");
    let listed = Destination {
        host: "127.0.0.1".to_owned(),
        port,
    };
    let policy = Arc::new(Policy::new(
        BTreeSet::from([listed]),
        Arc::new(ControlPlane::new(Vec::new())),
    ));
    let said = runtime().block_on(async {
        let (mut run, door) = tokio::io::duplex(1024);
        let asking = async {
            run.write_all(asked.as_bytes()).await.expect("asked");
            run.shutdown().await.expect("ended");
            let mut said = String::new();
            run.read_to_string(&mut said).await.expect("heard");
            said
        };
        tokio::join!(asking, serve::serve(door, policy, Arc::default())).0
    });
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
    assert!(said.ends_with("\r\n\r\n\u{1}other\r\n"), "{said}");
    assert_eq!(answering.join().expect("heard"), "\u{2}no http");
}

#[test]
fn a_refusal_names_the_destination_where_clients_show_it() {
    for (asked, status, why) in [
        (
            "CONNECT evil.example.net:443 HTTP/1.1\r\n\r\n",
            403,
            "the administrator's policy does not list evil.example.net:443",
        ),
        (
            "GET http://evil.example.net/x HTTP/1.1\r\nHost: evil.example.net\r\n\r\n",
            403,
            "the administrator's policy does not list evil.example.net:80",
        ),
        (
            "CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n",
            403,
            "the administrator's policy does not list 127.0.0.1:1",
        ),
        ("CONNECT [::1]:5 HTTP/1.1\r\n\r\n", 403, "does not list [::1]:5"),
        (
            "CONNECT 127.1:9 HTTP/1.1\r\n\r\n",
            400,
            "this is the broker of a jail",
        ),
        (
            "CONNECT evil.example.net HTTP/1.1\r\n\r\n",
            400,
            "this is the broker of a jail",
        ),
        (
            "GET / HTTP/1.1\r\nHost: evil.example.net\r\n\r\n",
            400,
            "this is the broker of a jail",
        ),
        (
            "GET https://evil.example.net/ HTTP/1.1\r\nHost: evil.example.net\r\n\r\n",
            400,
            "this is the broker of a jail",
        ),
    ] {
        let (said, refused) = heard(9, asked);
        let first = said.lines().next().unwrap_or_default();
        assert!(
            first.starts_with(&format!("HTTP/1.1 {status} ")),
            "{asked}: {said}"
        );
        assert!(first.contains(why), "{asked}: {said}");
        assert!(said.matches(why).count() == 2, "in the body too: {said}");
        assert_eq!(refused.len(), usize::from(status == 403), "{asked}: {refused:?}");
    }
}

#[test]
fn a_head_that_is_too_long_is_not_read_to_its_end() {
    let endless = format!("GET http://127.0.0.1/ HTTP/1.1\r\nX: {}", "x".repeat(200_000));
    let said = runtime().block_on(brokers_answer(endless.as_bytes()));
    let said = String::from_utf8(said).expect("text");
    assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
}

#[test]
fn of_many_refusals_the_last_are_remembered() {
    let refusals = Refusals::default();
    for number in 0..100 {
        refusals.add(format!("host-{number}.example.net:443"));
    }
    let refused = locked(&refusals.0);
    assert_eq!((refused.count, refused.last.len()), (100, REMEMBERED));
    assert_eq!(refused.last.front().map(|(number, _)| *number), Some(68));
}

proptest! {
    #[test]
    fn whatever_is_sent_opens_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        method in "(GET|CONNECT|POST|PUT|OPTIONS|[A-Z]{1,5})",
        target in "(http://|https://|)[a-z0-9.:@/\\[\\]%*?#-]{0,60}",
        version in "HTTP/1\\.[01]",
    ) {
        let runtime = runtime();
        let opened = |said: &[u8]| said.starts_with(b"HTTP/1.1 2") || said.starts_with(b"HTTP/1.0 2");
        prop_assert!(!opened(&runtime.block_on(brokers_answer(&bytes))));
        let mut request = format!("{method} {target} {version}\r\nHost: x\r\n\r\n").into_bytes();
        let said = runtime.block_on(brokers_answer(&request));
        prop_assert!(!opened(&said));
        request.extend_from_slice(&bytes);
        prop_assert!(!opened(&runtime.block_on(brokers_answer(&request))));
    }
}
