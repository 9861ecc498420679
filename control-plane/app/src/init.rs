//! Making a collective: its authority, its database, its first administrator.
//!
//! Order: the caller stores the keys first, then [`init_database`] writes everything else in one transaction.
//! A crash in between leaves an empty database, and `init` can simply run again.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use muster_daemon::{clock::Clock, random::Random};
use muster_ids::{AuditWriter, GroupId, Incarnation, PoolId, SiteId, UserId, UserName};
use muster_model::{
    audit::Event,
    permission::{ADMINISTRATOR, Caller, Operation, authorize},
};
use muster_pki::join::JoinKey;
use muster_store::{BuiltinGroups, Draft, NewCollective, Secret, Store, Tx, User, UserState};
use secrecy::SecretString;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{Error, authority::NewAuthority, session};

/// The name of the join key among the secrets.
const JOIN_KEY: &str = "join-key";

/// Writes a new collective into an empty, migrated database: identity, authority, built-in groups and places, the join
/// key, and `administrator` with `password`.
pub async fn init_database(
    store: &Store,
    authority: &NewAuthority,
    master_key: &[u8; 32],
    administrator: &UserName,
    password: SecretString,
    clock: &Clock,
    random: &Random,
) -> Result<(), Error> {
    let now = clock.unix_ms();
    let hash = session::hash(password).await?;
    let authorized = authorize(&Caller::System, Operation::Maintain)?;
    let groups = BuiltinGroups {
        everyone: random.id(now, GroupId::new),
        administrator: random.id(now, GroupId::new),
        script_author: random.id(now, GroupId::new),
        custom_query_author: random.id(now, GroupId::new),
    };
    let new = NewCollective {
        collective: authority.collective,
        incarnation: random.id(now, Incarnation::new),
        writer: random.id(now, AuditWriter::new),
        pool: random.id(now, PoolId::new),
        site: random.id(now, SiteId::new),
        groups,
    };
    let user = User {
        id: random.id(now, UserId::new),
        name: administrator.clone(),
        state: UserState::Active,
        created_at: now,
        version: 1,
    };
    let mut tx = store.begin(&authorized).await?;
    tx.init(&new, now).await?;
    tx.authority_insert(&authority.first(now)).await?;
    put_join_key(&mut tx, master_key, 1, random).await?;
    tx.user_insert(&user).await?;
    tx.user_set_password(user.id, Some(&hash)).await?;
    tx.group_add_member(groups.administrator, user.id).await?;
    let detail = json!({ "administrator": user.name.as_str(), "group": ADMINISTRATOR });
    tx.commit(
        Draft::new(Event::CollectiveInit, new.collective.to_string(), detail),
        now,
    )
    .await?;
    Ok(())
}

/// Draws the join key of an epoch, in place of the one before.
pub(crate) async fn put_join_key(
    tx: &mut Tx,
    master_key: &[u8; 32],
    epoch: u64,
    random: &Random,
) -> Result<(), Error> {
    let join_key = Zeroizing::new(random.bytes::<32>());
    let sealed = seal(master_key, epoch, join_key.as_slice(), random)?;
    Ok(tx.secret_put(JOIN_KEY, &sealed).await?)
}

/// The join key of the present epoch.
pub async fn load_join_key(store: &Store, master_key: &[u8; 32]) -> Result<JoinKey, Error> {
    let secret = store
        .secret_get(JOIN_KEY)
        .await?
        .ok_or(muster_store::StoreError::NotInitialised)?;
    let opened = open(master_key, &secret)?;
    let bytes: [u8; 32] = opened
        .as_slice()
        .try_into()
        .map_err(|_| Error::bug("a join key of another length"))?;
    Ok(JoinKey::from_bytes(bytes))
}

/// AES-256-GCM under a key of 32 random bytes; the additional data names the secret and its epoch.
fn seal(master_key: &[u8; 32], epoch: u64, plain: &[u8], random: &Random) -> Result<Secret, Error> {
    let nonce: [u8; 12] = random.bytes();
    let mut ciphertext = plain.to_vec();
    aead_key(master_key)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            additional(epoch),
            &mut ciphertext,
        )
        .map_err(|_| Error::bug("encrypting a secret failed"))?;
    Ok(Secret {
        epoch,
        nonce: nonce.to_vec(),
        ciphertext,
    })
}

fn open(master_key: &[u8; 32], secret: &Secret) -> Result<Zeroizing<Vec<u8>>, Error> {
    let wrong = || {
        Error::Unavailable {
        detail: "the join key cannot be decrypted: master.key in the state directory does not belong to this database; restore both from the same backup".to_owned(),
        source: None,
    }
    };
    let nonce = Nonce::try_assume_unique_for_key(&secret.nonce).map_err(|_| wrong())?;
    let mut buffer = Zeroizing::new(secret.ciphertext.clone());
    let length = aead_key(master_key)?
        .open_in_place(nonce, additional(secret.epoch), &mut buffer)
        .map_err(|_| wrong())?
        .len();
    buffer.truncate(length);
    Ok(buffer)
}

fn aead_key(master_key: &[u8; 32]) -> Result<LessSafeKey, Error> {
    UnboundKey::new(&AES_256_GCM, master_key)
        .map(LessSafeKey::new)
        .map_err(|_| Error::bug("a master key of another length"))
}

fn additional(epoch: u64) -> Aad<Vec<u8>> {
    Aad::from([JOIN_KEY.as_bytes(), &epoch.to_be_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_under_its_key_and_epoch_only() {
        let random = Random::seeded(1);
        let sealed = seal(&[7; 32], 1, b"join key", &random).expect("sealed");
        assert_eq!(open(&[7; 32], &sealed).expect("opened").as_slice(), b"join key");
        assert!(open(&[8; 32], &sealed).is_err());
        assert!(open(&[7; 32], &Secret { epoch: 2, ..sealed }).is_err());
    }
}
