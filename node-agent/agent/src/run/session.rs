//! Whose session a run belongs to on this node.
//!
//! Invariant: no two users have one, whatever a grant says; one that runs trusted code ends with the trust state that
//! decided about it.

use muster_code_trust::Mode;
use muster_wire::node::v1::run::RunGrant;

/// The session of a granted run that is about to run in `mode` by the trust state of this number; nothing for a run of
/// none. Engine, policy, packages and limits keep sessions apart besides.
pub fn owner(grant: &RunGrant, mode: Mode, trust_number: u64) -> Option<String> {
    let session = grant.session?;
    // What is restricted is trusted by nobody, so that nothing is to be taken back.
    let trust = match mode {
        Mode::Restricted => String::new(),
        Mode::Unrestricted => trust_number.to_string(),
    };
    // Neither a digest nor a number holds a line break.
    Some(format!("{session}\n{trust}\n{}", grant.user))
}

#[cfg(test)]
mod tests {
    use muster_ids::Digest;

    use super::*;
    use crate::run::admit::tests::admitted;

    #[test]
    fn a_session_is_of_one_user_one_analysis_and_one_trust_state() {
        let mut grant = admitted(None).grant;
        assert_eq!(owner(&grant, Mode::Restricted, 7), None);
        grant.session = Some(Digest::of(b"sales"));
        let restricted = owner(&grant, Mode::Restricted, 7);
        assert_eq!(restricted, owner(&grant, Mode::Restricted, 8));
        let trusted = owner(&grant, Mode::Unrestricted, 7);
        assert_ne!(trusted, owner(&grant, Mode::Unrestricted, 8));
        assert_ne!(trusted, restricted);
        let other_analysis = RunGrant {
            session: Some(Digest::of(b"costs")),
            ..grant.clone()
        };
        let other_user = RunGrant {
            user: "bob@SPOTFIRE".parse().expect("a name"),
            ..grant
        };
        for other in [other_analysis, other_user] {
            assert_ne!(owner(&other, Mode::Restricted, 7), restricted);
        }
    }
}
