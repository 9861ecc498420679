//! One request, put together.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use tokio::{fs::File, sync::mpsc};

use crate::{Multipart, body::Piece};

/// A request to be sent on a [`crate::Connection`] or by [`crate::Rest`]. What is wrong with a part of it is
/// reported when it is sent.
pub struct Request {
    pub(crate) method: Method,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Vec<Piece>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) wrong: Option<String>,
}

impl Request {
    /// Reads the thing at `path`, an absolute path whose parts are percent-encoded.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Sends something to `path`.
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    /// Replaces the thing at `path`.
    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    /// Changes parts of the thing at `path`.
    pub fn patch(path: impl Into<String>) -> Self {
        Self::new(Method::PATCH, path)
    }

    /// Deletes the thing at `path`.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    fn new(method: Method, path: impl Into<String>) -> Self {
        let path = path.into();
        let wrong = (!path.starts_with('/')).then(|| "its path does not begin with /".to_owned());
        Self {
            method,
            path,
            headers: HeaderMap::new(),
            content: Vec::new(),
            deadline: None,
            wrong,
        }
    }

    /// Adds one part to the path, percent-encoded here; before any [`Self::query`].
    #[must_use]
    pub fn segment(mut self, text: &str) -> Self {
        self.path.push('/');
        match text {
            // Whoever stands on the way may take these for steps in a folder (RFC 3986 5.2.4).
            "." => self.path.push_str("%2E"),
            ".." => self.path.push_str("%2E%2E"),
            _ => encode(text, &mut self.path),
        }
        self
    }

    /// Adds `name=value` to the query, both percent-encoded here.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        encode(name, &mut self.path);
        self.path.push('=');
        encode(value, &mut self.path);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => {
                self.headers.insert(name, value);
            }
            Err(_) => {
                self.wrong = Some(format!(
                    "its header {name} holds characters that a header cannot hold"
                ));
            }
        }
        self
    }

    /// Adds the bearer token; it is never shown.
    #[must_use]
    pub fn bearer(mut self, token: &SecretString) -> Self {
        match HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.headers.insert(header::AUTHORIZATION, value);
            }
            Err(_) => {
                self.wrong =
                    Some("its token holds characters that a header cannot hold; log in again".to_owned());
            }
        }
        self
    }

    /// Makes a repetition of this request harmless: the control plane answers it as the first with this key.
    #[must_use]
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header(HeaderName::from_static("idempotency-key"), key)
    }

    /// Sets `body` as JSON.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(mut self, body: &T) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => self.bytes("application/json", bytes),
            Err(error) => {
                self.wrong = Some(format!("its body cannot be written as JSON ({error})"));
                self
            }
        }
    }

    /// Sets `body` as it is.
    #[must_use]
    pub fn bytes(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.content = vec![Piece::Bytes(body.into())];
        self.header(header::CONTENT_TYPE, content_type)
    }

    /// Sets exactly `length` bytes of `file`, from where it stands, as the body, read while they are sent.
    #[must_use]
    pub fn file(mut self, content_type: &str, file: File, length: u64) -> Self {
        self.content = vec![Piece::File(file, length)];
        self.header(header::CONTENT_TYPE, content_type)
    }

    /// Sends what comes through `content` as the body, until its other half is dropped; the answer may begin before.
    #[must_use]
    pub fn stream(mut self, content_type: &str, content: mpsc::Receiver<Bytes>) -> Self {
        self.content = vec![Piece::Stream(content)];
        self.header(header::CONTENT_TYPE, content_type)
    }

    /// Sets a form of fields and files as the body.
    #[must_use]
    pub fn multipart(mut self, form: Multipart) -> Self {
        let (content_type, content) = form.finish();
        self.content = content;
        self.header(header::CONTENT_TYPE, &content_type)
    }

    /// Replaces [`crate::Limits::deadline`] for this request, as one that waits for a run needs.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl fmt::Debug for Request {
    /// Without the content, which can hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 2.3.
fn encode(text: &str, into: &mut String) {
    use fmt::Write as _;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_cannot_leave_its_place() {
        let request = Request::get("/api/v1/nodes")
            .query("name", "a&b=c d/é")
            .query("limit", "5");
        assert_eq!(request.path, "/api/v1/nodes?name=a%26b%3Dc%20d%2F%C3%A9&limit=5");
    }

    #[test]
    fn a_part_of_the_path_stays_one_part() {
        let request = Request::patch("/api/v1/users").segment("a/b?c#é@D").segment("..");
        assert_eq!(request.path, "/api/v1/users/a%2Fb%3Fc%23%C3%A9%40D/%2E%2E");
    }

    #[test]
    fn a_token_is_not_shown_and_a_broken_one_is_not_sent() {
        let request = Request::get("/").bearer(&"hunter2".into());
        assert!(request.wrong.is_none() && !format!("{request:?} {:?}", request.headers).contains("hunter2"));
        let request = Request::get("/").bearer(&"hunter2\r\nHost: evil".into());
        assert!(request.wrong.is_some_and(|wrong| !wrong.contains("hunter2")));
    }
}
