//! What a stranger says to the registration listener before it is a join message: HTTP, and headers.

use std::cell::Cell;

use axum::{Router, body::Bytes, response::IntoResponse};
use http::{HeaderMap, Method, StatusCode, Uri};
use muster_server::{
    http::registration::{host, secrets},
    listen::{Limits, converse},
};
use muster_wire::node::v1::join::{HELLO_PATH, MAX_MESSAGE, POLL_PATH};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Builder,
};

/// Room for what the listener answers before it is read.
const BUFFER: usize = 64 * 1024;
/// Within so many turns the listener has answered, or waits for more.
const TURNS: usize = 16;

/// All that one connection ever brings, under the limits of the listener.
pub(super) fn connection(bytes: &[u8]) {
    let runtime = Builder::new_current_thread().enable_time().build();
    let answers = runtime.expect("a runtime").block_on(conversation(bytes));
    assert!(
        answers.is_empty() || answers.starts_with(b"HTTP/1."),
        "nothing but HTTP is answered"
    );
}

async fn conversation(bytes: &[u8]) -> Vec<u8> {
    let (client, server) = tokio::io::duplex(BUFFER);
    let (mut answers, mut questions) = tokio::io::split(client);
    let router = Router::new().fallback(look);
    let answered = Cell::new(0);
    let ask = async {
        // A listener that has heard enough takes no more.
        let _ = questions.write_all(bytes).await;
        // Whoever hangs up early is not answered any more.
        let mut before = usize::MAX;
        while std::mem::replace(&mut before, answered.get()) != answered.get() {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
        }
        let _ = questions.shutdown().await;
    };
    let hear = async {
        let mut heard = Vec::new();
        while let Ok(1..) = answers.read_buf(&mut heard).await {
            answered.set(heard.len());
        }
        heard
    };
    let (_, (), heard) = tokio::join!(converse(server, Limits::registration(8), router), ask, hear);
    heard
}

/// What every request must be like that reaches a handler, and what is read out of its head.
async fn look(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    assert!(body.len() <= MAX_MESSAGE && headers.len() <= 64);
    assert!(method.as_str().len() + uri.to_string().len() <= 16 * 1024);
    let texts = secrets(&headers);
    assert!(texts.len() <= 4, "few look-ups, whatever somebody sends");
    assert!(texts.iter().all(|text| !text.is_empty() && text.len() <= 1024));
    let host = host(&headers);
    assert!(
        !host.contains(['/', '@', '?', '#', ' ']) && !host.chars().any(char::is_control),
        "{host:?}"
    );
    (StatusCode::NOT_FOUND, texts.len().to_string())
}

pub(super) fn connection_seeds() -> Vec<Vec<u8>> {
    let head = "HTTP/1.1\r\nHost: control:9080\r\n";
    [
        format!("POST {HELLO_PATH} {head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!(
            "POST {POLL_PATH} {head}Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{{}}\r\n0\r\nX: y\r\n\r\n"
        ),
        format!("GET / {head}Authorization: Bearer abc\r\nCookie: a=b; c=d\r\n\r\n"),
        "GET http://[::1]:9080/x HTTP/1.0\r\nHost: u@[::1]:9080\r\nConnection: keep-alive\r\n\r\n".repeat(2),
        format!("POST /x {head}Expect: 100-continue\r\nContent-Length: 1\r\nUpgrade: h2c\r\n\r\nx"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_answered() {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let answers = connection_seeds().into_iter().map(|seed| {
            let heard = runtime.block_on(conversation(&seed));
            String::from_utf8_lossy(&heard).matches("HTTP/1.1 404").count()
                + String::from_utf8_lossy(&heard).matches("HTTP/1.0 404").count()
        });
        assert_eq!(answers.collect::<Vec<_>>(), [1, 1, 1, 2, 1, 0]);
    }
}
