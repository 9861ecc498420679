//! Groups, and who is in them.

use std::collections::{BTreeMap, BTreeSet};

use muster_code_trust::Feature;
use muster_ids::{GroupId, Name, UserId, UserName};
use muster_model::{
    audit::Event,
    permission::{
        ADMINISTRATOR, Authorized, BUILTIN_GROUPS, Caller, EVERYONE, LIBRARY_ADMINISTRATOR, Operation,
    },
};
use muster_store::{Draft, Group, Records, Tx};
use muster_wire::admin::v1::{
    Page, PageQuery,
    group::{Group as WireGroup, License},
};
use serde_json::json;

use crate::{App, Error, page, trust};

mod import;
mod license;

impl App {
    /// Groups, by name.
    pub async fn list_groups(&self, caller: &Caller, query: &PageQuery) -> Result<Page<WireGroup>, Error> {
        let groups = self.all_groups(caller).await?;
        page::of_whole(query, groups.into_iter().map(|group| (group.name.key(), group)))
    }

    /// Every group, by name.
    pub(crate) async fn all_groups(&self, caller: &Caller) -> Result<Vec<WireGroup>, Error> {
        self.authorize_to(
            caller,
            Operation::ReadAdministration,
            "read groups and their licenses",
            "",
        )
        .await?;
        let directory = self.structure().await?;
        let users: BTreeMap<UserId, UserName> = self
            .store()
            .user_list(None, u32::MAX >> 1)
            .await?
            .into_iter()
            .map(|user| (user.id, user.name))
            .collect();
        let mut groups = Vec::new();
        for group in self.store().group_list().await? {
            let members = self.store().group_members(group.id).await?;
            let structure = directory.groups.get(&group.id);
            groups.push(WireGroup {
                parents: structure
                    .map(|group| group.parents.iter().filter_map(|id| directory.groups.get(id)))
                    .into_iter()
                    .flatten()
                    .map(|parent| parent.name.clone())
                    .collect(),
                primary: structure
                    .and_then(|group| directory.groups.get(&group.primary?))
                    .map(|primary| primary.name.clone()),
                preferences: structure
                    .map(|group| group.preferences.clone())
                    .unwrap_or_default(),
                features: structure
                    .map(|group| group.features.iter().cloned().collect())
                    .unwrap_or_default(),
                members: members.iter().filter_map(|id| users.get(id).cloned()).collect(),
                name: group.name,
                builtin: group.builtin,
            });
        }
        Ok(groups)
    }

    /// One group.
    pub async fn show_group(&self, caller: &Caller, name: &Name) -> Result<WireGroup, Error> {
        let groups = self.all_groups(caller).await?;
        groups
            .into_iter()
            .find(|group| group.name.key() == name.key())
            .ok_or_else(|| no_such_group(name))
    }

    /// Makes a group.
    pub async fn create_group(&self, caller: &Caller, name: Name) -> Result<WireGroup, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageUsers, "make the group", &name)
            .await?;
        let now = self.now();
        let group = Group {
            id: self.random().id(now, GroupId::new),
            name,
            builtin: false,
        };
        let mut tx = self.begin_asked(&authorized).await?;
        tx.group_insert(&group).await?;
        tx.commit(
            Draft::new(Event::GroupCreated, group.name.to_string(), json!({})),
            now,
        )
        .await?;
        Ok(WireGroup {
            name: group.name,
            builtin: false,
            parents: vec![],
            primary: None,
            preferences: BTreeMap::new(),
            features: vec![],
            members: vec![],
        })
    }

    /// Deletes a group that is not built in.
    pub async fn delete_group(&self, caller: &Caller, name: &Name) -> Result<(), Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageUsers, "delete the group", name)
            .await?;
        let group = self.group_named(name).await?;
        if group.builtin {
            return Err(Error::conflict(
                "builtin",
                format!("the group \"{name}\" is built in and cannot be deleted"),
            ));
        }
        let now = self.now();
        let mut tx = self.begin_asked(&authorized).await?;
        tx.group_delete(group.id).await?;
        an_administrator_is_left(&mut tx).await?;
        // Another group of this name would have its trust.
        let trust = trust::of_group(&trust::locked(&mut tx).await?, &group.name);
        tx.trust_change(&trust, now).await?;
        let detail = json!({ "trust_entries": trust.len() });
        tx.commit(
            Draft::new(Event::GroupDeleted, group.name.to_string(), detail),
            now,
        )
        .await?;
        Ok(())
    }

    /// Puts a user into a group. Twice is the same as once.
    pub async fn add_member(&self, caller: &Caller, group: &Name, user: &UserName) -> Result<(), Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageUsers, "add members to the group", group)
            .await?;
        let group = self.group_named(group).await?;
        let user = self.user_named(user).await?;
        self.add_member_as(&authorized, &group, user.id, &user.name).await
    }

    pub(crate) async fn add_member_as(
        &self,
        authorized: &Authorized,
        group: &Group,
        user: UserId,
        name: &UserName,
    ) -> Result<(), Error> {
        if group.name.as_str() == EVERYONE {
            return Err(Error::conflict(
                "builtin",
                "everybody is in the group Everyone already",
            ));
        }
        let mut tx = self.begin_asked(authorized).await?;
        if !tx.group_add_member(group.id, user).await? {
            return Ok(());
        }
        let added = json!({ "member_added": name.as_str() });
        self.changed(tx, Event::MemberAdded, group, added).await
    }

    /// Takes a user out of a group.
    pub async fn remove_member(&self, caller: &Caller, group: &Name, user: &UserName) -> Result<(), Error> {
        let authorized = self
            .authorize_to(
                caller,
                Operation::ManageUsers,
                "remove members from the group",
                group,
            )
            .await?;
        let group = self.group_named(group).await?;
        let user = self.user_named(user).await?;
        let mut tx = self.begin_asked(&authorized).await?;
        if !tx.group_remove_member(group.id, user.id).await? {
            return Err(Error::not_found(
                "member",
                &user.name,
                "muster group show lists the members",
            ));
        }
        an_administrator_is_left(&mut tx).await?;
        let removed = json!({ "member_removed": user.name.as_str() });
        self.changed(tx, Event::MemberRemoved, &group, removed).await
    }

    /// Puts a group into another, from which it inherits. Twice is the same as once.
    pub async fn add_parent(&self, caller: &Caller, group: &Name, parent: &Name) -> Result<(), Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageUsers, "set parents of the group", group)
            .await?;
        let (group, parent) = (self.group_named(group).await?, self.group_named(parent).await?);
        let mut tx = self.begin_asked(&authorized).await?;
        if !tx.group_add_parent(group.id, parent.id).await? {
            return Ok(());
        }
        let added = json!({ "parent_added": parent.name.as_str() });
        self.changed(tx, Event::GroupChanged, &group, added).await
    }

    /// Takes a group out of another.
    pub async fn remove_parent(&self, caller: &Caller, group: &Name, parent: &Name) -> Result<(), Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageUsers, "set parents of the group", group)
            .await?;
        let (group, parent) = (self.group_named(group).await?, self.group_named(parent).await?);
        let mut tx = self.begin_asked(&authorized).await?;
        if !tx.group_remove_parent(group.id, parent.id).await? {
            return Err(Error::not_found(
                "parent",
                &parent.name,
                "muster group show lists the parents",
            ));
        }
        an_administrator_is_left(&mut tx).await?;
        let removed = json!({ "parent_removed": parent.name.as_str() });
        self.changed(tx, Event::GroupChanged, &group, removed).await
    }

    /// The license features that exist, and the groups that give them.
    pub async fn list_licenses(&self, caller: &Caller, query: &PageQuery) -> Result<Page<License>, Error> {
        let groups = self.all_groups(caller).await?;
        let licenses = Feature::ALL.iter().map(|feature| License {
            feature: feature.to_string(),
            groups: groups
                .iter()
                .filter(|group| group.features.iter().any(|given| given == feature.as_str()))
                .map(|group| group.name.clone())
                .collect(),
        });
        page::of_whole(query, (0_u64..).zip(licenses))
    }

    /// Has every built-in group, also in a database of before there were so many; of those that people made the members
    /// stay. One of people's own by the name of the library administrators gets another name, with all that it has: who is in
    /// it was not meant to have the library. Administrators are members of the one that is made here; that can be ended.
    pub async fn complete_groups(&self) -> Result<(), Error> {
        let there = self.store().group_list().await?;
        let missing = BUILTIN_GROUPS.iter().filter(|name| {
            !there
                .iter()
                .any(|group| group.builtin && group.name.as_str() == **name)
        });
        let missing: Vec<Name> = missing
            .map(|name| name.parse().map_err(Error::bug))
            .collect::<Result<_, _>>()?;
        if missing.is_empty() {
            return Ok(());
        }
        let authorized = self.authorize(&Caller::System, Operation::Maintain).await?;
        let administrator = self
            .group_named(&ADMINISTRATOR.parse().map_err(Error::bug)?)
            .await?;
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        let mut records = Vec::new();
        if let Some(own) = there
            .iter()
            .find(|group| !group.builtin && group.name.as_str().eq_ignore_ascii_case(LIBRARY_ADMINISTRATOR))
        {
            records.extend(self.put_aside(&mut tx, own, &there, now).await?);
        }
        for name in missing {
            let group = Group {
                id: self.random().id(now, GroupId::new),
                name,
                builtin: true,
            };
            // Another control plane that starts may have been faster.
            let Some(id) = tx.group_build_in(&group).await? else {
                continue;
            };
            let made = id == group.id;
            if made && group.name.as_str() == LIBRARY_ADMINISTRATOR {
                tx.group_add_parent(administrator.id, id).await?;
            }
            let event = if made {
                Event::GroupCreated
            } else {
                Event::GroupChanged
            };
            let detail = json!({ "builtin": true });
            records.push(Draft::new(event, group.name.to_string(), detail));
        }
        let mut records = records.into_iter();
        if let Some(first) = records.next() {
            tx.commit(Records::new(first, records.collect()), now).await?;
        }
        Ok(())
    }

    /// Gives a group of people's own another name, under which it keeps its members, permissions and trust. Gives the record.
    async fn put_aside(
        &self,
        tx: &mut Tx,
        own: &Group,
        there: &[Group],
        now: i64,
    ) -> Result<Option<Draft>, Error> {
        let taken: BTreeSet<String> = there.iter().map(|group| group.name.key()).collect();
        let mut names = (1_u32..).map(|number| format!("{} (own {number})", own.name));
        let free = names.find(|name| !taken.contains(&name.to_lowercase()));
        let name: Name = free
            .ok_or_else(|| Error::bug("no name is left"))?
            .parse()
            .map_err(Error::bug)?;
        // Another control plane that starts may have been faster.
        if !tx.group_rename(own, &name).await? {
            return Ok(None);
        }
        let trust = trust::of_renamed(&trust::locked(tx).await?, &own.name, &name);
        let reasons = self.store().trust_reasons("trust/group/").await?;
        let changes: Vec<_> = trust
            .iter()
            .flat_map(|(gone, new)| [(gone.clone(), None), (new.key(), Some(new.value()))])
            .collect();
        tx.trust_change(&changes, now).await?;
        for (gone, new) in &trust {
            if let Some(reason) = reasons.get(gone) {
                tx.trust_reason_put(&new.key(), reason).await?;
            }
        }
        tracing::warn!(
            group = %own.name, renamed = %name,
            "a group of this name is built in now; the one that people had made has another name, and its members have nothing of the built-in one"
        );
        let detail = json!({ "renamed_from": own.name.as_str(), "trust_entries": trust.len() });
        Ok(Some(Draft::new(Event::GroupChanged, name.to_string(), detail)))
    }

    pub(crate) async fn group_named(&self, name: &Name) -> Result<Group, Error> {
        self.store()
            .group_by_name(name)
            .await?
            .ok_or_else(|| no_such_group(name))
    }

    async fn changed(
        &self,
        tx: Tx,
        event: Event,
        group: &Group,
        detail: serde_json::Value,
    ) -> Result<(), Error> {
        tx.commit(Draft::new(event, group.name.to_string(), detail), self.now())
            .await?;
        Ok(())
    }
}

/// Two who take the rights of each other at the same time leave nobody without this.
pub(crate) async fn an_administrator_is_left(tx: &mut Tx) -> Result<(), Error> {
    if tx.group_has_active_member(ADMINISTRATOR).await? {
        return Ok(());
    }
    Err(Error::conflict(
        "last-administrator",
        "nobody could administer any more; put another user into the group Administrator first",
    ))
}

fn no_such_group(name: &Name) -> Error {
    Error::not_found("group", name, "muster group list shows all of them")
}

#[cfg(test)]
mod tests;
