//! A man in the middle of the plain port: nodes are pointed at him, and a test says what he does with each message.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Between nodes and a registration listener.
pub struct Middle {
    listener: TcpListener,
    address: SocketAddr,
}

impl Middle {
    /// Stands at an address of his own.
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        Self { listener, address }
    }

    /// Where nodes find him.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers one message after the other until it is dropped: `answer` gets the path and body of each and gives the
    /// body of the answer, `None` for no answer at all.
    pub async fn serve(&self, mut answer: impl AsyncFnMut(&str, Vec<u8>) -> Option<Vec<u8>>) {
        loop {
            let Ok((mut stream, _)) = self.listener.accept().await else {
                continue;
            };
            let Some((path, body)) = request(&mut stream).await else {
                continue;
            };
            let Some(body) = answer(&path, body).await else {
                continue;
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            // Whoever went away meanwhile does not want to know.
            let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
            let _ = stream.shutdown().await;
        }
    }
}

/// Path and body of the request on a connection.
async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        more(stream, &mut bytes).await?;
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let path = text.split(' ').nth(1)?.to_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let length: usize = value.trim().parse().ok()?;
        name.eq_ignore_ascii_case("content-length").then_some(length)
    });
    let end = head + length.unwrap_or(0);
    while bytes.len() < end {
        more(stream, &mut bytes).await?;
    }
    Some((path, bytes[head..end].to_vec()))
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(bytes).await.ok()?;
    (read > 0).then_some(())
}
