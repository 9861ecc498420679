//! Making the keys and certificates of an authority, and the bridges from the one before.
//!
//! A root certifies one intermediate, the intermediate one policy key. Where an authority follows another, the older
//! root also certifies the new root's key and the new intermediate: whoever knows only the older one believes the newer.

use std::time::Duration;

use muster_daemon::{clock::Clock, random::Random};
use muster_ids::{CollectiveId, ControlPlaneId, Digest};
use muster_model::authority::rotation::{AuthorityState, Standing};
use muster_pki::{
    AuthorityFacts, CertificateDer, KeyUse, Profile, PublicKey, Serial, Signer, SoftwareSigner, SpiffeId,
    Subject, Validity, create_root, issue,
};
use zeroize::Zeroizing;

use crate::Error;

/// How long a root is valid.
const ROOT_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);
/// How long an issuing intermediate is valid.
const ISSUING_LIFETIME: Duration = Duration::from_hours(5 * 365 * 24);
/// How long the certificate of a policy key is valid.
const POLICY_LIFETIME: Duration = Duration::from_hours(365 * 24);

/// Keys and certificates of a new authority.
pub struct NewAuthority {
    /// The collective.
    pub collective: CollectiveId,
    /// This control plane.
    pub control_plane: ControlPlaneId,
    /// The root.
    pub root: CertificateDer<'static>,
    /// The root's key, PKCS#8.
    pub root_key: Zeroizing<Vec<u8>>,
    /// The issuing intermediate.
    pub issuing: CertificateDer<'static>,
    /// The intermediate's key, PKCS#8.
    pub issuing_key: Zeroizing<Vec<u8>>,
    /// The policy certificate.
    pub policy: CertificateDer<'static>,
    /// The policy key, PKCS#8.
    pub policy_key: Zeroizing<Vec<u8>>,
}

impl NewAuthority {
    /// The fingerprint of its root.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.root)
    }

    /// What the database knows of the first authority of a collective.
    pub fn first(&self, now: i64) -> muster_store::Authority {
        first(&self.root, &self.issuing, &self.policy, now)
    }
}

/// The row of an authority that follows no other and signs since `now`.
pub fn first(
    root: &CertificateDer<'_>,
    issuing: &CertificateDer<'_>,
    policy: &CertificateDer<'_>,
    now: i64,
) -> muster_store::Authority {
    muster_store::Authority {
        standing: Standing {
            number: 1,
            root: Digest::of(root),
            state: AuthorityState::Active,
        },
        root: root.to_vec(),
        root_cross: None,
        issuing: issuing.to_vec(),
        issuing_cross: None,
        policy: policy.to_vec(),
        prepared_at: now,
        activated_at: Some(now),
        tainted_at: None,
        revoked_at: None,
        version: 1,
    }
}

/// Makes the keys and certificates of a new collective.
pub async fn create_authority(clock: &Clock, random: &Random) -> Result<NewAuthority, Error> {
    let now = clock.unix_ms();
    let ids = (
        random.id(now, CollectiveId::new),
        random.id(now, ControlPlaneId::new),
    );
    make(ids, now, random).await
}

/// Makes the keys and certificates of an authority of this collective and control plane.
pub(crate) async fn make(
    (collective, control_plane): (CollectiveId, ControlPlaneId),
    now: i64,
    random: &Random,
) -> Result<NewAuthority, Error> {
    let generate = |key_use| SoftwareSigner::generate(key_use).map_err(Error::bug);
    let serial = || Serial::from_random(random.bytes());
    let (root_signer, issuing_signer, policy_signer) = (
        generate(KeyUse::Authority)?,
        generate(KeyUse::Authority)?,
        generate(KeyUse::Policy)?,
    );
    let validity = Validity::starting(now, ROOT_LIFETIME);
    let root = create_root(collective, &root_signer, &serial(), &validity)
        .await
        .map_err(Error::bug)?;
    let by_root = Issuer {
        certificate: &root,
        signer: &root_signer,
        random,
        now,
    };
    let issuing = by_root
        .issuing(issuing_signer.public_key(), control_plane)
        .await?;
    let by_issuing = Issuer {
        certificate: &issuing,
        signer: &issuing_signer,
        random,
        now,
    };
    let policy = by_issuing
        .policy(policy_signer.public_key(), control_plane)
        .await?;
    Ok(NewAuthority {
        collective,
        control_plane,
        root,
        root_key: root_signer.to_pkcs8().map_err(Error::bug)?,
        issuing,
        issuing_key: issuing_signer.to_pkcs8().map_err(Error::bug)?,
        policy,
        policy_key: policy_signer.to_pkcs8().map_err(Error::bug)?,
    })
}

/// An authority's certificate with its key, about to sign.
pub(crate) struct Issuer<'a> {
    pub(crate) certificate: &'a CertificateDer<'a>,
    pub(crate) signer: &'a dyn Signer,
    pub(crate) random: &'a Random,
    pub(crate) now: i64,
}

impl Issuer<'_> {
    /// The intermediate with this key.
    pub(crate) async fn issuing(
        &self,
        key: &PublicKey,
        control_plane: ControlPlaneId,
    ) -> Result<CertificateDer<'static>, Error> {
        let collective = self.facts()?.collective;
        let profile = Profile::Issuing {
            collective,
            control_plane,
        };
        self.issue(&profile, key, ISSUING_LIFETIME).await
    }

    /// The policy certificate for this key.
    pub(crate) async fn policy(
        &self,
        key: &PublicKey,
        control_plane: ControlPlaneId,
    ) -> Result<CertificateDer<'static>, Error> {
        let id = SpiffeId::new(self.facts()?.collective, Subject::Policy(control_plane));
        self.issue(&Profile::Identity(id), key, POLICY_LIFETIME).await
    }

    /// The bridge to a newer root with this key.
    pub(crate) async fn cross(&self, key: &PublicKey) -> Result<CertificateDer<'static>, Error> {
        let collective = self.facts()?.collective;
        self.issue(&Profile::Cross { collective }, key, ROOT_LIFETIME)
            .await
    }

    fn facts(&self) -> Result<AuthorityFacts, Error> {
        AuthorityFacts::of(self.certificate).map_err(Error::bug)
    }

    async fn issue(
        &self,
        profile: &Profile,
        key: &PublicKey,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, Error> {
        let validity = Validity::starting(self.now, lifetime).ending_with(self.facts()?.validity);
        let serial = Serial::from_random(self.random.bytes());
        issue(profile, key, self.certificate, self.signer, &serial, &validity)
            .await
            .map_err(Error::bug)
    }
}
