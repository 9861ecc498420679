//! Preferences of groups, and what of them holds for a user.
//!
//! Invariant: which value holds is decided in one place, `muster_model::preference`; what decisions ask for is part of the
//! facts about a user and is carried by the grants of their runs.

use muster_ids::{Name, UserName};
use muster_model::{
    audit::Event,
    permission::{Caller, Operation},
    preference::{Held, Preference, PreferenceGroup, Preferences},
};
use muster_store::{Directory, Draft};
use muster_wire::admin::v1::preference::Preference as WirePreference;
use serde_json::json;

use crate::{App, Error};

impl App {
    /// The preferences that a group gives to somebody who is in it alone.
    pub async fn group_preferences(
        &self,
        caller: &Caller,
        name: &Name,
    ) -> Result<Vec<WirePreference>, Error> {
        self.authorize_to(
            caller,
            Operation::ReadAdministration,
            "read preferences of the group",
            name,
        )
        .await?;
        let group = self.group_named(name).await?;
        let directory = self.structure().await?;
        let preferences = of(&directory);
        let held = |preference| preferences.of_group(preference, group.id);
        Ok(shown(&directory, held))
    }

    /// The preferences that hold for a user; everybody may look at their own.
    pub async fn user_preferences(
        &self,
        caller: &Caller,
        name: &UserName,
    ) -> Result<Vec<WirePreference>, Error> {
        self.authorize_of(caller, "read preferences of the user", name)
            .await?;
        let user = self.user_named(name).await?;
        let directory = self.store().directory_of(user.id).await?;
        let preferences = of(&directory);
        let held = |preference| preferences.of_user(preference, &directory.direct);
        Ok(shown(&directory, held))
    }

    /// Whether who is in this group alone may trust what has no valid signature.
    pub(crate) async fn group_accepts_invalid_signatures(&self, group: &Name) -> Result<bool, Error> {
        let group = self.group_named(group).await?;
        let directory = self.structure().await?;
        Ok(!of(&directory)
            .of_group(Preference::RequireValidSignature, group.id)
            .value)
    }

    /// All groups, as somebody sees them who is in none.
    pub(crate) async fn structure(&self) -> Result<Directory, Error> {
        let nobody = muster_ids::UserId::new(0, [0; 10]);
        Ok(self.store().directory_of(nobody).await?)
    }

    /// Sets a preference of a group; nothing for `value` clears it.
    pub async fn set_preference(
        &self,
        caller: &Caller,
        group: &Name,
        preference: &str,
        value: Option<&str>,
    ) -> Result<(), Error> {
        let authorized = self
            .authorize_to(
                caller,
                Operation::ManageUsers,
                "set preferences of the group",
                group,
            )
            .await?;
        let preference: Preference = preference.parse().map_err(|()| {
            Error::not_found(
                "preference",
                preference.escape_default(),
                "muster group preference show lists all of them",
            )
        })?;
        let value = value
            .map(|text| text.trim().to_ascii_lowercase().parse::<bool>())
            .transpose()
            .map_err(|_| Error::invalid("this preference is true or false"))?;
        let group = self.group_named(group).await?;
        let text = value.map(|value| value.to_string());
        let mut tx = self.begin_asked(&authorized).await?;
        let changed = tx
            .group_set_preference(group.id, preference.as_str(), text.as_deref())
            .await?;
        if !changed {
            drop(tx);
            // Set twice is the same as once; what is not there cannot be cleared.
            return match value {
                Some(_) => Ok(()),
                None => Err(Error::not_found(
                    "preference of this group",
                    preference,
                    "muster group show lists what it sets itself",
                )),
            };
        }
        let detail = json!({ "preference": preference.as_str(), "value": value });
        tx.commit(
            Draft::new(Event::PreferenceSet, group.name.to_string(), detail),
            self.now(),
        )
        .await?;
        Ok(())
    }

    /// Lets one parent of a group go before its others where preferences differ, or ends that.
    pub async fn set_primary(
        &self,
        caller: &Caller,
        group: &Name,
        parent: &Name,
        on: bool,
    ) -> Result<(), Error> {
        let authorized = self
            .authorize_to(
                caller,
                Operation::ManageUsers,
                "set the primary parent of the group",
                group,
            )
            .await?;
        let (group, parent) = (self.group_named(group).await?, self.group_named(parent).await?);
        let mut tx = self.begin_asked(&authorized).await?;
        let found = if on {
            tx.group_set_primary(group.id, parent.id).await?
        } else {
            tx.group_clear_primary(group.id, parent.id).await?
        };
        if !found {
            let what = if on { "parent" } else { "primary group" };
            return Err(Error::not_found(
                what,
                &parent.name,
                "muster group show lists the parents",
            ));
        }
        let primary = on.then_some(parent.name.as_str());
        let draft = Draft::new(
            Event::GroupChanged,
            group.name.to_string(),
            json!({ "primary": primary }),
        );
        tx.commit(draft, self.now()).await?;
        Ok(())
    }
}

/// The preferences of all groups. Names and values of other versions of the product decide nothing here.
pub(crate) fn of(directory: &Directory) -> Preferences {
    Preferences::new(directory.groups.values().map(|group| {
        let values = group
            .preferences
            .iter()
            .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)));
        let known = PreferenceGroup {
            name: group.name.clone(),
            parents: group.parents.clone(),
            primary: group.primary,
            values: values.collect(),
        };
        (group.id, known)
    }))
}

fn shown(directory: &Directory, held: impl Fn(Preference) -> Held) -> Vec<WirePreference> {
    let shown = |preference: Preference| {
        let held = held(preference);
        let from = held.from.and_then(|id| directory.groups.get(&id));
        WirePreference {
            name: preference.to_string(),
            value: held.value.to_string(),
            from: from.map(|group| group.name.clone()),
            default: preference.default_value().to_string(),
            meaning: preference.meaning().to_owned(),
        }
    };
    Preference::ALL.into_iter().map(shown).collect()
}

#[cfg(test)]
mod tests;
