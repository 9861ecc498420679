//! Secrets that lie in files or come as systemd credentials.
//!
//! Invariant: a secret is read only from a regular file that nobody else could read, and no copy of it stays
//! in memory that this module has freed.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use zeroize::{Zeroize as _, Zeroizing};

use crate::file::{self, Access, FileError};

/// The longest secret, in bytes; a PEM file of keys fits.
const MAX_SECRET: u64 = 64 * 1024;

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or is not private.
    #[error("cannot use the secret file")]
    File(#[from] FileError),
    /// There is nothing in it.
    #[error("the secret file {} is empty; write the secret into it", .0.display())]
    Empty(PathBuf),
    /// It is not text where a text is needed.
    #[error("the secret file {} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// It is not a key of the right length.
    #[error("the key file {} holds neither 32 bytes nor 64 hexadecimal digits; restore it, or make a new one with openssl rand -hex 32", .0.display())]
    NotKey(PathBuf),
}

/// Where a secret lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    path: PathBuf,
    access: Access,
}

impl SecretFile {
    /// A file of mode 0600 or tighter.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            access: Access::Private,
        }
    }

    /// The credential `name` in `folder`, the value of `$CREDENTIALS_DIRECTORY`; `None` unless `name` is a
    /// plain file name.
    pub fn credential(folder: &Path, name: &str) -> Option<Self> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        plain.then(|| Self {
            path: folder.join(name),
            access: Access::Credential,
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret as bytes, without one newline at its end.
    pub fn read_bytes(&self) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let mut bytes = Zeroizing::new(file::read(&self.path, self.access, MAX_SECRET)?);
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if bytes.is_empty() {
            Err(SecretError::Empty(self.path.clone()))
        } else {
            Ok(bytes)
        }
    }

    /// A key of 32 bytes, as they are or as 64 hexadecimal digits with or without a newline at the end.
    pub fn read_key(&self) -> Result<Zeroizing<[u8; 32]>, SecretError> {
        let bytes = Zeroizing::new(file::read(&self.path, self.access, MAX_SECRET)?);
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() == key.len() {
            key.copy_from_slice(&bytes);
            return Ok(key);
        }
        let wrong = || SecretError::NotKey(self.path.clone());
        let digits = bytes.trim_ascii_end();
        if digits.len() != 2 * key.len() {
            return Err(wrong());
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| {
                char::from(pair[at])
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            };
            let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                return Err(wrong());
            };
            *byte = high << 4 | low;
        }
        Ok(key)
    }

    /// The secret as text, without one newline at its end.
    pub fn read_text(&self) -> Result<SecretString, SecretError> {
        let mut bytes = self.read_bytes()?;
        // A boxed str of exact size: SecretString would shrink a String and might leave a copy behind.
        let text = std::str::from_utf8(&bytes).map(|text| SecretString::new(Box::from(text)));
        let text = text.map_err(|_| SecretError::NotText(self.path.clone()));
        bytes.zeroize();
        text
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn secret(content: &[u8], mode: u32) -> (tempfile::TempDir, SecretFile) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("secret");
        file::write(&path, content, mode, "test").expect("written");
        (folder, SecretFile::at(path))
    }

    #[test]
    fn one_newline_at_the_end_is_not_part_of_the_secret() {
        for (content, expected) in [
            ("hunter2\n", "hunter2"),
            ("hunter2", "hunter2"),
            ("a\n\n", "a\n"),
            ("a\r\n", "a"),
            (" a ", " a "),
        ] {
            let (_folder, file) = secret(content.as_bytes(), 0o600);
            assert_eq!(file.read_text().expect("read").expose_secret(), expected);
        }
    }

    #[test]
    fn a_key_is_read_as_bytes_and_as_digits() {
        let raw: Vec<u8> = (0..32).map(|byte| byte ^ 0x0a).collect();
        let digits: String = raw
            .iter()
            .fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
        for content in [raw.clone(), digits.clone().into(), format!("{digits}\r\n").into()] {
            let (_folder, file) = secret(&content, 0o600);
            assert_eq!(file.read_key().expect("a key").as_slice(), raw);
        }
        for content in [&b""[..], &[7; 31], &[b'x'; 64], &[b'0'; 65]] {
            let (_folder, file) = secret(content, 0o600);
            assert!(matches!(file.read_key(), Err(SecretError::NotKey(_))));
        }
    }

    #[test]
    fn an_empty_a_binary_or_an_open_file_is_refused() {
        let (_folder, file) = secret(b"\n", 0o600);
        assert!(matches!(file.read_text(), Err(SecretError::Empty(_))));
        let (_folder, file) = secret(b"\xff", 0o600);
        assert!(matches!(file.read_text(), Err(SecretError::NotText(_))));
        assert_eq!(*file.read_bytes().expect("bytes"), [0xff]);
        let (_folder, file) = secret(b"x", 0o640);
        assert!(matches!(
            file.read_text(),
            Err(SecretError::File(FileError::Mode { .. }))
        ));
    }
}
