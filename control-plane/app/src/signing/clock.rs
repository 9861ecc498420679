//! When something is signed, among control planes whose clocks differ.
//!
//! Invariant: a user's signature is stamped later than every revocation of his that was made before it; the other way
//! round, what is revoked until now includes what was signed before. Which came first says the lock that both hold.

use std::time::Duration;

use muster_ids::UserName;

use crate::{App, Error};

/// How far another control plane's clock may be ahead of this one's.
const MOST_AHEAD: Duration = Duration::from_mins(5);

impl App {
    /// The time of a signature that `user` makes now, while nobody revokes.
    pub(super) async fn after_decisions(&self, user: &UserName) -> Result<i64, Error> {
        let now = self.now();
        let revocations = format!("revocation/{}/", user.key());
        let made = self.store().trust_reasons(&revocations).await?;
        let Some(last) = made.values().map(|reason| reason.at).max() else {
            return Ok(now);
        };
        let most = i64::try_from(MOST_AHEAD.as_millis()).map_err(Error::bug)?;
        if last > now.saturating_add(most) {
            return Err(Error::conflict(
                "clock",
                format!(
                    "signatures of {user} were revoked at a time that this machine has not reached by more than five \
                     minutes, so nothing was signed; set the clocks of the control planes, and sign again"
                ),
            ));
        }
        // Of what happens at one moment nobody could say which was first.
        Ok(now.max(last + 1))
    }
}
