//! Forms of fields and files (RFC 7578), sent without being held in memory.

use bytes::Bytes;
use tokio::fs::File;

use crate::body::Piece;

/// A form: fields and files in their order.
pub struct Multipart {
    boundary: String,
    pieces: Vec<Piece>,
}

impl Multipart {
    /// An empty form whose parts are separated by a boundary made of `random`, so that no content can hold it.
    pub fn new(random: [u8; 16]) -> Self {
        Self {
            boundary: format!("muster-{:032x}", u128::from_be_bytes(random)),
            pieces: Vec::new(),
        }
    }

    /// Adds a field.
    #[must_use]
    pub fn field(self, name: &str, value: impl Into<Bytes>) -> Self {
        self.part(
            &format!("form-data; name=\"{}\"", quoted(name)),
            None,
            Piece::Bytes(value.into()),
        )
    }

    /// Adds content under a file name.
    #[must_use]
    pub fn bytes(self, name: &str, file_name: &str, content_type: &str, content: impl Into<Bytes>) -> Self {
        self.part(
            &disposition(name, file_name),
            Some(content_type),
            Piece::Bytes(content.into()),
        )
    }

    /// Adds exactly `length` bytes of `file`, from where it stands, read while they are sent.
    #[must_use]
    pub fn file(self, name: &str, file_name: &str, content_type: &str, file: File, length: u64) -> Self {
        self.part(
            &disposition(name, file_name),
            Some(content_type),
            Piece::File(file, length),
        )
    }

    fn part(mut self, disposition: &str, content_type: Option<&str>, content: Piece) -> Self {
        let mut head = format!("--{}\r\nContent-Disposition: {disposition}\r\n", self.boundary);
        if let Some(content_type) = content_type {
            // A type comes from this program; a line end in it would begin another header.
            head.extend(["Content-Type: ", &content_type.replace(['\r', '\n'], ""), "\r\n"]);
        }
        head.push_str("\r\n");
        self.pieces.extend([
            Piece::Bytes(head.into()),
            content,
            Piece::Bytes(Bytes::from_static(b"\r\n")),
        ]);
        self
    }

    /// The content type and the content.
    pub(crate) fn finish(mut self) -> (String, Vec<Piece>) {
        self.pieces
            .push(Piece::Bytes(format!("--{}--\r\n", self.boundary).into()));
        (
            format!("multipart/form-data; boundary={}", self.boundary),
            self.pieces,
        )
    }
}

fn disposition(name: &str, file_name: &str) -> String {
    format!(
        "form-data; name=\"{}\"; filename=\"{}\"",
        quoted(name),
        quoted(file_name)
    )
}

/// As browsers do it (HTML, multipart/form-data encoding algorithm), and the backslash too, which other parsers
/// take for the beginning of an escape.
fn quoted(name: &str) -> String {
    name.replace('\r', "%0D")
        .replace('\n', "%0A")
        .replace('"', "%22")
        .replace('\\', "%5C")
}
