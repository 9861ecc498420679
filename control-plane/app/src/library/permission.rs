//! Permissions: who may read and write an item, by itself or by the folder that it is in.
//!
//! Invariant: administrators and library administrators set all; others those of items that they may write, never those of the root.

use muster_code_trust::Feature;
use muster_ids::LibraryItemId;
use muster_model::{
    audit::Event,
    library::{self, Grant, Grantee},
    permission::{Caller, Operation},
};
use muster_store::{Draft, LibraryItem, Tx};
use muster_wire::admin::v1::library::{Grant as WireGrant, Permissions, SetPermissions};
use serde_json::json;

use super::{Held, no_such_item, person};
use crate::{App, Error};

/// The most permissions of one item.
const MOST: usize = 256;

impl App {
    /// The permissions that hold for an item, and where they are set.
    pub async fn library_permissions(&self, caller: &Caller, reference: &str) -> Result<Permissions, Error> {
        self.authorize(caller, Operation::Use).await?;
        let user = person(caller)?;
        let found = self.library_find(user, reference).await?;
        let held = library::holding(&found.chain).map(|step| step.id);
        let holder = match held.filter(|id| *id != found.item.id) {
            Some(id) => self.store().library_item(id).await?,
            None => None,
        };
        let version = version(&found.item, holder.as_ref());
        // Read after the versions, so that what is newer than they say is refused where it is put.
        let chain = self.store().library_chain(found.item.id).await?;
        if library::right(user, &chain).is_none() {
            return Err(no_such_item(reference));
        }
        let at = chain.iter().position(|step| !step.inherits);
        let at = at.ok_or_else(|| no_such_item(reference))?;
        Ok(Permissions {
            inherits: at > 0,
            from: library::path(&chain[at..]),
            grants: chain[at].grants.iter().map(to_wire).collect(),
            version,
        })
    }

    /// Sets the permissions of an item, or has it inherit those of its folder.
    pub async fn library_permit(
        &self,
        caller: &Caller,
        reference: &str,
        wanted: &SetPermissions,
    ) -> Result<Permissions, Error> {
        let authorized = self.authorize(caller, Operation::ChangeLibrary).await?;
        let user = person(caller)?;
        let found = self.library_find(user, reference).await?.item;
        let root = found.id == LibraryItemId::ROOT;
        if wanted.inherits && (root || !wanted.grants.is_empty()) {
            return Err(Error::invalid(
                "permissions are inherited or given, and the root of the library has its own",
            ));
        }
        let grants = self.grants(&wanted.grants).await?;
        let now = self.now();
        let tx = self.store().begin(&authorized).await?;
        let Held {
            mut tx,
            item,
            chain,
            user,
        } = self.library_write(tx, &authorized, found.id).await?;
        if root && !user.controls_library() {
            drop(tx);
            self.record_denial(caller, ("set permissions of the library", "/"))
                .await;
            return Err(Error::denied(format!(
                "user {} may not set the permissions of the root of the library; ask an administrator",
                user.name
            )));
        }
        let holder = match library::holding(&chain).filter(|step| step.id != item.id) {
            Some(step) => tx.library_item(step.id).await?,
            None => None,
        };
        let now_is = version(&item, holder.as_ref());
        if wanted.version.as_ref().is_some_and(|version| *version != now_is) {
            return Err(Error::conflict(
                "conflict",
                format!(
                    "{} was changed by somebody else meanwhile, and perhaps its permissions; look again and repeat",
                    library::path(&chain)
                ),
            ));
        }
        self.require_grantees(&mut tx, &grants).await?;
        tx.library_permit(item.id, (!wanted.inherits).then_some(&grants))
            .await?;
        let detail = json!({
            "item": item.id.to_string(),
            "inherits": wanted.inherits,
            "grants": wanted.grants,
        });
        let draft = Draft::new(Event::LibraryPermissionsChanged, library::path(&chain), detail);
        let above = chain.get(1..).unwrap_or_default();
        let next = LibraryItem {
            version: item.version + 1,
            ..item
        };
        let holder = match library::holding(above).filter(|_| wanted.inherits) {
            Some(step) => tx.library_item(step.id).await?,
            None => None,
        };
        let version = version(&next, holder.as_ref());
        tx.commit(draft, now).await?;
        // Whoever has just closed it to themselves is told what they did.
        Ok(Permissions {
            inherits: wanted.inherits,
            from: library::path(if wanted.inherits { above } else { &chain }),
            grants: if wanted.inherits {
                let above = library::holding(above);
                above.map_or_else(Vec::new, |step| step.grants.iter().map(to_wire).collect())
            } else {
                grants.iter().map(to_wire).collect()
            },
            version,
        })
    }

    /// What was asked for, with the spelling of the directory.
    async fn grants(&self, wanted: &[WireGrant]) -> Result<Vec<Grant>, Error> {
        if wanted.len() > MOST {
            return Err(Error::invalid(format!(
                "an item has at most {MOST} permissions; put the users into a group"
            )));
        }
        let mut grants: Vec<Grant> = Vec::new();
        for one in wanted {
            let grantee = match (&one.user, &one.group, &one.license) {
                (Some(user), None, None) => Grantee::User(self.user_named(user).await?.name),
                (None, Some(group), None) => Grantee::Group(self.group_named(group).await?.name),
                (None, None, Some(feature)) => {
                    let feature: Feature = feature.parse().map_err(|_| {
                        Error::not_found(
                            "license feature",
                            feature.escape_default(),
                            "muster license list shows all of them",
                        )
                    })?;
                    Grantee::License(feature.to_string())
                }
                _ => {
                    return Err(Error::invalid(
                        "a permission is for exactly one of a user, a group and a license",
                    ));
                }
            };
            let right = one
                .right
                .parse()
                .map_err(|_| Error::invalid("a right is read or write"))?;
            if grants.iter().any(|other| other.grantee == grantee) {
                return Err(Error::invalid("a user, group or license is named twice"));
            }
            grants.push(Grant { grantee, right });
        }
        Ok(grants)
    }

    /// Asked again while nobody deletes a group with its permissions.
    async fn require_grantees(&self, tx: &mut Tx, grants: &[Grant]) -> Result<(), Error> {
        tx.library_chain(LibraryItemId::ROOT).await?;
        for grant in grants {
            match &grant.grantee {
                Grantee::User(user) => drop(self.user_named(user).await?),
                Grantee::Group(group) => drop(self.group_named(group).await?),
                Grantee::License(_) => {}
            }
        }
        Ok(())
    }
}

/// What names the permissions of an item as they are now: its version, and the version of what it inherits from.
fn version(item: &LibraryItem, holder: Option<&LibraryItem>) -> String {
    match holder {
        Some(holder) => format!("{}.{}.{}", item.version, holder.id, holder.version),
        None => item.version.to_string(),
    }
}

fn to_wire(grant: &Grant) -> WireGrant {
    let (mut user, mut group, mut license) = (None, None, None);
    match &grant.grantee {
        Grantee::User(name) => user = Some(name.clone()),
        Grantee::Group(name) => group = Some(name.clone()),
        Grantee::License(feature) => license = Some(feature.clone()),
    }
    WireGrant {
        user,
        group,
        license,
        right: grant.right.to_string(),
    }
}
