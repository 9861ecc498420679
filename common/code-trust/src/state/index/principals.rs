//! Who trusts one thing, and whether one of them is a given user or a group of theirs.

use std::collections::HashMap;

use super::insert_at;
use crate::{Moment, Principal, TrustedBy, UserFacts};

/// Principals by their comparison keys, each with the end of its trust. One signer may be trusted by as many users as
/// there are, but only by as many groups as administrators made.
#[derive(Debug, Clone, Default)]
pub(super) struct Principals {
    users: HashMap<Box<str>, Option<Moment>>,
    /// In the order of their keys.
    groups: Vec<(Box<str>, Option<Moment>)>,
}

impl Principals {
    pub(super) fn insert(&mut self, principal: &Principal, expires: Option<Moment>) {
        match principal {
            Principal::User(user) => {
                self.users.insert(user.key().into(), expires);
            }
            Principal::Group(group) => {
                let key = group.key();
                match self.place(&key) {
                    Ok(at) => self.groups[at].1 = expires,
                    Err(at) => insert_at(&mut self.groups, at, (key.into(), expires)),
                }
            }
        }
    }

    pub(super) fn remove(&mut self, principal: &Principal) {
        match principal {
            Principal::User(user) => {
                self.users.remove(user.key().as_str());
            }
            Principal::Group(group) => {
                if let Ok(at) = self.place(&group.key()) {
                    self.groups.remove(at);
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    /// The user, else the first of the user's groups in the order of their keys, whose trust has not ended.
    pub(super) fn that_applies<'a>(&self, user: &'a UserFacts, now: Moment) -> Option<TrustedBy<'a>> {
        let holds = |expires: Option<Moment>| expires.is_none_or(|expires| now < expires);
        let own = || user.user.with_key(|key| self.users.get(key).copied());
        if !self.users.is_empty() && own().is_some_and(holds) {
            return Some(TrustedBy::User(&user.user));
        }
        // Both are in the order of their keys, so either way finds the same group.
        let group = if self.groups.len() < user.groups.len() {
            let mut trusting = self.groups.iter().filter(|(_, expires)| holds(*expires));
            trusting.find_map(|(key, _)| user.groups.get(key))
        } else {
            let trusts = |key: &str| self.place(key).is_ok_and(|at| holds(self.groups[at].1));
            let key = user.groups.keys().find(|key| trusts(key));
            key.and_then(|key| user.groups.get(key))
        };
        group.map(TrustedBy::Group)
    }

    /// Where a group is, or would be.
    fn place(&self, key: &str) -> Result<usize, usize> {
        self.groups.binary_search_by(|(known, _)| (**known).cmp(key))
    }
}
