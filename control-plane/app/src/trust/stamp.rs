//! Stamps: that what an item of the library holds is trusted for all who can read the item.
//!
//! Invariant: a stamp is made for a content that is in the item when it is made, by somebody who may write the item, can
//! read the content and is an author of its kind then; it is removed by who made it, by an administrator, or with its content.
//! Each is made or removed together with an audit record of its own.

mod choice;

use std::collections::{BTreeMap, BTreeSet};

use muster_code_trust::{Block, CodeType, Entry, ItemHash, ItemKind, ItemRef, Moment, Stamp};
use muster_ids::{LibraryItemId, StampId, UserName};
use muster_model::{
    audit::Event,
    library::{self, Kind},
    permission::{ADMINISTRATOR, Authorized, Caller, Operation, UserCaller, authorize},
};
use muster_store::{Draft, LibraryItem, Records, Tx};
use muster_wire::admin::v1::{
    Page, PageQuery,
    function::Untrusted,
    stamp::{Stamp as WireStamp, StampChoice, StampQuery, Stamped, Unstamped},
};
use serde_json::json;

use choice::{Chosen, changed};

use super::{author, locked, may_read_stamped, refuse_blocked};
use crate::{
    App, Error,
    epoch::tombstone::{self, Change},
    library::{Code, Held, no_such_item, person},
    text::rfc3339,
};

const PREFIX: &str = "stamp/";
/// The most stamps that one request makes or removes: meanwhile nobody else decides about trust.
const MOST_AT_ONCE: usize = 1_000;
/// How many authors a refusal names.
const TOLD: usize = 3;

impl App {
    /// Trusts what an item holds now: what is chosen, or all of it.
    pub async fn library_trust(
        &self,
        caller: &Caller,
        reference: &str,
        wanted: &StampChoice,
    ) -> Result<Stamped, Error> {
        let chosen = Chosen::of(wanted)?;
        let user = person(caller)?;
        self.require_some_author(caller, user, (&chosen, reference))
            .await?;
        let found = self.library_item_for(user, reference).await?;
        let codes = self.code_in(user, &found).await?;
        let codes = chosen.among(codes, &found)?;
        self.stamp(caller, &found, codes).await
    }

    /// Trusts these contents of an item, which has them in its current version.
    pub(crate) async fn stamp(
        &self,
        caller: &Caller,
        found: &LibraryItem,
        codes: Vec<Code>,
    ) -> Result<Stamped, Error> {
        let mut authorized = None;
        let kinds: BTreeSet<CodeType> = codes.iter().map(|code| code.kind.code_type()).collect();
        for kind in &kinds {
            authorized = Some(self.authorize(caller, operation(*kind)).await?);
        }
        let authorized = authorized.ok_or_else(|| nothing_to_trust(found))?;
        let name = author(caller)?;
        let tx = self.store().begin(&authorized).await?;
        let Held {
            mut tx,
            item,
            chain,
            user,
        } = self.library_write(tx, &authorized, found.id).await?;
        if item.current != found.current {
            return Err(changed(&format!(
                "{} was changed meanwhile, so nothing of it was trusted",
                library::path(&chain)
            )));
        }
        if let Some(denied) = lacking(&user, &kinds) {
            drop(tx);
            self.record_denial(caller, ("trust code in the library", library::path(&chain)))
                .await;
            return Err(denied);
        }
        for code in codes.iter().filter(|code| code.held_by != item.id) {
            if self.right_to(&user, code.held_by).await?.is_none() {
                return Err(no_such_item(&code.held_by.to_string()));
            }
            let named = tx.library_item(code.held_by).await?;
            let now = named.as_ref().and_then(|named| named.current.as_deref());
            if code.follows && now != Some(code.hash.as_str()) {
                return Err(changed(&format!(
                    "what \"{}\" is in {} was changed meanwhile, so nothing of it was trusted",
                    code.name,
                    library::path(&chain)
                )));
            }
        }
        let entries = locked(&mut tx).await?;
        let now = self.now();
        refuse_without_word(&entries, name, Moment::from_unix_ms(now))?;
        // One that does not count is in nobody's way: another is made beside it.
        let there: Vec<Stamp> = stamps_of(&entries, item.id)
            .filter(|stamp| has_word(&entries, &stamp.author, stamp.at))
            .collect();
        let (mut stamped, mut already) = (Vec::new(), Vec::new());
        for code in codes {
            let kind = code.kind.code_type();
            let same = |stamp: &&Stamp| stamp.kind == kind && stamp.hash == code.hash;
            refuse_blocked(
                &entries,
                Block::Item(ItemRef {
                    r#type: kind.into(),
                    hash: code.hash.clone(),
                }),
            )?;
            if let Some(stamp) = there.iter().find(same) {
                already.push(stamp.clone());
                continue;
            }
            stamped.push(Stamp {
                id: self.random().id(now, StampId::new),
                kind,
                hash: code.hash,
                library_item: item.id.to_string().parse().map_err(Error::bug)?,
                author: name.clone(),
                at: Moment::from_unix_ms(now),
            });
        }
        let changes: Vec<Change> = stamped
            .iter()
            .map(|stamp| {
                let entry = Entry::Stamp(stamp.clone());
                (entry.key(), Some(entry.value()))
            })
            .collect();
        let subject = subject(&item, &chain);
        if let Some(records) = records(Event::FunctionTrusted, &stamped, |_| subject.clone()) {
            tx.trust_change(&changes, now).await?;
            tx.commit(records, now).await?;
        }
        Ok(Stamped {
            item: item.id,
            stamped: to_wire_all(&stamped)?,
            already: to_wire_all(&already)?,
        })
    }

    /// Removes stamps from an item: those that are chosen, or all of them; of other people's only as an administrator.
    pub async fn library_untrust(
        &self,
        caller: &Caller,
        reference: &str,
        wanted: &StampChoice,
    ) -> Result<Unstamped, Error> {
        let chosen = Chosen::of(wanted)?;
        let user = person(caller)?;
        let authorized = if user.is_in(ADMINISTRATOR) {
            self.authorize(caller, Operation::ManageTrust).await?
        } else {
            self.require_some_author(caller, user, (&chosen, reference))
                .await?
        };
        let found = self.library_item_for(user, reference).await?;
        self.unstamp(caller, &authorized, &found, &chosen).await
    }

    /// Removes all stamps from a function, as far as they are the caller's to remove.
    pub(crate) async fn unstamp_all(&self, caller: &Caller, item: &LibraryItem) -> Result<Untrusted, Error> {
        let user = person(caller)?;
        let operation = if user.is_in(ADMINISTRATOR) {
            Operation::ManageTrust
        } else {
            Operation::StampFunctions
        };
        let authorized = self.authorize(caller, operation).await?;
        let mut done = Untrusted::default();
        loop {
            let answer = self
                .unstamp(caller, &authorized, item, &Chosen::everything())
                .await?;
            done.removed += answer.removed.len() as u64;
            done.others = answer.others.len() as u64;
            if !answer.more {
                return Ok(done);
            }
        }
    }

    async fn unstamp(
        &self,
        caller: &Caller,
        authorized: &Authorized,
        found: &LibraryItem,
        chosen: &Chosen,
    ) -> Result<Unstamped, Error> {
        let tx = self.store().begin(authorized).await?;
        let Held {
            mut tx,
            item,
            chain,
            user,
        } = self.library_write(tx, authorized, found.id).await?;
        let entries = locked(&mut tx).await?;
        let there: Vec<Stamp> = stamps_of(&entries, item.id)
            .filter(|stamp| chosen.has(stamp))
            .collect();
        let already = chosen.missing(&there);
        let administrator = user.is_in(ADMINISTRATOR);
        // A stamp has the name of its author: what somebody of this name made before the account is not theirs.
        let account = self.store().user(user.id).await?;
        let since = account.map_or(i64::MAX, |account| account.created_at);
        let own = |stamp: &Stamp| {
            administrator || (stamp.author.key() == user.name.key() && stamp.at.unix_ms() >= since)
        };
        let (mut gone, mut others): (Vec<Stamp>, Vec<Stamp>) = there.into_iter().partition(own);
        let more = gone.len() > MOST_AT_ONCE;
        gone.truncate(MOST_AT_ONCE);
        others.truncate(MOST_AT_ONCE);
        // Of what is code itself the right is asked for where nothing is on it, too.
        let itself = match item.kind {
            Kind::Script => Some(CodeType::Script),
            Kind::CustomQuery => Some(CodeType::CustomQuery),
            Kind::DataFunction => Some(CodeType::DataFunction),
            _ => None,
        };
        let kinds: BTreeSet<CodeType> = gone.iter().map(|stamp| stamp.kind).chain(itself).collect();
        let denied = if administrator {
            None
        } else {
            lacking(&user, &kinds).or_else(|| {
                (gone.is_empty() && !others.is_empty())
                    .then(|| of_others(&user, &library::path(&chain), &others))
            })
        };
        if let Some(denied) = denied {
            drop(tx);
            self.record_denial(caller, ("remove stamps in the library", library::path(&chain)))
                .await;
            return Err(denied);
        }
        let subject = subject(&item, &chain);
        self.remove_stamps(tx, &gone, |_| subject.clone()).await?;
        Ok(Unstamped {
            removed: to_wire_all(&gone)?,
            already,
            more,
            others: to_wire_all(&others)?,
        })
    }

    /// Removes stamps from all items: those of the chosen contents, or all of them. For administrators.
    pub async fn untrust_everywhere(
        &self,
        caller: &Caller,
        wanted: &StampChoice,
    ) -> Result<Unstamped, Error> {
        let chosen = Chosen::of(wanted)?;
        let authorized = self
            .authorize_to(caller, Operation::ManageTrust, "untrust code everywhere", "")
            .await?;
        let tx = self.store().begin(&authorized).await?;
        let (mut tx, ..) = self.library_asked(tx, &authorized, LibraryItemId::ROOT).await?;
        let entries = locked(&mut tx).await?;
        let mut gone: Vec<Stamp> = stamps_in(&entries).filter(|stamp| chosen.has(stamp)).collect();
        let already = chosen.missing(&gone);
        let more = gone.len() > MOST_AT_ONCE;
        gone.truncate(MOST_AT_ONCE);
        self.remove_stamps(tx, &gone, |stamp| format!("library item {}", stamp.library_item))
            .await?;
        Ok(Unstamped {
            removed: to_wire_all(&gone)?,
            already,
            more,
            others: Vec::new(),
        })
    }

    /// Takes stamps away for ever, each with its record; without any, nothing.
    async fn remove_stamps(
        &self,
        mut tx: Tx,
        gone: &[Stamp],
        subject: impl Fn(&Stamp) -> String,
    ) -> Result<(), Error> {
        let now = self.now();
        if let Some(records) = records(Event::FunctionUntrusted, gone, subject) {
            tx.trust_change(&removals(gone, now), now).await?;
            tx.commit(records, now).await?;
        }
        Ok(())
    }

    /// Ends the stamps on an item whose content it does not have any more, in the change that saves it. Gives their records.
    pub(crate) async fn end_stamps(
        &self,
        tx: &mut Tx,
        item: (LibraryItemId, &str),
        saved: (ItemKind, &ItemHash, &[u8]),
        now: i64,
    ) -> Result<Vec<Draft>, Error> {
        let (id, path) = item;
        let (kind, digest, manifest) = saved;
        let mut stamps: Vec<Stamp> = stamps_of(&locked(tx).await?, id).collect();
        let hashes = stamps.iter().map(|stamp| stamp.hash.clone()).collect();
        let gone = self.code_gone(kind, (digest, manifest), hashes).await?;
        stamps.retain(|stamp| gone.contains(&stamp.hash));
        if stamps.is_empty() {
            return Ok(Vec::new());
        }
        tx.trust_change(&removals(&stamps, now), now).await?;
        Ok(drafts(Event::FunctionUntrusted, &stamps, |_| path.to_owned()))
    }

    /// The stamps on an item that count, by authors whose word does.
    pub(crate) async fn stamps_on(&self, item: LibraryItemId) -> Result<Vec<Stamp>, Error> {
        let entries = self.store().trust_entries().await?;
        Ok(stamps_of(&entries, item)
            .filter(|stamp| has_word(&entries, &stamp.author, stamp.at))
            .collect())
    }

    /// The stamps on items that the caller may read.
    pub async fn list_stamps(&self, caller: &Caller, query: &StampQuery) -> Result<Page<WireStamp>, Error> {
        self.authorize(caller, Operation::Use).await?;
        let user = person(caller)?;
        let only = match &query.item {
            Some(item) => Some(self.library_item_for(user, item).await?.id),
            None => None,
        };
        let tree = self.store().library_tree().await?;
        let page = PageQuery {
            limit: query.limit,
            next: query.next.clone(),
        };
        self.trust_page(PREFIX, &page, |entry, _| {
            let Entry::Stamp(stamp) = entry else { return None };
            let wanted = only.is_none_or(|item| is_on(&stamp, item));
            if wanted && may_read_stamped(&tree, user, &stamp) {
                to_wire(&stamp).ok()
            } else {
                None
            }
        })
        .await
    }

    /// Refuses who can stamp nothing at all, before they learn what there is.
    async fn require_some_author(
        &self,
        caller: &Caller,
        user: &UserCaller,
        (chosen, reference): (&Chosen, &str),
    ) -> Result<Authorized, Error> {
        let user = Caller::User(user.clone());
        let scripts = authorize(&user, Operation::StampFunctions);
        let queries = authorize(&user, Operation::StampQueries);
        let (scripts, queries) = match (scripts, queries) {
            (Ok(authorized), _) | (_, Ok(authorized)) => return Ok(authorized),
            (Err(scripts), Err(queries)) => (scripts, queries),
        };
        self.record_denial(caller, ("trust or untrust code in the library", reference))
            .await;
        Err(match chosen.only_queries() {
            Some(true) => queries.into(),
            Some(false) => scripts.into(),
            // What the item holds is nothing that they are told here.
            None => Error::denied(format!("{scripts}; nor {}: {}", queries.what, queries.cure)),
        })
    }
}

/// What one must be to stamp this kind.
fn operation(kind: CodeType) -> Operation {
    match kind {
        CodeType::Script | CodeType::DataFunction => Operation::StampFunctions,
        CodeType::CustomQuery => Operation::StampQueries,
    }
}

/// Why somebody is not an author of all these kinds, if they are not.
fn lacking(user: &UserCaller, kinds: &BTreeSet<CodeType>) -> Option<Error> {
    let user = Caller::User(user.clone());
    let denied = kinds
        .iter()
        .find_map(|kind| authorize(&user, operation(*kind)).err());
    denied.map(Error::from)
}

/// Why somebody removes none of these: other people made them.
fn of_others(user: &UserCaller, path: &str, others: &[Stamp]) -> Error {
    let authors: BTreeSet<&UserName> = others.iter().map(|stamp| &stamp.author).collect();
    let named: Vec<&str> = authors.iter().map(|author| author.as_str()).take(TOLD).collect();
    let more = match authors.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more people"),
    };
    Error::denied(format!(
        "user {} may not remove the stamps on {path}: they were made by {}{more}; ask who made them, or an administrator",
        user.name,
        named.join(", ")
    ))
}

/// The stamps among these entries, in the order of their identifiers.
pub(crate) fn stamps_in(entries: &BTreeMap<String, String>) -> impl Iterator<Item = Stamp> {
    stamps_with(entries, String::new())
}

/// The stamps on an item.
fn stamps_of(entries: &BTreeMap<String, String>, item: LibraryItemId) -> impl Iterator<Item = Stamp> {
    stamps_with(entries, item.to_string()).filter(move |stamp| is_on(stamp, item))
}

/// The stamps in whose text these words are: of many thousands only few are read.
fn stamps_with(entries: &BTreeMap<String, String>, words: String) -> impl Iterator<Item = Stamp> {
    entries
        .range(PREFIX.to_owned()..)
        .take_while(|(key, _)| key.starts_with(PREFIX))
        .filter(move |(_, value)| value.contains(&words))
        .filter_map(|(key, value)| match Entry::parse(key, value) {
            Ok(Entry::Stamp(stamp)) => Some(stamp),
            _ => None,
        })
}

/// Whether what this author vouched for then counts: as decisions ask it of a stamp, who is blocked vouches for nothing, and
/// who is revoked for good for nothing from that moment on.
fn has_word(entries: &BTreeMap<String, String>, author: &UserName, at: Moment) -> bool {
    let blocked = entries.contains_key(&Entry::Block(Block::User(author.clone())).key());
    !blocked && !is_revoked_for_good(entries, author, at)
}

fn is_revoked_for_good(entries: &BTreeMap<String, String>, author: &UserName, at: Moment) -> bool {
    let prefix = format!("revocation/{}/", author.key());
    entries
        .range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix))
        .any(|(key, value)| match Entry::parse(key, value) {
            Ok(Entry::Revocation(known)) => known.until.is_none() && known.from <= at,
            _ => false,
        })
}

/// Refuses the stamps of somebody whose word does not count now.
fn refuse_without_word(
    entries: &BTreeMap<String, String>,
    author: &UserName,
    now: Moment,
) -> Result<(), Error> {
    refuse_blocked(entries, Block::User(author.clone()))?;
    if is_revoked_for_good(entries, author, now) {
        return Err(Error::conflict(
            "signatures-revoked",
            format!(
                "what {author} vouches for now is revoked already, so nothing was trusted; muster trust list --revocations shows since when"
            ),
        ));
    }
    Ok(())
}

/// Whether a stamp is on this item.
fn is_on(stamp: &Stamp, item: LibraryItemId) -> bool {
    stamp.library_item.as_str().parse() == Ok(item)
}

/// What takes these stamps away for ever.
pub(crate) fn removals(gone: &[Stamp], now: i64) -> Vec<Change> {
    gone.iter()
        .flat_map(|stamp| {
            let key = Entry::Stamp(stamp.clone()).key();
            [(key, None), tombstone::of_stamp(stamp.id, now)]
        })
        .collect()
}

fn drafts(event: Event, stamps: &[Stamp], subject: impl Fn(&Stamp) -> String) -> Vec<Draft> {
    let draft = |stamp: &Stamp| {
        let detail = json!({
            "stamp": stamp.id.to_string(),
            "item": stamp.library_item.to_string(),
            "kind": stamp.kind.as_str(),
            "digest": stamp.hash.to_string(),
        });
        Draft::new(event, subject(stamp), detail)
    };
    stamps.iter().map(draft).collect()
}

fn records(event: Event, stamps: &[Stamp], subject: impl Fn(&Stamp) -> String) -> Option<Records> {
    let mut drafts = drafts(event, stamps, subject).into_iter();
    let first = drafts.next()?;
    Some(Records::new(first, drafts.collect()))
}

/// How the audit names an item: functions by name, as in all their records.
fn subject(item: &LibraryItem, chain: &[library::Step]) -> String {
    match item.kind {
        Kind::DataFunction => item.name.to_string(),
        _ => library::path(chain),
    }
}

fn to_wire_all(stamps: &[Stamp]) -> Result<Vec<WireStamp>, Error> {
    stamps.iter().map(to_wire).collect()
}

fn to_wire(stamp: &Stamp) -> Result<WireStamp, Error> {
    Ok(WireStamp {
        id: stamp.id,
        item: stamp.library_item.as_str().parse().map_err(Error::bug)?,
        kind: stamp.kind.to_string(),
        hash: stamp.hash.to_string(),
        author: stamp.author.clone(),
        created: rfc3339(stamp.at.unix_ms()),
    })
}

fn nothing_to_trust(item: &LibraryItem) -> Error {
    Error::invalid(format!(
        "\"{}\" is of the kind {} and holds no script, data function or custom query that you can read, so there is nothing to trust; mods and external actions are trusted by signature, see muster trust add",
        item.name, item.kind
    ))
}

#[cfg(test)]
mod tests;
