//! Whose session a run belongs to on this node.
//!
//! Invariant: no two users have one, whatever a grant says, and none outlives the trust state that decided about its runs.

use muster_code_trust::StateVersion;
use muster_wire::node::v1::run::RunGrant;

/// The session of a granted run that is about to run by this trust state; nothing for a run of none. Engine, mode, policy,
/// packages and limits keep sessions apart besides.
pub fn owner(grant: &RunGrant, trust: &StateVersion) -> Option<String> {
    let session = grant.session?;
    let StateVersion {
        incarnation,
        epoch,
        number,
        digest,
        ..
    } = trust;
    // None of these holds a line break.
    Some(format!(
        "{session}\n{incarnation} {epoch} {number} {digest}\n{}",
        grant.user
    ))
}

#[cfg(test)]
mod tests {
    use muster_ids::{Digest, Incarnation};

    use super::*;
    use crate::run::admit::tests::admitted;

    fn version(epoch: u64, number: u64) -> StateVersion {
        StateVersion {
            incarnation: Incarnation::new(1, [1; 10]),
            epoch,
            number,
            digest: Digest::of(b"state"),
            previous: Digest::of(b""),
        }
    }

    #[test]
    fn a_session_is_of_one_user_one_analysis_and_one_trust_state() {
        let now = version(1, 7);
        let mut grant = admitted(None).grant;
        assert_eq!(owner(&grant, &now), None);
        grant.session = Some(Digest::of(b"sales"));
        let one = owner(&grant, &now);
        assert_eq!(one, owner(&grant, &now));
        let forked = StateVersion {
            digest: Digest::of(b"another state"),
            ..now
        };
        for other in [version(1, 8), version(2, 7), forked] {
            assert_ne!(owner(&grant, &other), one);
        }
        let other_analysis = RunGrant {
            session: Some(Digest::of(b"costs")),
            ..grant.clone()
        };
        let other_user = RunGrant {
            user: "bob@SPOTFIRE".parse().expect("a name"),
            ..grant
        };
        for other in [other_analysis, other_user] {
            assert_ne!(owner(&other, &now), one);
        }
    }
}
