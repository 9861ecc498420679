//! The authority as the database and the keys together say that it is.

use std::sync::Arc;

use muster_ids::Digest;
use muster_model::authority::rotation::{AuthorityState, Stage, Standing};
use muster_pki::{AuthorityFacts, CertificateDer, CrossRoot, Facts, Roots, Signer, Subject, is_signed_by};
use muster_store::{Authority as Row, Store};

use super::{Authority, AuthorityKeys, keys::root_key};
use crate::Error;

/// Bridges that an offer carries at most: one a rotation, the newest first.
const MOST_CROSSES: usize = 8;

/// The authority that signs, among those of the database.
pub async fn load(store: &Store, keys: &dyn AuthorityKeys) -> Result<Authority, Error> {
    of_rows(&store.authorities().await?, keys)
}

/// The root that is active, with its key; `what` is to be signed by it.
pub async fn active_root(
    store: &Store,
    keys: &dyn AuthorityKeys,
    what: &str,
) -> Result<(CertificateDer<'static>, Arc<dyn Signer>), Error> {
    let rows = store.authorities().await?;
    let root = stage(&rows)?.active();
    let key = root_key(keys, &root, what)?;
    Ok((der(&row_of(&rows, &root)?.root), key))
}

/// How far a rotation is.
pub(crate) fn stage(rows: &[Row]) -> Result<Stage, Error> {
    let standings: Vec<Standing> = rows.iter().map(|row| row.standing).collect();
    Stage::of(&standings).map_err(|error| Error::Unavailable {
        detail: error.to_string(),
        source: None,
    })
}

pub(crate) fn of_rows(rows: &[Row], keys: &dyn AuthorityKeys) -> Result<Authority, Error> {
    let root = stage(rows)?.active();
    let row = row_of(rows, &root)?;
    let roots = rows
        .iter()
        .filter(|row| row.standing.state.is_accepted())
        .map(|row| der(&row.root));
    let denied = rows
        .iter()
        .filter(|row| row.standing.state == AuthorityState::Revoked)
        .map(issuing_key)
        .collect::<Result<Vec<_>, _>>()?;
    let roots = Roots::new(roots.collect()).map_err(Error::bug)?.denying(denied);
    let signed = rows.iter().filter(|row| row.activated_at.is_some());
    let receipt_roots = Roots::new(signed.map(|row| der(&row.root)).collect()).map_err(Error::bug)?;
    let policy = der(&row.policy);
    let Subject::Policy(control_plane) = Facts::of(&policy).map_err(Error::bug)?.id.subject else {
        return Err(Error::bug("a policy certificate of another role"));
    };
    let intermediate = der(&row.issuing);
    let bridge = row.issuing_cross.as_deref().map(der);
    let mut policy_chain = vec![policy, intermediate.clone()];
    policy_chain.extend(bridge.clone());
    Ok(Authority {
        root,
        control_plane,
        roots: Arc::new(roots),
        receipt_roots: Arc::new(receipt_roots),
        crosses: crosses(rows),
        intermediate,
        bridge,
        issuing: keys.issuing(&root)?,
        policy_chain,
        policy: keys.policy(&root)?,
    })
}

/// The row of this root.
pub(crate) fn row_of<'a>(rows: &'a [Row], root: &Digest) -> Result<&'a Row, Error> {
    rows.iter()
        .find(|row| row.standing.root == *root)
        .ok_or_else(|| Error::bug("an authority without a row"))
}

/// The fingerprint of the intermediate's key.
pub(crate) fn issuing_key(row: &Row) -> Result<Digest, Error> {
    let facts = AuthorityFacts::of(&row.issuing).map_err(Error::bug)?;
    Ok(facts.public_key.fingerprint())
}

pub(crate) fn der(bytes: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from(bytes.to_vec())
}

/// Which older root vouches for which accepted one, the newest bridge first.
fn crosses(rows: &[Row]) -> Vec<CrossRoot> {
    let accepted = rows.iter().filter(|row| row.standing.state.is_accepted());
    let mut vouched: Vec<Digest> = accepted.map(|row| row.standing.root).collect();
    let mut crosses = Vec::new();
    for row in rows.iter().rev() {
        let Some(cross) = row
            .root_cross
            .as_deref()
            .filter(|_| vouched.contains(&row.standing.root))
        else {
            continue;
        };
        if let Some(older) = rows.iter().find(|older| is_signed_by(cross, &older.root)) {
            vouched.push(older.standing.root);
            crosses.push(CrossRoot {
                root: der(&older.root),
                certificate: der(cross),
            });
        }
    }
    crosses.truncate(MOST_CROSSES);
    crosses
}
