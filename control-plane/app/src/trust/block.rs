//! What nobody may trust or use: made and lifted by administrators.
//!
//! Invariant: a block and the act that is behind it are written and removed together; an act that is lifted leaves a
//! tombstone, so that what a database has forgotten and what was lifted are told apart.

use std::collections::BTreeMap;

use muster_code_trust::{Block, Blocking, Entry, ItemRef, ItemType, Moment, SignedRef, Signer};
use muster_ids::{BlockId, Digest, Sha512};
use muster_model::{
    audit::Event,
    permission::{Caller, Operation},
};
use muster_store::{Draft, TrustReason};
use muster_wire::admin::v1::{
    Page, PageQuery,
    trust::{Block as WireBlock, CreateBlock, Decided, Item},
};
use serde_json::json;

use super::entry::{author, decided, duplicate, find, locked, read, reason, refuse_long};
use crate::{
    App, Error,
    epoch::tombstone::{self, Change},
    text::rfc3339,
};

const PREFIX: &str = "block/";

impl App {
    /// All blocks, in the order of their keys.
    pub async fn list_blocks(&self, caller: &Caller, query: &PageQuery) -> Result<Page<WireBlock>, Error> {
        self.authorize_to(caller, Operation::ReadAdministration, "list blocks", "")
            .await?;
        let mut acts: BTreeMap<String, Blocking> = BTreeMap::new();
        for act in self.trust_state().await?.blockings() {
            acts.entry(key_of(&act.block)).or_insert(act);
        }
        self.trust_page(PREFIX, query, |entry, beside| {
            let id = entry.id();
            let Entry::Block(block) = entry else { return None };
            // What came from a node that knew better has no row beside it, but its act.
            let beside = match beside.by {
                Some(_) => beside,
                None => acts.get(&key_of(&block)).map_or(beside, of_act),
            };
            Some(to_wire(id, block, beside))
        })
        .await
    }

    /// Blocks an item, a user or a certificate.
    pub async fn create_block(&self, caller: &Caller, new: &CreateBlock) -> Result<WireBlock, Error> {
        let block = block_of(new);
        let on = block.as_ref().map(subject).unwrap_or_default();
        let authorized = self
            .authorize_to(caller, Operation::ManageTrust, "block", on)
            .await?;
        let (block, author) = (block?, author(caller)?);
        let reason = reason(new.reason.as_deref())?;
        let now = self.now();
        let act = Entry::Blocking(Blocking {
            id: self.random().id(now, BlockId::new),
            block: block.clone(),
            author: author.clone(),
            at: Moment::from_unix_ms(now),
        });
        let entry = Entry::Block(block.clone());
        let mut tx = self.begin_asked(&authorized).await?;
        if locked(&mut tx).await?.contains_key(&entry.key()) {
            return Err(duplicate(format!("{} is blocked already", subject(&block))));
        }
        let changes = [&entry, &act].map(|entry| (entry.key(), Some(entry.value())));
        tx.trust_change(&changes, now).await?;
        let beside = TrustReason {
            reason,
            by: author.to_string(),
            at: now,
        };
        tx.trust_reason_put(&entry.key(), &beside).await?;
        let detail = json!({ "entry": entry.key(), "act": act.key(), "reason": beside.reason });
        tx.commit(Draft::new(Event::Blocked, subject(&block), detail), now)
            .await?;
        Ok(to_wire(entry.id(), block, decided(Some(&beside))))
    }

    /// Lifts a block.
    pub async fn delete_block(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageTrust, "lift the block", id)
            .await?;
        let now = self.now();
        let mut tx = self.begin_asked(&authorized).await?;
        let entries = locked(&mut tx).await?;
        let Some((key, Entry::Block(block))) = find(&entries, PREFIX, id) else {
            return Err(no_such_block());
        };
        let mut changes: Vec<Change> = vec![(key.clone(), None)];
        for (act, value) in entries.range("blocking/".to_owned()..) {
            match Entry::parse(act, value) {
                Ok(Entry::Blocking(blocking)) if is_behind(&blocking, &block) => {
                    changes.push((act.clone(), None));
                    changes.push(tombstone::of_block(blocking.id, now));
                }
                Ok(Entry::Blocking(_)) => {}
                _ => break,
            }
        }
        tx.trust_change(&changes, now).await?;
        let detail = json!({ "entry": key });
        tx.commit(Draft::new(Event::Unblocked, subject(&block), detail), now)
            .await?;
        Ok(())
    }
}

/// Whether this act is behind this block.
pub(crate) fn is_behind(act: &Blocking, block: &Block) -> bool {
    key_of(&act.block) == key_of(block)
}

fn key_of(block: &Block) -> String {
    Entry::Block(block.clone()).key()
}

/// That nobody may trust what is blocked.
pub(crate) fn refuse_blocked(entries: &BTreeMap<String, String>, block: Block) -> Result<(), Error> {
    let what = subject(&block);
    if entries.contains_key(&Entry::Block(block).key()) {
        return Err(Error::conflict(
            "blocked",
            format!(
                "{what} is blocked for everybody, so nobody can trust it; an administrator can lift that with muster trust unblock"
            ),
        ));
    }
    Ok(())
}

/// The block of a signer.
pub(super) fn of_signer(signer: &Signer) -> Block {
    match signer {
        Signer::User(user) => Block::User(user.clone()),
        Signer::Certificate(certificate) => Block::Certificate(certificate.clone()),
    }
}

/// The block of one version of an item.
pub(super) fn of_item(item: &SignedRef) -> Block {
    Block::Item(ItemRef {
        r#type: item.r#type.into(),
        hash: item.hash.clone(),
    })
}

/// What a block is about, as people name it.
pub(super) fn subject(block: &Block) -> String {
    match block {
        Block::Item(item) => format!("{} {}", item.r#type, item.hash),
        Block::User(user) => format!("user {user}"),
        Block::Certificate(certificate) => {
            format!("certificate {} of {}", certificate.serial, certificate.issuer)
        }
    }
}

fn block_of(new: &CreateBlock) -> Result<Block, Error> {
    let form = json!({ "item": new.item, "user": new.user, "issuer": new.issuer, "serial": new.serial });
    let block: Block = read("what is to be blocked", form)?;
    if let Block::Item(item) = &block
        && item.r#type == ItemType::DataFunction
        && item.hash.as_str().parse::<Digest>().is_err()
    {
        return Err(Error::invalid(
            "the hash of a data function is its digest, sha256: and 64 hexadecimal digits, as muster function show has it",
        ));
    }
    if let Block::Item(item) = &block
        && item.r#type != ItemType::DataFunction
        && item.hash.as_str().parse::<Sha512>().is_err()
    {
        return Err(Error::invalid(
            "the hash of an item is its digest, sha512= and base64 with padding, as muster trust sign and verify have it; another text would block nothing",
        ));
    }
    if let Block::Certificate(certificate) = &block {
        refuse_long(certificate)?;
    }
    Ok(block)
}

fn no_such_block() -> Error {
    Error::NotFound {
        detail: "there is no such block; muster trust list --blocks shows all of them".to_owned(),
    }
}

fn of_act(act: &Blocking) -> Decided {
    Decided {
        by: Some(act.author.clone()),
        at: Some(rfc3339(act.at.unix_ms())),
        reason: None,
    }
}

fn to_wire(id: Digest, block: Block, decided: Decided) -> WireBlock {
    let mut wire = WireBlock {
        id,
        item: None,
        user: None,
        issuer: None,
        serial: None,
        decided,
    };
    match block {
        Block::Item(item) => {
            wire.item = Some(Item {
                kind: item.r#type.to_string(),
                hash: item.hash.to_string(),
            });
        }
        Block::User(user) => wire.user = Some(user),
        Block::Certificate(certificate) => {
            wire.issuer = Some(certificate.issuer.to_string());
            wire.serial = Some(certificate.serial.to_string());
        }
    }
    wire
}
