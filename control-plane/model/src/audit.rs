//! The names of everything that is audited, and the shape of one record.
//!
//! Invariant: a record never contains a secret, a verification code, a token or the data of a run.

use serde::{Deserialize, Serialize};

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Event { $($(#[$doc])* #[serde(rename = $text)] $name,)+ }

        impl Event {
            /// Every event.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in the log and on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

impl Event {
    /// Whether it says what became of one run, or of somebody who wanted to open something, and nothing else.
    pub fn is_of_run(self) -> bool {
        matches!(
            self,
            Self::RunSubmitted
                | Self::RunGranted
                | Self::RunPutBack
                | Self::RunEnded
                | Self::RunCancelled
                | Self::OutcomeRejected
                | Self::ItemPrompted
                | Self::ItemDeclined
                | Self::ItemDenied
        )
    }
}

events! {
    /// The collective was made.
    CollectiveInit = "collective.init";
    /// A valid reveal made or renewed a join request.
    JoinRevealed = "join.revealed";
    /// One of several people who must approve a join did.
    JoinVoted = "join.voted";
    /// An approval does not count any more: who gave it may not approve now.
    JoinVoteVoid = "join.vote_void";
    /// A join was approved and its certificate issued.
    JoinApproved = "join.approved";
    /// An answer to a join was refused: it had been answered already, by somebody else or the same person.
    JoinAnswerRefused = "join.answer_refused";
    /// A join was rejected.
    JoinRejected = "join.rejected";
    /// An approval was tried with a code or fingerprint that matches nothing.
    JoinApprovalFailed = "join.approval_failed";
    /// Strangers were refused on the registration listener (one row a prefix and minute).
    JoinRefused = "join.refused";
    /// Messages of a request came again from another address (one row a request and minute).
    JoinReplay = "join.replay";
    /// A session's secret, or what looks like one, came over the plain port; a session has ended by it.
    SecretLeaked = "secret.leaked";
    /// A join token was made.
    JoinTokenCreated = "join_token.created";
    /// A join token was taken back.
    JoinTokenRevoked = "join_token.revoked";
    /// Joins that named this token were refused (one row a token and minute).
    JoinTokenRefused = "join_token.refused";
    /// A certificate was issued.
    CertificateIssued = "certificate.issued";
    /// An authority that an older version had made was written down.
    AuthorityRecorded = "authority.recorded";
    /// A rotation of the authority began: a new one was made.
    AuthorityPrepared = "authority.prepared";
    /// Another authority signs.
    AuthorityActivated = "authority.activated";
    /// What an authority signed must be replaced.
    AuthorityTainted = "authority.tainted";
    /// Nothing of an authority is accepted any more.
    AuthorityRevoked = "authority.revoked";
    /// A rotation of the authority was taken back.
    AuthorityAborted = "authority.aborted";
    /// Certificates of the authority itself were issued anew.
    AuthorityRenewed = "authority.renewed";
    /// Certificates were revoked, one or those of one key or holder.
    CertificateRevoked = "certificate.revoked";
    /// All certificates were revoked, and all nodes untrusted.
    TrustReset = "trust.reset";
    /// A revocation list was published.
    RevocationListIssued = "revocation_list.issued";
    /// A node used its next certificate for the first time, and stands at it from now on.
    CertificateFirstUsed = "certificate.first_used";
    /// A node's identity was found to have two holders; both were locked.
    NodeCloneDetected = "node.clone_detected";
    /// A second agent of a node was refused while the first was connected.
    NodeDuplicateRefused = "node.duplicate_refused";
    /// Somebody asked to join with a key that its node has left behind.
    JoinOldKey = "join.old_key";
    /// A node lost its right to speak.
    NodeUntrusted = "node.untrusted";
    /// A node was deleted.
    NodeDeleted = "node.deleted";
    /// A node's scheduling, pool or site changed.
    NodeChanged = "node.changed";
    /// A draining node has ended its last run and is cordoned now.
    NodeDrained = "node.drained";
    /// A pool was made.
    PoolCreated = "pool.created";
    /// A pool was deleted.
    PoolDeleted = "pool.deleted";
    /// A site was made.
    SiteCreated = "site.created";
    /// A site was deleted.
    SiteDeleted = "site.deleted";
    /// An older database was put back on purpose: a new epoch.
    EpochBegun = "epoch.begun";
    /// A node knew of something that was taken away, and it was taken away again.
    EpochUnited = "epoch.united";
    /// What a node knows of earlier epochs could not be used.
    EpochReportRefused = "epoch.report_refused";
    /// Tombstones of certificates that are over left the trust state.
    TombstonesExpired = "trust.tombstones_expired";
    /// Somebody logged in.
    Login = "login.succeeded";
    /// A log-in failed.
    LoginFailed = "login.failed";
    /// A session ended by log-out.
    Logout = "login.ended";
    /// A request was refused for lack of rights.
    Denied = "request.denied";
    /// A user was made.
    UserCreated = "user.created";
    /// A user was changed.
    UserChanged = "user.changed";
    /// A user was deleted.
    UserDeleted = "user.deleted";
    /// A password was set.
    PasswordSet = "user.password_set";
    /// A group was made.
    GroupCreated = "group.created";
    /// A group was deleted.
    GroupDeleted = "group.deleted";
    /// Parents of a group changed; with older versions its members too.
    GroupChanged = "group.changed";
    /// A user became a member of a group.
    MemberAdded = "admin.group_add_member";
    /// A user is a member of a group no more.
    MemberRemoved = "admin.group_remove_member";
    /// A group got a license feature.
    LicenseSet = "admin.set_license";
    /// A group lost a license feature.
    LicenseRemoved = "admin.remove_license";
    /// A group got a license without all of its features.
    LicenseExcluded = "admin.exclude_license";
    /// License features of a group changed: what older versions wrote.
    LicenseChanged = "license.changed";
    /// A preference of a group was set or cleared.
    PreferenceSet = "admin.set_preference";
    /// A folder was made in the library.
    LibraryFolderCreated = "library.folder_created";
    /// An item of the library was saved, as a new one or in a new version.
    LibraryItemSaved = "library.saved";
    /// A folder or item of the library got another place, name or description.
    LibraryItemMoved = "library.moved";
    /// A folder or item of the library was deleted, with what was in it.
    LibraryItemDeleted = "library.deleted";
    /// Who may read and write a folder or item of the library was changed.
    LibraryPermissionsChanged = "library.permissions_changed";
    /// A function was registered or got a new version.
    FunctionRegistered = "function.registered";
    /// Code in an item of the library was trusted by an author of its kind: a function, a script or a query.
    FunctionTrusted = "trust.stamped";
    /// A stamp was removed.
    FunctionUntrusted = "trust.stamp_removed";
    /// What the unrestricted runs of a function may use was set or removed.
    FunctionPolicyChanged = "function.policy_changed";
    /// An item, a user or a certificate was blocked.
    Blocked = "codetrust.block";
    /// A block was lifted.
    Unblocked = "codetrust.unblock";
    /// A user or group trusts a signing user.
    SignerAdded = "codetrust.add_user";
    /// Trust in a signing user was withdrawn.
    SignerRemoved = "codetrust.remove_user";
    /// A user or group trusts a certificate of another authority.
    ExternalAdded = "codetrust.add_extcert";
    /// Trust in a certificate of another authority was withdrawn.
    ExternalRemoved = "codetrust.remove_extcert";
    /// A user or group trusts one version of an item.
    HashAdded = "codetrust.add_hash";
    /// Trust in one version of an item was withdrawn.
    HashRemoved = "codetrust.remove_hash";
    /// A time of a user's signatures was made void.
    SignaturesRevoked = "codetrust.revoke_cert";
    /// The collective's code-signing root was made, or made anew.
    SigningRootMade = "codetrust.create_root";
    /// A code-signing root was imported.
    SigningRootImported = "codetrust.import_root";
    /// An imported code-signing root was removed.
    SigningRootRemoved = "codetrust.remove_root";
    /// All signing certificates of users were deleted, and the root made anew.
    CodeTrustReset = "codetrust.reset";
    /// A user got a certificate to sign with.
    SigningCertificateIssued = "codetrust.create_cert";
    /// The certificate of another authority was imported.
    SigningCertificateImported = "codetrust.upload_extcert";
    /// A version of an item was signed.
    ItemSigned = "codetrust.sign";
    /// A version of a mod or external action got known: it was saved, signed, or sent to be trusted.
    HashUploaded = "codetrust.upload_hash";
    /// A version of an item was signed for which there was a signature already.
    ItemSignedAgain = "codetrust.re_sign";
    /// Somebody opened an item and was asked whether to trust it.
    ItemPrompted = "codetrust.prompted";
    /// Somebody was asked whether to trust an item, and said no.
    ItemDeclined = "codetrust.declined";
    /// Trust refused that somebody opened an item, or had it run.
    ItemDenied = "codetrust.denied";
    /// A signature that was made elsewhere got a time stamp.
    TimeStamped = "codetrust.time_stamp";
    /// A trust setting changed.
    SettingChanged = "setting.changed";
    /// A run was queued.
    RunSubmitted = "run.submitted";
    /// A node was granted a run.
    RunGranted = "run.granted";
    /// A run went back to the queue.
    RunPutBack = "run.put_back";
    /// A run ended.
    RunEnded = "run.ended";
    /// A person asked to end a run.
    RunCancelled = "run.cancel_requested";
    /// A node reported an outcome that does not count.
    OutcomeRejected = "run.outcome_rejected";
}

/// One record, as it is hashed and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Milliseconds since 1970, UTC.
    pub at: i64,
    /// Who: `user ann@SPOTFIRE`, `node <id>`, `stranger 10.0.0.5`, `system`.
    pub actor: String,
    /// What.
    pub event: Event,
    /// On what, as people name it.
    pub subject: String,
    /// Further facts; never secrets.
    pub detail: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Event::ALL.iter().map(|event| event.as_str()).collect();
        assert_eq!(names.len(), Event::ALL.len());
    }
}
