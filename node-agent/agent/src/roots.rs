//! The roots that this node believes, as the collective exchanges them.
//!
//! ```text
//!   trust state names other roots ──► identity.json ──► membership ──► the link goes on with them
//! ```
//!
//! Invariant: roots change only by a trust state that was verified under roots of before, stay those of one collective,
//! and are on disk before they are used. A state that names none leaves them as the join gave them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_code_trust::TrustState;
use muster_ids::Digest;
use muster_pki::{CertificateDer, Roots, RootsError};

use crate::{agent::Agent, credentials::Member, sentence};

/// Why the named roots are not taken over.
#[derive(Debug, thiserror::Error)]
pub enum RootsRefused {
    /// Not a certificate.
    #[error("the trust state names a root that is not base64 of its certificate")]
    Encoding,
    /// Not the certificate that was meant.
    #[error("the trust state names the root {named}, but its certificate is {found}")]
    Fingerprint {
        /// In the key of the entry.
        named: Digest,
        /// Of the certificate.
        found: Digest,
    },
    /// Not the roots of a collective.
    #[error("the roots that the trust state names are not accepted")]
    Roots(#[from] RootsError),
    /// Another collective's.
    #[error("the roots that the trust state names are those of another collective")]
    Collective,
}

/// `member` with the roots that `state` names; `None` where they are those that it has.
pub fn named(state: &TrustState, member: &Member) -> Result<Option<Member>, RootsRefused> {
    let (mut roots, mut denied) = (Vec::new(), Vec::new());
    for authority in state.authorities() {
        let Some(text) = &authority.root else {
            denied.push(authority.issuing);
            continue;
        };
        let root = STANDARD
            .decode(text.as_str())
            .map_err(|_| RootsRefused::Encoding)?;
        let root = CertificateDer::from(root);
        let found = Digest::of(&root);
        if found != authority.fingerprint {
            return Err(RootsRefused::Fingerprint {
                named: authority.fingerprint,
                found,
            });
        }
        roots.push(root);
    }
    if roots.is_empty() || (roots == member.roots && denied == member.denied) {
        return Ok(None);
    }
    if Roots::new(roots.clone())?.collective() != member.collective {
        return Err(RootsRefused::Collective);
    }
    Ok(Some(Member {
        roots,
        denied,
        ..member.clone()
    }))
}

/// Waits until the trust state names other roots than the membership has, and gives the membership with them.
pub async fn changed(agent: &Agent) -> Member {
    let mut versions = agent.trust.versions();
    loop {
        let held = agent.trust.held();
        versions.borrow_and_update();
        if let Some(held) = held {
            match named(&held.state, &agent.member().member) {
                Ok(Some(member)) => return member,
                Ok(None) => agent.conditions.clear("roots"),
                Err(error) => {
                    let error = sentence(&error);
                    tracing::error!(error, "the roots of the collective stay as they were");
                    agent.conditions.set("roots", format!("degraded: {error}"));
                }
            }
        }
        if versions.changed().await.is_err() {
            // The sender lives in the agent.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_code_trust::{Authority, Entry};
    use muster_daemon::{Clock, Random};
    use muster_ids::{CollectiveId, NodeId};
    use muster_pki::{KeyUse, Serial, SoftwareSigner, Validity, create_root};

    use super::*;

    async fn root(collective: CollectiveId) -> CertificateDer<'static> {
        let key = SoftwareSigner::generate(KeyUse::Authority).expect("a key");
        let serial = Serial::from_random(Random::system().bytes());
        let validity = Validity::starting(Clock::system().unix_ms(), std::time::Duration::from_hours(1));
        create_root(collective, &key, &serial, &validity)
            .await
            .expect("a root")
    }

    fn authority(root: &CertificateDer<'_>, accepted: bool) -> Authority {
        Authority {
            fingerprint: Digest::of(root),
            issuing: Digest::of(b"an intermediate's key"),
            root: accepted.then(|| STANDARD.encode(root).parse().expect("a label")),
        }
    }

    fn state(authorities: &[Authority]) -> TrustState {
        TrustState::from_entries(authorities.iter().cloned().map(Entry::Authority))
    }

    fn member(collective: CollectiveId, root: CertificateDer<'static>) -> Member {
        Member {
            node: NodeId::new(1, [1; 10]),
            collective,
            name: "n1".parse().expect("a name"),
            capabilities: Vec::new(),
            pool: "default".parse().expect("a name"),
            site: "default".parse().expect("a name"),
            chain: Vec::new(),
            roots: vec![root],
            denied: Vec::new(),
            back_ends: Vec::new(),
            registration: Vec::new(),
            epoch: 1,
            generation: 1,
        }
    }

    #[tokio::test]
    async fn roots_are_learned_kept_and_given_up_as_the_trust_state_says() {
        let collective = CollectiveId::new(1, [1; 10]);
        let (old, new) = (root(collective).await, root(collective).await);
        let member = member(collective, old.clone());
        assert!(named(&TrustState::default(), &member).expect("read").is_none());
        let both = state(&[authority(&old, true), authority(&new, true)]);
        let two = named(&both, &member).expect("read").expect("another root");
        assert_eq!((two.roots.len(), two.roots.contains(&new)), (2, true));
        assert!(named(&both, &two).expect("read").is_none(), "known already");
        let one = state(&[authority(&old, false), authority(&new, true)]);
        let one = named(&one, &two).expect("read").expect("one root less");
        assert_eq!((one.roots, one.denied.len()), (vec![new], 1));
    }

    #[tokio::test]
    async fn nothing_but_roots_of_the_collective_is_taken_over() {
        let (ours, theirs) = (CollectiveId::new(1, [1; 10]), CollectiveId::new(1, [2; 10]));
        let (old, foreign) = (root(ours).await, root(theirs).await);
        let member = member(ours, old.clone());
        assert!(matches!(
            named(&state(&[authority(&foreign, true)]), &member),
            Err(RootsRefused::Collective)
        ));
        let renamed = Authority {
            fingerprint: Digest::of(b"another"),
            ..authority(&old, true)
        };
        assert!(matches!(
            named(&state(&[renamed]), &member),
            Err(RootsRefused::Fingerprint { .. })
        ));
        let none = state(&[authority(&old, false)]);
        assert!(
            named(&none, &member).expect("read").is_none(),
            "never without a root"
        );
    }
}
