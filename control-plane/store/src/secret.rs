//! Small secrets that all control planes share, such as the join key. They come here encrypted and leave encrypted.

use crate::{error::StoreError, store::Store, tx::Tx, value::args, value::counter};

/// One encrypted secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// The epoch that it was made in.
    pub epoch: u64,
    /// The nonce of its encryption.
    pub nonce: Vec<u8>,
    /// The secret, encrypted and authenticated by the caller.
    pub ciphertext: Vec<u8>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// The secret of this name.
    pub async fn secret_get(&self, name: &str) -> Result<Option<Secret>, StoreError> {
        let row = self
            .first(
                "SELECT epoch, nonce, ciphertext FROM secrets WHERE name = $1",
                args![name],
            )
            .await?;
        row.map(|row| {
            Ok(Secret {
                epoch: row.counter("epoch")?,
                nonce: row.bytes("nonce")?,
                ciphertext: row.bytes("ciphertext")?,
            })
        })
        .transpose()
    }
}

impl Tx {
    /// Sets the secret of this name, in place of an older one.
    pub async fn secret_put(&mut self, name: &str, secret: &Secret) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO secrets (name, epoch, nonce, ciphertext) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, nonce = excluded.nonce, \
             ciphertext = excluded.ciphertext",
            args![name, counter(secret.epoch)?, &secret.nonce, &secret.ciphertext],
        )
        .await
        .map(drop)
    }
}
