//! What a decision says: the outcome, and for people what brought it about, in words.

use muster_ids::Name;

use crate::words::words;

words! {
    /// Why something is refused.
    pub DenyReason ("reason") {
        /// The user lacks the license feature that the operation needs.
        NoLicense = "no_license",
        /// This version of the item is blocked.
        BlockedItem = "blocked_item",
        /// The certificate that signed it is blocked.
        BlockedCertificate = "blocked_certificate",
        /// The user who signed it is blocked.
        BlockedUser = "blocked_user",
        /// It was signed in a time for which the signer's signatures were revoked.
        InvalidSignatureRevoked = "invalid_signature_revoked",
        /// The signature leads to no accepted root.
        InvalidSignatureChain = "invalid_signature_chain",
        /// The signer's account is gone.
        InvalidSignatureUserDeleted = "invalid_signature_user_deleted",
        /// The content is not what was signed.
        InvalidSignatureModified = "invalid_signature_modified",
        /// There is no signature.
        Unsigned = "unsigned",
        /// Nobody who could do so has trusted it.
        Untrusted = "untrusted",
        /// The user may not decide about trust.
        NoTrustPermission = "no_trust_permission",
        /// It takes a member of the author group.
        NotScriptAuthor = "not_script_author",
        /// Scripts are written and trusted in the installed client only.
        WebCannotTrust = "web_cannot_trust",
        /// Nobody is there who could be asked.
        NonInteractive = "non_interactive",
        /// The engine runs trusted code only.
        EngineRefused = "engine_refused",
    }

    /// What a prompt offers to trust.
    pub PromptOption ("prompt option") {
        /// This version of the item.
        Item = "item",
        /// Everything of its signer in this role.
        Signer = "signer",
    }

    /// How an engine runs code.
    pub Mode ("mode") {
        /// Inside the walls for untrusted code.
        Restricted = "restricted",
        /// As the administrator allows trusted code.
        Unrestricted = "unrestricted",
    }
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Goes ahead.
    Allow,
    /// Goes ahead once the user has seen and approved what leaves.
    AllowWithConsent,
    /// Runs, in restricted mode.
    Restricted,
    /// The user is asked to trust one of `options`.
    Prompt {
        /// What can be trusted: the item, and its signer where the signature is valid.
        options: &'static [PromptOption],
    },
    /// Refused.
    Deny {
        /// Why.
        reason: DenyReason,
    },
}

impl Outcome {
    /// The word that the policy test uses for this kind of outcome.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::AllowWithConsent => "allow_with_consent",
            Self::Restricted => "restricted",
            Self::Prompt { .. } => "prompt",
            Self::Deny { .. } => "deny",
        }
    }

    /// The mode in which a run with this outcome starts; `None` where it must not start.
    pub fn mode(self) -> Option<Mode> {
        match self {
            Self::Allow | Self::AllowWithConsent => Some(Mode::Unrestricted),
            Self::Restricted => Some(Mode::Restricted),
            Self::Prompt { .. } | Self::Deny { .. } => None,
        }
    }

    /// Grows with strictness; a prompt that offers less is stricter.
    fn strictness(self) -> (u8, usize) {
        match self {
            Self::Allow => (0, 0),
            Self::AllowWithConsent => (1, 0),
            Self::Restricted => (2, 0),
            Self::Prompt { options } => (3, usize::MAX - options.len()),
            Self::Deny { .. } => (4, 0),
        }
    }
}

/// A decision in words, as explanations, refusals and records have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The answer.
    pub outcome: Outcome,
    /// The stable name of the rule that decided, one of [`crate::decide`]'s list.
    pub rule: &'static str,
    /// The entry of the trust state, by its key, or the setting, by its name and place, that decided.
    pub entry: Option<String>,
    /// The groups by which the rule applied to the user, from the one that the user is a member of to the one that
    /// counts. Empty where no group decided.
    pub group_path: Vec<Name>,
    /// Sentences for people.
    pub reasons: Vec<String>,
}

/// The stricter of two verdicts about one question, for the node that decides again what the control plane granted.
/// Of equally strict ones the first wins.
pub fn stricter(first: Verdict, second: Verdict) -> Verdict {
    if second.outcome.strictness() > first.outcome.strictness() {
        second
    } else {
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_of_two_verdicts_wins_in_either_order() {
        const BOTH: &[PromptOption] = &[PromptOption::Item, PromptOption::Signer];
        let ordered = [
            Outcome::Allow,
            Outcome::AllowWithConsent,
            Outcome::Restricted,
            Outcome::Prompt { options: BOTH },
            Outcome::Prompt { options: &BOTH[..1] },
            Outcome::Deny {
                reason: DenyReason::Untrusted,
            },
        ];
        let verdict = |outcome| Verdict {
            outcome,
            rule: "test",
            entry: None,
            group_path: Vec::new(),
            reasons: Vec::new(),
        };
        for (i, mild) in ordered.iter().enumerate() {
            for strict in &ordered[i..] {
                assert_eq!(stricter(verdict(*mild), verdict(*strict)).outcome, *strict);
                assert_eq!(stricter(verdict(*strict), verdict(*mild)).outcome, *strict);
            }
        }
    }
}
