//! What people decide about the trust state, one entry at a time: how they are read, listed, made and withdrawn.
//!
//! Invariant: of two people who decide at once, the later is told what is so already; nothing is overwritten. So any
//! two decisions lead to the same state in either order, or one of them was refused by name.

use std::collections::BTreeMap;

use muster_code_trust::{Certificate, Entry, Moment};
use muster_ids::{Digest, UserName};
use muster_model::permission::Caller;
use muster_store::{TrustReason, Tx};
use muster_wire::admin::v1::{Page, PageQuery, trust::Decided};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{App, Error, page, text::rfc3339};

/// The most entries of one kind about a user while he may make another himself. Every node holds all of them.
const MOST_OWN: usize = 1000;
/// The longest serial number that is decided about, hexadecimal digits: RFC 5280 has at most 20 bytes.
const MOST_DIGITS: usize = 64;
/// The longest name of an issuer that is decided about, bytes.
const MOST_ISSUER: usize = 512;

/// The user who decides.
pub(crate) fn author(caller: &Caller) -> Result<&UserName, Error> {
    match caller {
        Caller::User(user) => Ok(&user.name),
        _ => Err(Error::invalid("decisions about trust are made by users")),
    }
}

/// An entry as it stands in the documented form; `what` names it.
pub(super) fn read<T: DeserializeOwned>(what: &str, form: Value) -> Result<T, Error> {
    serde_json::from_value(form).map_err(|error| Error::invalid(format!("{what} cannot be used: {error}")))
}

/// A moment that a person gave in the field `field`.
pub(crate) fn moment(field: &str, text: &str) -> Result<Moment, Error> {
    text.parse()
        .map_err(|error| Error::invalid(format!("the field {field} cannot be used: {error}")))
}

/// A reason that a person gave, if it says anything.
pub(crate) fn reason(text: Option<&str>) -> Result<Option<String>, Error> {
    let line = text.map(page::clean_line).transpose()?;
    Ok(line.filter(|line| !line.is_empty()))
}

/// What stands beside an entry, as people see it.
pub(super) fn decided(reason: Option<&TrustReason>) -> Decided {
    reason.map_or_else(Decided::default, |reason| Decided {
        by: reason.by.parse().ok(),
        at: Some(rfc3339(reason.at)),
        reason: reason.reason.clone(),
    })
}

/// The entries in the hands of this change, which nobody else changes until it ends.
pub(crate) async fn locked(tx: &mut Tx) -> Result<BTreeMap<String, String>, Error> {
    tx.trust_head().await?;
    Ok(tx.trust_entries().await?)
}

/// The entry that the REST API calls `id`, among those whose keys begin with `prefix`.
pub(super) fn find(entries: &BTreeMap<String, String>, prefix: &str, id: &str) -> Option<(String, Entry)> {
    let id: Digest = id.parse().ok()?;
    let (key, value) = entries
        .range(prefix.to_owned()..)
        .take_while(|(key, _)| key.starts_with(prefix))
        .find(|(key, _)| Digest::of(key.as_bytes()) == id)?;
    Some((key.clone(), Entry::parse(key, value).ok()?))
}

/// That such an entry exists already.
pub(crate) fn duplicate(what: impl Into<String>) -> Error {
    Error::conflict("duplicate", what)
}

/// Refuses users another entry of their own under `prefix` while there are as many as they may make; `cure` says what
/// they can do. Administrators make as many as they need.
pub(super) fn refuse_many(entries: &BTreeMap<String, String>, prefix: &str, cure: &str) -> Result<(), Error> {
    let there = entries
        .range(prefix.to_owned()..)
        .take_while(|(key, _)| key.starts_with(prefix))
        .count();
    if there < MOST_OWN {
        return Ok(());
    }
    Err(Error::conflict(
        "too-many-entries",
        format!(
            "there are {there} entries of this kind about you, and users make at most {MOST_OWN} themselves; {cure}"
        ),
    ))
}

/// Refuses what no authority calls a certificate: whoever may name one could fill the state of every node otherwise.
pub(crate) fn refuse_long(Certificate { issuer, serial }: &Certificate) -> Result<(), Error> {
    if serial.as_str().len() > MOST_DIGITS {
        return Err(Error::invalid(format!(
            "the serial number of a certificate has at most {MOST_DIGITS} hexadecimal digits, and this one has {}",
            serial.as_str().len()
        )));
    }
    if issuer.as_str().len() > MOST_ISSUER {
        return Err(Error::invalid(format!(
            "the issuer of a certificate has at most {MOST_ISSUER} bytes, and this one has {}",
            issuer.as_str().len()
        )));
    }
    Ok(())
}

impl App {
    /// A page of the entries whose keys begin with `prefix`, in the order of their keys, each made what people see by
    /// `shown`, which leaves out what is none of their business.
    pub(super) async fn trust_page<T>(
        &self,
        prefix: &str,
        query: &PageQuery,
        shown: impl Fn(Entry, Decided) -> Option<T>,
    ) -> Result<Page<T>, Error> {
        let limit = page::limit(query)?;
        let after = page::after::<String>(query)?.unwrap_or_default();
        let reasons = self.store().trust_reasons(prefix).await?;
        let rows: Vec<(String, T)> = self
            .store()
            .trust_entries()
            .await?
            .into_iter()
            .filter(|(key, _)| key.starts_with(prefix) && *key > after)
            .filter_map(|(key, value)| {
                let entry = Entry::parse(&key, &value).ok()?;
                let row = shown(entry, decided(reasons.get(&key)))?;
                Some((key, row))
            })
            .take(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1))
            .collect();
        Ok(page::of(rows, limit, |(key, _)| key.clone(), |(_, row)| row))
    }
}

#[cfg(test)]
mod tests;
