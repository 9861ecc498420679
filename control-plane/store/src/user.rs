//! Users of the built-in directory. A password's hash leaves the database by one function only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use muster_ids::{Name, UserId, UserName};
use muster_model::{audit::Event, library::Grantee};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args},
};

/// Whether a user may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserState {
    /// May.
    Active,
    /// May not; its sessions do not count.
    Disabled,
    /// Gone for ever: the row is kept for what names it, and its name is free for another account.
    Deleted,
}

impl UserState {
    /// The name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for UserState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for UserState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Active, Self::Disabled, Self::Deleted]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("\"{text}\" is not a state of a user"))
    }
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Identity.
    pub id: UserId,
    /// Unique.
    pub name: UserName,
    /// Whether it may log in.
    pub state: UserState,
    /// When it was made.
    pub created_at: i64,
    /// Number of changes, from 1; compare-and-swap.
    pub version: i64,
}

impl Store {
    /// The user of this identity, deleted ones included.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let sql = "SELECT id, name, state, created_at, version FROM users WHERE id = $1";
        self.first(sql, args![id])
            .await?
            .map(|row| user(&row))
            .transpose()
    }

    /// The user of this name; upper and lower case do not differ. A deleted one has no name any more.
    pub async fn user_by_name(&self, name: &UserName) -> Result<Option<User>, StoreError> {
        let sql = "SELECT id, name, state, created_at, version FROM users WHERE name_key = $1";
        self.first(sql, args![name.key()])
            .await?
            .map(|row| user(&row))
            .transpose()
    }

    /// The hash of the user's password, or `None` when there is no such user or no password.
    pub async fn user_password(&self, id: UserId) -> Result<Option<SecretString>, StoreError> {
        let row = self
            .first("SELECT password_hash FROM users WHERE id = $1", args![id])
            .await?;
        let hash = row
            .map(|row| row.optional_text("password_hash"))
            .transpose()?
            .flatten();
        Ok(hash.map(SecretString::from))
    }

    /// At most `limit` users by name, from after the name `after`; deleted ones are left out.
    pub async fn user_list(&self, after: Option<&UserName>, limit: u32) -> Result<Vec<User>, StoreError> {
        let rows = self
            .all(
                "SELECT id, name, state, created_at, version FROM users \
                 WHERE ($1 IS NULL OR name_key > $1) AND state <> 'deleted' ORDER BY name_key LIMIT $2",
                args![after.map(UserName::key), i64::from(limit)],
            )
            .await?;
        rows.iter().map(user).collect()
    }

    /// As [`Store::user_list`], disabled ones only.
    pub async fn user_list_disabled(
        &self,
        after: Option<&UserName>,
        limit: u32,
    ) -> Result<Vec<User>, StoreError> {
        let rows = self
            .all(
                "SELECT id, name, state, created_at, version FROM users \
                 WHERE ($1 IS NULL OR name_key > $1) AND state = 'disabled' ORDER BY name_key LIMIT $2",
                args![after.map(UserName::key), i64::from(limit)],
            )
            .await?;
        rows.iter().map(user).collect()
    }

    /// The names of all who have logged in at least once, as far as the audit log says.
    pub async fn users_logged_in(&self) -> Result<BTreeSet<String>, StoreError> {
        let rows = self
            .all(
                "SELECT DISTINCT subject FROM audit WHERE event = $1",
                args![Event::Login.as_str()],
            )
            .await?;
        rows.iter().map(|row| row.text("subject")).collect()
    }

    /// The groups that disabled users are direct members of, by name.
    pub async fn groups_of_disabled(&self) -> Result<BTreeMap<UserId, Vec<Name>>, StoreError> {
        let sql = "SELECT m.user_id AS member, g.name AS name FROM group_members m JOIN groups g ON g.id = m.group_id \
                   JOIN users u ON u.id = m.user_id WHERE u.state = 'disabled' ORDER BY g.name_key";
        let mut groups: BTreeMap<UserId, Vec<Name>> = BTreeMap::new();
        for row in self.all(sql, args![]).await? {
            let of: &mut Vec<Name> = groups.entry(row.parsed("member")?).or_default();
            of.push(row.parsed("name")?);
        }
        Ok(groups)
    }

    /// All who made or changed something that is in the library.
    pub async fn library_authors(&self) -> Result<BTreeSet<UserId>, StoreError> {
        let rows = self
            .all(
                "SELECT created_by AS author FROM library_items WHERE created_by IS NOT NULL \
                 UNION SELECT updated_by FROM library_items WHERE updated_by IS NOT NULL \
                 UNION SELECT created_by FROM functions UNION SELECT updated_by FROM functions \
                 UNION SELECT created_by FROM library_versions",
                args![],
            )
            .await?;
        rows.iter().map(|row| row.parsed("author")).collect()
    }

    /// The names of all users for whom there is a permission in the library.
    pub async fn library_grantees(&self) -> Result<BTreeSet<String>, StoreError> {
        let sql = "SELECT DISTINCT principal FROM library_permissions WHERE grantee = 'user'";
        let rows = self.all(sql, args![]).await?;
        rows.iter().map(|row| row.text("principal")).collect()
    }
}

impl Tx {
    /// Adds a user without a password.
    pub async fn user_insert(&mut self, user: &User) -> Result<(), StoreError> {
        self.insert(
            "INSERT INTO users (id, name, name_key, state, created_at, version) VALUES ($1, $2, $3, $4, $5, $6)",
            args![
                user.id,
                user.name.as_str(),
                user.name.key(),
                user.state.as_str(),
                user.created_at,
                user.version
            ],
            &format!("a user named \"{}\"", user.name),
            "a user of this identity",
        )
        .await
    }

    /// Stores the next version of a user; the password stays.
    pub async fn user_put(&mut self, user: &User) -> Result<(), StoreError> {
        self.change_rights().await?;
        self.swap(
            "UPDATE users SET name = $2, name_key = $3, state = $4, version = $5 WHERE id = $1 AND version = $5 - 1",
            args![user.id, user.name.as_str(), user.name.key(), user.state.as_str(), user.version],
            &format!("the user \"{}\"", user.name),
        )
        .await
    }

    /// Deletes a user for ever. The row stays without name and password, for what names the user; memberships, sessions,
    /// permissions in the library and the keys to sign with go, so that another account of the name has nothing of it.
    pub async fn user_delete(&mut self, user: &User) -> Result<(), StoreError> {
        self.change_rights().await?;
        // No name of a user is written like this key.
        self.swap(
            "UPDATE users SET name_key = $2, password_hash = NULL, state = 'deleted', version = version + 1 \
             WHERE id = $1 AND version = $3",
            args![user.id, format!("deleted {}", user.id), user.version],
            &format!("the user \"{}\"", user.name),
        )
        .await?;
        self.execute("DELETE FROM group_members WHERE user_id = $1", args![user.id])
            .await?;
        self.sessions_delete_of(user.id).await?;
        self.library_forget(&Grantee::User(user.name.clone())).await?;
        self.signing_certificates_delete_of(user.id).await
    }

    /// Sets the hash of a user's password; `None` takes the password away.
    pub async fn user_set_password(
        &mut self,
        id: UserId,
        hash: Option<&SecretString>,
    ) -> Result<(), StoreError> {
        let values = args![id, hash.map(ExposeSecret::expose_secret)];
        match self
            .execute("UPDATE users SET password_hash = $2 WHERE id = $1", values)
            .await?
        {
            0 => Err(StoreError::not_found("the user")),
            _ => Ok(()),
        }
    }
}

pub(crate) fn user(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: row.parsed("id")?,
        name: row.parsed("name")?,
        state: row.parsed("state")?,
        created_at: row.int("created_at")?,
        version: row.int("version")?,
    })
}
