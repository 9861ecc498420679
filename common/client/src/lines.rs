//! An answer that is a stream of lines, as the control connection's is.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::{
    connection::Shared,
    error::{ClientError, Fault},
};

/// A buffer that grew beyond this is given back once it is empty; the stream lives for days.
const KEPT: usize = 64 * 1024;

/// A stream of lines, each at most [`crate::Limits::line`] bytes long. Empty lines only show that the other
/// side lives and are left out.
pub struct Lines {
    body: Incoming,
    splitter: Splitter,
    shared: Arc<Shared>,
    request: String,
}

impl Lines {
    pub(crate) fn new(body: Incoming, shared: Arc<Shared>, request: String) -> Self {
        Self {
            body,
            splitter: Splitter::new(shared.limits.line),
            shared,
            request,
        }
    }

    /// The next line without its end; `None` after the last. Waits without a deadline: that the other side is
    /// alive is checked by pings, what it should say and when is the caller's to know. If the wait is
    /// abandoned, nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.splitter.line() {
                Ok(Some(line)) if line.is_empty() => continue,
                Ok(Some(line)) => return Ok(Some(line)),
                Ok(None) => {}
                Err(limit) => {
                    return Err(ClientError::TooLong {
                        request: self.request.clone(),
                        limit: limit as u64,
                    });
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.splitter.add(&data);
                    }
                }
                Some(Err(error)) => return Err(self.shared.broken(&error, self.request.clone()).await),
                None if self.splitter.is_empty() => return Ok(None),
                None => {
                    return Err(ClientError::Broken {
                        request: self.request.clone(),
                        fault: Fault::cut(),
                    });
                }
            }
        }
    }

    /// The next line as JSON.
    pub async fn next_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        let Some(line) = self.next().await? else {
            return Ok(None);
        };
        let unexpected = |error: serde_json::Error| ClientError::Unexpected {
            request: self.request.clone(),
            reason: error.to_string(),
        };
        serde_json::from_slice(&line).map(Some).map_err(unexpected)
    }
}

/// Cuts bytes into lines.
struct Splitter {
    buffer: BytesMut,
    /// The bytes of `buffer` that are known to hold no line end.
    searched: usize,
    limit: usize,
}

impl Splitter {
    fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            limit,
        }
    }

    fn add(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole line without its end, if there is one; the limit if it is too long.
    fn line(&mut self) -> Result<Option<Bytes>, usize> {
        let end = self.buffer[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|at| self.searched + at);
        if end.unwrap_or(self.buffer.len()) > self.limit {
            return Err(self.limit);
        }
        let Some(end) = end else {
            self.searched = self.buffer.len();
            return Ok(None);
        };
        self.searched = 0;
        let mut line = self.buffer.split_to(end + 1);
        if self.buffer.is_empty() && line.capacity() + self.buffer.capacity() > KEPT {
            self.buffer = BytesMut::new();
        }
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.truncate(end - 1);
        }
        Ok(Some(line.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(parts: &[&[u8]], limit: usize) -> (Vec<Bytes>, bool) {
        let mut splitter = Splitter::new(limit);
        let mut lines = Vec::new();
        for part in parts {
            splitter.add(part);
            while let Ok(Some(line)) = splitter.line() {
                lines.push(line);
            }
        }
        (lines, splitter.line().is_err())
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_not_longer() {
        assert_eq!(
            split(&[b"12345\r\n", b"123456"], 6),
            (vec![Bytes::from("12345")], false)
        );
        assert_eq!(
            split(&[b"123456\n1234567\n"], 6),
            (vec![Bytes::from("123456")], true)
        );
        assert!(split(&[b"1234567"], 6).1, "a line without end is not waited for");
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_does_not_matter(lines in proptest::collection::vec("[a-z]{0,8}", 0..20), cut in 1_usize..7) {
            let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
            let parts: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            let (found, too_long) = split(&parts, 8);
            prop_assert!(!too_long);
            prop_assert_eq!(found, lines.into_iter().map(Bytes::from).collect::<Vec<_>>());
        }
    }
}
