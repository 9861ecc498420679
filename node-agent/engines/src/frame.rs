//! Frames on a stream, without blocking: a length (four bytes, big-endian) and that many bytes of JSON.

use std::io;

use muster_sandbox::protocol::MAX_FRAME;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest frame that the agent accepts, in bytes; the longest message of a payload is 64 KiB.
const LONGEST: u32 = 1024 * 1024;

/// Writes one frame.
pub async fn write<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= MAX_FRAME)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the script and its description are too long",
            )
        })?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&body).await
}

/// Takes the first whole frame from what has come; `None` while there is none. After an error nothing can be understood
/// any more.
pub(crate) fn first<T: DeserializeOwned>(come: &mut Vec<u8>) -> Option<io::Result<T>> {
    let length = u32::from_be_bytes(*come.first_chunk()?);
    if length > LONGEST {
        return Some(Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a frame is too long",
        )));
    }
    let end = 4 + usize::try_from(length).unwrap_or(usize::MAX);
    let body = come.get(4..end)?;
    let message = serde_json::from_slice(body).map_err(io::Error::from);
    come.drain(..end);
    Some(message)
}

/// Reads one frame; `None` at the end of the stream.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let length = match stream.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    // The length is a stranger's word: memory grows with what arrives.
    let mut body = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut body).await?;
    if body.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(serde_json::from_slice(&body)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(future)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in ".*") {
            let read_back = block(async {
                let mut bytes = Vec::new();
                write(&mut bytes, &text).await.expect("written");
                read::<String>(&mut bytes.as_slice()).await.expect("read")
            });
            prop_assert_eq!(read_back, Some(text));
        }

        #[test]
        fn whatever_comes_in_pieces_is_read_as_in_one(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            texts in proptest::collection::vec(".{0,9}", 0..4),
            cut in 0..64_usize,
        ) {
            let mut whole = Vec::new();
            for text in &texts {
                block(write(&mut whole, text)).expect("written");
            }
            whole.extend(&bytes);
            let mut come = Vec::new();
            let mut found: Vec<String> = Vec::new();
            'pieces: for piece in whole.chunks(cut + 1) {
                come.extend(piece);
                while let Some(frame) = first::<String>(&mut come) {
                    match frame {
                        Ok(text) => found.push(text),
                        Err(_) => break 'pieces,
                    }
                }
            }
            prop_assert!(found.starts_with(&texts));
            let mut whole = whole.as_slice();
            let mut at_once = Vec::new();
            while let Ok(Some(text)) = block(read::<String>(&mut whole)) {
                at_once.push(text);
            }
            prop_assert_eq!(found, at_once);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let result = block(read::<serde_json::Value>(&mut bytes.as_slice()));
            prop_assert!(bytes.len() >= 4 || matches!(result, Ok(None)));
        }
    }
}
