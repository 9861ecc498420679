//! What runs say to the broker of their network.

use muster_engines::brokers_answer;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// All that a run sends in one connection. The policy lists nothing.
pub(super) fn request(bytes: &[u8]) {
    let said = RUNTIME.with(|runtime| runtime.block_on(brokers_answer(bytes)));
    let opened = said
        .windows(10)
        .any(|window| window == b"HTTP/1.1 2" || window == b"HTTP/1.0 2");
    assert!(!opened, "nothing is opened that is not listed");
    assert!(
        said.is_empty() || said.starts_with(b"HTTP/1."),
        "what it says is an answer"
    );
}

pub(super) fn request_seeds() -> Vec<Vec<u8>> {
    [
        "CONNECT data.example.com:443 HTTP/1.1\r\nHost: data.example.com:443\r\n\r\n\u{16}\u{3}\u{1}",
        "CONNECT [::1]:5432 HTTP/1.0\r\n\r\n",
        "GET http://user:word@data.example.com:8080/a/b?c=d HTTP/1.1\r\nHost: data.example.com\r\n\
         Proxy-Connection: keep-alive\r\nConnection: x\r\nX: y\r\n\r\nGET http://127.0.0.1/ HTTP/1.1\r\n\r\n",
        "POST http://2130706433/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
         3\r\nabc\r\n0\r\nx: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
