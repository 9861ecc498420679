//! Groups of users: members, parents from which they inherit, license features.
//!
//! Invariant: no group is its own ancestor.

use std::collections::{BTreeMap, BTreeSet};

use muster_ids::{GroupId, Name, UserId};
use muster_model::library::Grantee;

use crate::{
    dialect::locking,
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args},
};

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Identity.
    pub id: GroupId,
    /// Unique.
    pub name: Name,
    /// Every collective has it; it cannot be deleted.
    pub builtin: bool,
}

/// A group with what it passes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryGroup {
    /// Identity.
    pub id: GroupId,
    /// Name.
    pub name: Name,
    /// The groups that it inherits from.
    pub parents: BTreeSet<GroupId>,
    /// License features given to it.
    pub features: BTreeSet<String>,
    /// The one of its parents that goes before the others.
    pub primary: Option<GroupId>,
    /// Values of preferences that it sets, by name.
    pub preferences: BTreeMap<String, String>,
}

/// All groups as they were at one moment, and those that one user is a direct member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Every group.
    pub groups: BTreeMap<GroupId, DirectoryGroup>,
    /// The groups of the user, inherited ones and `Everyone` not counted.
    pub direct: BTreeSet<GroupId>,
}

impl Store {
    /// Every group, by name.
    pub async fn group_list(&self) -> Result<Vec<Group>, StoreError> {
        let rows = self
            .all("SELECT id, name, builtin FROM groups ORDER BY name_key", args![])
            .await?;
        rows.iter().map(group).collect()
    }

    /// The group of this name; upper and lower case do not differ.
    pub async fn group_by_name(&self, name: &Name) -> Result<Option<Group>, StoreError> {
        let sql = "SELECT id, name, builtin FROM groups WHERE name_key = $1";
        self.first(sql, args![name.key()])
            .await?
            .map(|row| group(&row))
            .transpose()
    }

    /// The direct members of a group, by identity.
    pub async fn group_members(&self, id: GroupId) -> Result<Vec<UserId>, StoreError> {
        let sql = "SELECT user_id FROM group_members WHERE group_id = $1 ORDER BY user_id";
        self.all(sql, args![id])
            .await?
            .iter()
            .map(|row| row.parsed("user_id"))
            .collect()
    }

    /// What is needed to know all groups and features of a user, read by one statement: a change is seen whole or
    /// not at all.
    pub async fn directory_of(&self, user: UserId) -> Result<Directory, StoreError> {
        let rows = self
            .few(
                "SELECT CAST(1 AS BIGINT) AS step, id AS group_id, name AS item FROM groups \
                 UNION ALL SELECT 2, group_id, parent_id FROM group_parents \
                 UNION ALL SELECT 3, group_id, feature FROM group_features \
                 UNION ALL SELECT 4, group_id, user_id FROM group_members WHERE user_id = $1 \
                 UNION ALL SELECT 5, group_id, parent_id FROM group_primaries \
                 UNION ALL SELECT 6, group_id, value || '=' || name FROM group_preferences \
                 ORDER BY 1",
                args![user],
            )
            .await?;
        let mut directory = Directory {
            groups: BTreeMap::new(),
            direct: BTreeSet::new(),
        };
        for row in &rows {
            let id: GroupId = row.parsed("group_id")?;
            if let Some(group) = directory.groups.get_mut(&id) {
                match row.int("step")? {
                    2 => drop(group.parents.insert(row.parsed("item")?)),
                    3 => drop(group.features.insert(row.text("item")?)),
                    4 => drop(directory.direct.insert(id)),
                    5 => group.primary = Some(row.parsed("item")?),
                    _ => {
                        let item = row.text("item")?;
                        let (value, name) = item
                            .split_once('=')
                            .ok_or_else(|| StoreError::corrupt("a preference without a value"))?;
                        group.preferences.insert(name.to_owned(), value.to_owned());
                    }
                }
            } else {
                let (parents, features) = (BTreeSet::new(), BTreeSet::new());
                let group = DirectoryGroup {
                    id,
                    name: row.parsed("item")?,
                    parents,
                    features,
                    primary: None,
                    preferences: BTreeMap::new(),
                };
                directory.groups.insert(id, group);
            }
        }
        Ok(directory)
    }
}

impl Tx {
    /// Adds a group.
    pub async fn group_insert(&mut self, group: &Group) -> Result<(), StoreError> {
        self.change_rights().await?;
        self.insert(
            "INSERT INTO groups (id, name, name_key, builtin) VALUES ($1, $2, $3, $4)",
            args![group.id, group.name.as_str(), group.name.key(), group.builtin],
            &format!("a group named \"{}\"", group.name),
            "a group of this identity",
        )
        .await
    }

    /// Gives a group that is not built in another name; its permissions in the library go along. False where it has the
    /// name no more.
    pub async fn group_rename(&mut self, group: &Group, to: &Name) -> Result<bool, StoreError> {
        self.change_rights().await?;
        let sql =
            "UPDATE groups SET name = $1, name_key = $2 WHERE id = $3 AND name_key = $4 AND NOT builtin";
        let values = args![to.as_str(), to.key(), group.id, group.name.key()];
        if self.execute(sql, values).await? == 0 {
            return Ok(false);
        }
        self.execute(
            "UPDATE library_permissions SET principal = $1 WHERE grantee = 'group' AND principal = $2",
            args![to.as_str(), group.name.as_str()],
        )
        .await?;
        Ok(true)
    }

    /// Has a built-in group of this name: makes it, or takes up the one that people made, with its members. Gives which it
    /// is now; `None` where it was built in already.
    pub async fn group_build_in(&mut self, builtin: &Group) -> Result<Option<GroupId>, StoreError> {
        self.change_rights().await?;
        let row = self
            .first(
                locking!("SELECT id, name, builtin FROM groups WHERE name_key = $1"),
                args![builtin.name.key()],
            )
            .await?;
        let Some(found) = row.map(|row| group(&row)).transpose()? else {
            self.group_insert(builtin).await?;
            return Ok(Some(builtin.id));
        };
        if found.builtin {
            return Ok(None);
        }
        // Its power is looked for under the one spelling, and so are its permissions.
        self.execute(
            "UPDATE groups SET name = $1, builtin = $2 WHERE id = $3",
            args![builtin.name.as_str(), true, found.id],
        )
        .await?;
        self.execute(
            "UPDATE library_permissions SET principal = $1 WHERE grantee = 'group' AND principal = $2",
            args![builtin.name.as_str(), found.name.as_str()],
        )
        .await?;
        Ok(Some(found.id))
    }

    /// Deletes a group with its memberships, features and permissions in the library; built-in ones stay.
    pub async fn group_delete(&mut self, id: GroupId) -> Result<(), StoreError> {
        self.change_rights().await?;
        let row = self
            .first(
                locking!("SELECT id, name, builtin FROM groups WHERE id = $1"),
                args![id],
            )
            .await?
            .ok_or_else(|| StoreError::not_found("the group"))?;
        let group = group(&row)?;
        if group.builtin {
            let what = format!("the group \"{}\" is built in and cannot be deleted", group.name);
            return Err(StoreError::conflict(what));
        }
        self.library_forget(&Grantee::Group(group.name)).await?;
        self.execute("DELETE FROM groups WHERE id = $1", args![id])
            .await
            .map(drop)
    }

    /// Puts a user into a group; false when it is in it already.
    pub async fn group_add_member(&mut self, group: GroupId, user: UserId) -> Result<bool, StoreError> {
        self.change_rights().await?;
        let sql = "INSERT INTO group_members (group_id, user_id) VALUES ($1, $2) ON CONFLICT (group_id, user_id) DO NOTHING";
        Ok(self.execute(sql, args![group, user]).await? > 0)
    }

    /// Takes a user out of a group; false when it is not in it.
    pub async fn group_remove_member(&mut self, group: GroupId, user: UserId) -> Result<bool, StoreError> {
        self.change_rights().await?;
        let sql = "DELETE FROM group_members WHERE group_id = $1 AND user_id = $2";
        Ok(self.execute(sql, args![group, user]).await? > 0)
    }

    /// Whether somebody who can log in is in the group or in one that inherits from it, as things are with this change.
    /// Nobody else changes that meanwhile if the change is one of users or groups.
    pub async fn group_has_active_member(&mut self, group: &str) -> Result<bool, StoreError> {
        let sql = "WITH RECURSIVE below (id) AS (SELECT id FROM groups WHERE name = $1 UNION \
                   SELECT p.group_id FROM group_parents p JOIN below b ON p.parent_id = b.id) \
                   SELECT 1 FROM below b JOIN group_members m ON m.group_id = b.id \
                   JOIN users u ON u.id = m.user_id WHERE u.state = 'active' LIMIT 1";
        Ok(self.first(sql, args![group]).await?.is_some())
    }

    /// Lets a group inherit from `parent`; false when it does already. Refused when `parent` inherits from the group.
    pub async fn group_add_parent(&mut self, group: GroupId, parent: GroupId) -> Result<bool, StoreError> {
        self.change_rights().await?;
        // All groups are locked: two such changes at once could close a circle that neither sees.
        let names: BTreeMap<GroupId, Name> = self
            .all(locking!("SELECT id, name FROM groups ORDER BY id"), args![])
            .await?
            .iter()
            .map(|row| Ok((row.parsed("id")?, row.parsed("name")?)))
            .collect::<Result<_, StoreError>>()?;
        let (Some(name), Some(parent_name)) = (names.get(&group), names.get(&parent)) else {
            return Err(StoreError::not_found("the group"));
        };
        let ancestor = self
            .first(
                "WITH RECURSIVE above (id) AS (SELECT id FROM groups WHERE id = $2 UNION \
                 SELECT p.parent_id FROM group_parents p JOIN above a ON p.group_id = a.id) \
                 SELECT id FROM above WHERE id = $1",
                args![group, parent],
            )
            .await?;
        if ancestor.is_some() {
            return Err(StoreError::conflict(format!(
                "the group \"{name}\" cannot inherit from \"{parent_name}\", which inherits from it"
            )));
        }
        let sql = "INSERT INTO group_parents (group_id, parent_id) VALUES ($1, $2) \
                   ON CONFLICT (group_id, parent_id) DO NOTHING";
        Ok(self.execute(sql, args![group, parent]).await? > 0)
    }

    /// Ends an inheritance; false when there is none.
    pub async fn group_remove_parent(&mut self, group: GroupId, parent: GroupId) -> Result<bool, StoreError> {
        self.change_rights().await?;
        let sql = "DELETE FROM group_parents WHERE group_id = $1 AND parent_id = $2";
        Ok(self.execute(sql, args![group, parent]).await? > 0)
    }

    /// Gives a license feature to a group; false when it has it.
    pub async fn group_add_feature(&mut self, group: GroupId, feature: &str) -> Result<bool, StoreError> {
        self.change_rights().await?;
        let sql = "INSERT INTO group_features (group_id, feature) VALUES ($1, $2) ON CONFLICT (group_id, feature) DO NOTHING";
        Ok(self.execute(sql, args![group, feature]).await? > 0)
    }

    /// Takes a license feature from a group; false when it does not have it.
    pub async fn group_remove_feature(&mut self, group: GroupId, feature: &str) -> Result<bool, StoreError> {
        self.change_rights().await?;
        let sql = "DELETE FROM group_features WHERE group_id = $1 AND feature = $2";
        Ok(self.execute(sql, args![group, feature]).await? > 0)
    }
}

impl Tx {
    /// Sets a preference of a group, or clears it; false when that is so already.
    pub async fn group_set_preference(
        &mut self,
        group: GroupId,
        name: &str,
        value: Option<&str>,
    ) -> Result<bool, StoreError> {
        self.change_rights().await?;
        let changed = if let Some(value) = value {
            let sql = "INSERT INTO group_preferences (group_id, name, value) VALUES ($1, $2, $3) \
                       ON CONFLICT (group_id, name) DO UPDATE SET value = excluded.value \
                       WHERE group_preferences.value <> excluded.value";
            self.execute(sql, args![group, name, value]).await?
        } else {
            let sql = "DELETE FROM group_preferences WHERE group_id = $1 AND name = $2";
            self.execute(sql, args![group, name]).await?
        };
        Ok(changed > 0)
    }

    /// Lets one parent of a group go before the others; false where it is none of its parents.
    pub async fn group_set_primary(&mut self, group: GroupId, parent: GroupId) -> Result<bool, StoreError> {
        self.change_rights().await?;
        let sql = "INSERT INTO group_primaries (group_id, parent_id) \
                   SELECT group_id, parent_id FROM group_parents WHERE group_id = $1 AND parent_id = $2 \
                   ON CONFLICT (group_id) DO UPDATE SET parent_id = excluded.parent_id";
        Ok(self.execute(sql, args![group, parent]).await? > 0)
    }

    /// Lets no parent of a group go before the others; false where this one did not.
    pub async fn group_clear_primary(&mut self, group: GroupId, parent: GroupId) -> Result<bool, StoreError> {
        self.change_rights().await?;
        let sql = "DELETE FROM group_primaries WHERE group_id = $1 AND parent_id = $2";
        Ok(self.execute(sql, args![group, parent]).await? > 0)
    }
}

fn group(row: &Row) -> Result<Group, StoreError> {
    Ok(Group {
        id: row.parsed("id")?,
        name: row.parsed("name")?,
        builtin: row.flag("builtin")?,
    })
}
