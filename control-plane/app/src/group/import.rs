//! Groups that come together, with who is in them: from another system, or from a file.
//!
//! Invariant: all of it is made, each thing with its record, in one transaction, or nothing.

use std::collections::BTreeMap;

use muster_ids::{GroupId, Name};
use muster_model::{
    audit::Event,
    permission::{Caller, EVERYONE, Operation},
};
use muster_store::{Draft, Group, Records, User};
use muster_wire::admin::v1::group::{GroupInGroup, GroupsImported, ImportGroups, UserInGroup};
use serde_json::json;

use super::no_such_group;
use crate::{App, Error};

/// The most groups of one import.
const MOST_GROUPS: usize = 2_000;
/// The most groups in groups: for each all groups are looked at, for a circle.
const MOST_PARENTS: usize = 500;
/// The most users in groups of one import: meanwhile nobody else changes rights.
const MOST_MEMBERS: usize = 20_000;

impl App {
    /// Makes the groups that are not there, and the memberships that are not there.
    pub async fn import_groups(
        &self,
        caller: &Caller,
        wanted: &ImportGroups,
    ) -> Result<GroupsImported, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageUsers, "import groups", "")
            .await?;
        let (groups, parents, members) = (&wanted.groups, &wanted.parents, &wanted.members);
        if groups.len() > MOST_GROUPS || parents.len() > MOST_PARENTS || members.len() > MOST_MEMBERS {
            return Err(Error::invalid(format!(
                "at most {MOST_GROUPS} groups, {MOST_PARENTS} groups in groups and {MOST_MEMBERS} users in groups are made at \
                 once, and these are {}, {} and {}; make them in parts",
                groups.len(),
                parents.len(),
                members.len()
            )));
        }
        let now = self.now();
        let mut tx = self.begin_asked(&authorized).await?;
        let there = self.store().group_list().await?;
        let mut known: BTreeMap<String, (GroupId, Name)> = there
            .into_iter()
            .map(|group| (group.name.key(), (group.id, group.name)))
            .collect();
        let (mut records, mut done) = (Vec::new(), GroupsImported::default());
        for name in groups {
            if known.contains_key(&name.key()) {
                continue;
            }
            let group = Group {
                id: self.random().id(now, GroupId::new),
                name: name.clone(),
                builtin: false,
            };
            tx.group_insert(&group).await?;
            known.insert(name.key(), (group.id, name.clone()));
            records.push(Draft::new(Event::GroupCreated, name.to_string(), json!({})));
            done.made.push(group.name);
        }
        let find = |name: &Name| known.get(&name.key()).ok_or_else(|| no_such_group(name));
        for GroupInGroup { group, parent } in parents {
            let ((group, name), (parent, above)) = (find(group)?, find(parent)?);
            if tx.group_add_parent(*group, *parent).await? {
                done.memberships += 1;
                let detail = json!({ "parent_added": above.as_str() });
                records.push(Draft::new(Event::GroupChanged, name.to_string(), detail));
            } else {
                done.had += 1;
            }
        }
        // All of them by one question: they may be thousands.
        let users: BTreeMap<String, User> = if members.is_empty() {
            BTreeMap::new()
        } else {
            let users = self.store().user_list(None, u32::MAX >> 1).await?.into_iter();
            users.map(|user| (user.name.key(), user)).collect()
        };
        for UserInGroup { group, user } in members {
            let (group, name) = find(group)?;
            let user = users
                .get(&user.key())
                .ok_or_else(|| Error::not_found("user", user, "muster user list shows all of them"))?;
            // Everybody is in it, and nobody by a row.
            if name.as_str() != EVERYONE && tx.group_add_member(*group, user.id).await? {
                done.memberships += 1;
                let detail = json!({ "member_added": user.name.as_str() });
                records.push(Draft::new(Event::MemberAdded, name.to_string(), detail));
            } else {
                done.had += 1;
            }
        }
        let mut records = records.into_iter();
        if let Some(first) = records.next() {
            tx.commit(Records::new(first, records.collect()), now).await?;
        }
        Ok(done)
    }
}
