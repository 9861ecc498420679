//! Users who are deleted.
//!
//! What is left is a row without a name, which says whose old signatures, versions and runs those are. Everything that goes
//! by the name goes with the user: memberships, permissions in the library, trust of theirs and in them. Blocks and
//! revocations stay, because they only take away.
//!
//! Invariant: another account of the same name has no right and no trust of the deleted one.

use muster_ids::UserName;
use muster_model::{
    audit::Event,
    permission::{Caller, Operation},
};
use muster_store::Draft;
use muster_wire::admin::v1::{
    Page, PageQuery,
    user::{DeleteUser, DisabledUser},
};
use serde_json::json;

use crate::{App, Error, group::an_administrator_is_left, page, trust};

impl App {
    /// Deletes a user for ever. What runs for them is stopped, what waits is refused when its turn comes.
    pub async fn delete_user(
        &self,
        caller: &Caller,
        name: &UserName,
        query: &DeleteUser,
    ) -> Result<(), Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageUsers, "delete the user", name)
            .await?;
        let user = self.user_named(name).await?;
        if matches!(caller, Caller::User(me) if me.id == user.id) {
            return Err(Error::conflict(
                "own-account",
                "nobody deletes their own account; ask another administrator",
            ));
        }
        if query
            .state
            .as_ref()
            .is_some_and(|state| state != user.state.as_str())
        {
            return Err(Error::conflict(
                "conflict",
                format!("the user {} is {}; nothing was deleted", user.name, user.state),
            ));
        }
        let now = self.now();
        let mut tx = self.begin_asked(&authorized).await?;
        let entries = trust::locked(&mut tx).await?;
        let trust = trust::of_user(&entries, &user.name);
        // Refused where the user was changed since it was read.
        tx.user_delete(&user).await?;
        // A second wall: whoever deletes is an administrator under this lock, and never deletes themselves.
        an_administrator_is_left(&mut tx).await?;
        let stopped = tx.runs_cancel_of(user.id).await?;
        tx.trust_change(&trust, now).await?;
        let detail = json!({
            "id": user.id.to_string(), "trust_entries": trust.len(), "runs_stopped": stopped,
        });
        tx.commit(Draft::new(Event::UserDeleted, user.name.to_string(), detail), now)
            .await?;
        Ok(())
    }

    /// Disabled users, by name, with what speaks for keeping them.
    pub async fn list_disabled_users(
        &self,
        caller: &Caller,
        query: &PageQuery,
    ) -> Result<Page<DisabledUser>, Error> {
        self.authorize_to(caller, Operation::ReadAdministration, "list disabled users", "")
            .await?;
        let limit = page::limit(query)?;
        let store = self.store();
        let rows = store
            .user_list_disabled(page::after::<UserName>(query)?.as_ref(), limit + 1)
            .await?;
        if rows.is_empty() {
            return Ok(page::of(
                Vec::new(),
                limit,
                |user: &DisabledUser| user.name.clone(),
                |user| user,
            ));
        }
        let (seen, authors) = (store.users_logged_in().await?, store.library_authors().await?);
        let grantees = store.library_grantees().await?;
        let mut groups = store.groups_of_disabled().await?;
        let mut users = Vec::with_capacity(rows.len());
        for user in rows {
            users.push(DisabledUser {
                logged_in: seen.contains(user.name.as_str()),
                groups: groups.remove(&user.id).unwrap_or_default(),
                library_permissions: grantees.contains(user.name.as_str()),
                library_author: authors.contains(&user.id),
                name: user.name,
            });
        }
        Ok(page::of(users, limit, |user| user.name.clone(), |user| user))
    }
}

#[cfg(test)]
mod tests;
