//! Licenses of groups: one feature, or all that a documented license is a name for.
//!
//! Invariant: a license is set as a whole, in one transaction with its records, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use muster_code_trust::Feature;
use muster_ids::{Name, UserName};
use muster_model::{
    audit::Event,
    permission::{Caller, Operation},
};
use muster_store::{Draft, Records};
use muster_wire::admin::v1::group::{HeldLicense, HeldQuery, LicenseSet, SetLicense};
use serde_json::json;

use crate::{App, Error, page, session::graph_of};

/// The most features of one license.
const MOST: usize = 100;
/// The longest name of a feature, bytes: those of older versions are as long as they were.
const LONGEST: usize = 200;

impl App {
    /// The license features that a user has by all their groups; everybody may look at their own.
    pub async fn user_licenses(&self, caller: &Caller, name: &UserName) -> Result<Vec<HeldLicense>, Error> {
        self.authorize_of(caller, "read licenses of the user", name)
            .await?;
        let user = self.user_named(name).await?;
        Ok(held(self.facts_of(user.id, &user.name).await?.features))
    }

    /// The license features that a group gives by itself, or those that its members have by it.
    pub async fn group_licenses(
        &self,
        caller: &Caller,
        name: &Name,
        query: &HeldQuery,
    ) -> Result<Vec<HeldLicense>, Error> {
        self.authorize_to(
            caller,
            Operation::ReadAdministration,
            "read licenses of the group",
            name,
        )
        .await?;
        let group = self.group_named(name).await?;
        let directory = self.structure().await?;
        if query.include_inherited {
            return Ok(held(graph_of(&directory).features([&group.name])));
        }
        let own = directory.groups.get(&group.id).map(|group| &group.features);
        let own = own.into_iter().flatten();
        Ok(own
            .map(|feature| HeldLicense {
                feature: feature.clone(),
                from: group.name.clone(),
            })
            .collect())
    }

    /// Has a group give these features of a license by itself, and no others of it. Done twice it is the same as once.
    pub async fn set_license(
        &self,
        caller: &Caller,
        group: &Name,
        wanted: &SetLicense,
    ) -> Result<LicenseSet, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageUsers, "set licenses of the group", group)
            .await?;
        let license = page::clean_line(&wanted.license)?;
        let of: BTreeSet<&str> = wanted.of.iter().map(String::as_str).collect();
        let features: BTreeSet<&str> = wanted.features.iter().map(String::as_str).collect();
        if license.is_empty() || of.is_empty() || of.len() > MOST || of.iter().any(|of| of.len() > LONGEST) {
            return Err(Error::invalid(format!(
                "a license has a name and 1 to {MOST} features; muster license list shows all of them"
            )));
        }
        if let Some(other) = features.difference(&of).next() {
            return Err(Error::invalid(format!(
                "\"{}\" is none of the features that are named as those of the license",
                other.escape_default()
            )));
        }
        if let Some(unknown) = features
            .iter()
            .find(|feature| feature.parse::<Feature>().is_err())
        {
            return Err(unknown_feature(unknown));
        }
        let group = self.group_named(group).await?;
        let mut tx = self.begin_asked(&authorized).await?;
        let mut done = LicenseSet::default();
        for feature in &of {
            if features.contains(feature) {
                if tx.group_add_feature(group.id, feature).await? {
                    done.given.push((*feature).to_owned());
                }
            } else if tx.group_remove_feature(group.id, feature).await? {
                done.taken.push((*feature).to_owned());
            }
        }
        let left_out: Vec<&&str> = of.difference(&features).collect();
        let mut records = Vec::new();
        let mut record = |event, detail| records.push(Draft::new(event, group.name.to_string(), detail));
        if !done.given.is_empty() {
            record(
                Event::LicenseSet,
                json!({ "license": license, "features": done.given }),
            );
        }
        if features.is_empty() {
            if !done.taken.is_empty() {
                record(
                    Event::LicenseRemoved,
                    json!({ "license": license, "features": done.taken }),
                );
            }
        } else if !left_out.is_empty() && done != LicenseSet::default() {
            record(
                Event::LicenseExcluded,
                json!({ "license": license, "features": left_out, "taken": done.taken }),
            );
        }
        let mut records = records.into_iter();
        if let Some(first) = records.next() {
            tx.commit(Records::new(first, records.collect()), self.now())
                .await?;
        }
        Ok(done)
    }

    /// Gives a group a license feature, or takes it. Giving it twice is the same as once.
    pub async fn set_feature(
        &self,
        caller: &Caller,
        group: &Name,
        feature: &str,
        on: bool,
    ) -> Result<(), Error> {
        let authorized = self
            .authorize_to(
                caller,
                Operation::ManageUsers,
                "set license features of the group",
                group,
            )
            .await?;
        // One that an older version gave can still be taken.
        if on && feature.parse::<Feature>().is_err() {
            return Err(unknown_feature(feature));
        }
        let group = self.group_named(group).await?;
        let mut tx = self.begin_asked(&authorized).await?;
        if on {
            if !tx.group_add_feature(group.id, feature).await? {
                return Ok(());
            }
        } else if !tx.group_remove_feature(group.id, feature).await? {
            return Err(Error::not_found(
                "license feature of this group",
                feature,
                "muster group show lists them",
            ));
        }
        let event = if on {
            Event::LicenseSet
        } else {
            Event::LicenseRemoved
        };
        self.changed(tx, event, &group, json!({ "feature": feature }))
            .await
    }
}

fn held(features: BTreeMap<Feature, Name>) -> Vec<HeldLicense> {
    let held = features.into_iter().map(|(feature, from)| HeldLicense {
        feature: feature.to_string(),
        from,
    });
    held.collect()
}

fn unknown_feature(feature: &str) -> Error {
    Error::not_found(
        "license feature",
        feature.escape_default(),
        "muster license list shows all of them",
    )
}
