//! Leases by name: of several control planes one does what one should do.

use crate::{error::StoreError, store::Store, value::args};

impl Store {
    /// Takes or renews the lease `name` for `holder` until `now + ttl` (milliseconds); false when another holds it.
    pub async fn try_lease(&self, name: &str, holder: &str, now: i64, ttl: i64) -> Result<bool, StoreError> {
        let sql = "INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, $3) \
                   ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at \
                   WHERE leases.holder = excluded.holder OR leases.expires_at <= $4";
        Ok(self.write(sql, args![name, holder, now + ttl, now]).await? == 1)
    }

    /// Gives the lease up, so that another need not wait for its end.
    pub async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.write(
            "DELETE FROM leases WHERE name = $1 AND holder = $2",
            args![name, holder],
        )
        .await
        .map(drop)
    }
}
