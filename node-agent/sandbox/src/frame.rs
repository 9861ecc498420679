//! Frames on a stream: a length and that many bytes of JSON (see [`protocol`](crate::protocol)).

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

use crate::protocol::MAX_FRAME;

/// Writes one frame. Fails when the message is longer than [`MAX_FRAME`].
pub fn write<T: Serialize>(mut stream: impl Write, message: &T) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= MAX_FRAME);
    let length =
        length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the frame is too long"))?;
    let mut bytes = Vec::with_capacity(body.len() + 4);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    stream.write_all(&bytes)
}

/// Reads one frame; `None` at the end of the stream between two frames.
pub fn read<T: DeserializeOwned>(mut stream: impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    let mut filled = 0;
    while filled < length.len() {
        match stream.read(&mut length[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = u32::from_be_bytes(length);
    if length > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the frame is too long",
        ));
    }
    // The length is a stranger's word: memory grows with what arrives.
    let mut body = Vec::new();
    if stream.take(u64::from(length)).read_to_end(&mut body)? != usize::try_from(length).unwrap_or(usize::MAX)
    {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(serde_json::from_slice(&body)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Report;

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Report::Locked).expect("written");
        let mut stream = bytes.as_slice();
        assert_eq!(read(&mut stream).expect("read"), Some(Report::Locked));
        assert_eq!(read::<Report>(&mut stream).expect("end"), None);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let huge = [0xff, 0xff, 0xff, 0xff, b'{'];
        assert_eq!(
            read::<Report>(&huge[..]).expect_err("huge").kind(),
            io::ErrorKind::InvalidData
        );
        let short = [0, 0, 0, 9, b'{'];
        assert_eq!(
            read::<Report>(&short[..]).expect_err("short").kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(
            read::<Report>(&[0, 0][..]).expect_err("cut").kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
