//! Rights to many items of the library at once.
//!
//! Invariant: what it says of an item that it holds, with all that this is in, is what [`right`](super::right) says of the
//! chain of the item.

use std::collections::HashMap;

use muster_ids::LibraryItemId;

use super::{Grant, Right, right_below};
use crate::permission::UserCaller;

/// More steps than there are from any item to the root: whoever takes as many walks in a circle.
const TOO_MANY: usize = 100;

/// Items with the folders that they are in.
#[derive(Debug, Clone, Default)]
pub struct Tree(HashMap<LibraryItemId, Place>);

#[derive(Debug, Clone)]
struct Place {
    parent: Option<LibraryItemId>,
    inherits: bool,
    grants: Vec<Grant>,
}

impl Tree {
    /// Adds an item with its own permissions, or gives one that is there more of them.
    pub fn put(
        &mut self,
        item: LibraryItemId,
        parent: Option<LibraryItemId>,
        inherits: bool,
        grants: impl IntoIterator<Item = Grant>,
    ) {
        let place = self.0.entry(item).or_insert(Place {
            parent,
            inherits,
            grants: Vec::new(),
        });
        place.grants.extend(grants);
    }

    /// What `user` may do with `item`; nothing with one that is not here.
    pub fn right(&self, user: &UserCaller, item: LibraryItemId) -> Option<Right> {
        let mut steps = Vec::new();
        let mut next = Some(item);
        while let Some(id) = next {
            let place = self.0.get(&id)?;
            if steps.len() == TOO_MANY {
                return None;
            }
            steps.push((place.inherits, place.grants.as_slice()));
            next = place.parent;
        }
        right_below(user, steps.into_iter().rev())
    }
}
