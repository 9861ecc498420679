//! What is trusted: stamps, the trust state as nodes get it, beacons, and the explanation of a verdict; below, what
//! else people decide about.
//!
//! Invariant: a control plane signs a state or a beacon only for the head that it read from the primary
//! database within the last second.

mod block;
mod entry;
#[cfg(test)]
mod orders;
mod revocation;
mod signed;
mod signer;

pub(crate) use block::{is_behind, refuse_blocked};
pub(crate) use entry::{author, duplicate, locked, moment, reason, refuse_long};
pub(crate) use revocation::{refuse_many_of, to_wire as revocation_to_wire};
pub(crate) use signed::SignedState;
pub(crate) use signer::{of_group, of_user};

use std::sync::Arc;

use muster_code_trust::{
    Block, Client, CodeType, DenyReason, Engine, Entry, ItemHash, ItemRef, ItemType, Language, Moment,
    Outcome, Place, Question, Stamp, TrustState, UserFacts, Verdict, decide,
};
use muster_ids::{Digest, FunctionId, Name, NodeId, StampId, UserId, UserName};
use muster_model::{
    audit::Event,
    library::Tree,
    permission::{Caller, Operation, UserCaller},
};
use muster_pki::PayloadType;
use muster_store::{Draft, TrustHead};
use muster_wire::{
    admin::v1::{
        run::Why,
        trust::{ExplainQuery, Explanation, Stamp as WireStamp},
    },
    node::v1::{
        beacon::Beacon,
        trust_state::{TrustStateReply, TrustVersion},
    },
};
use serde_json::json;

use crate::{
    App, Error,
    epoch::tombstone,
    function::{Current, item_hash, no_such_function},
    library::person,
    session::caller_of,
    text::rfc3339,
};

/// How long a beacon may be relied on (protocols.md 3: `trust.max_staleness`).
const BEACON_LIFETIME_SECONDS: u64 = 15 * 60;
/// Why somebody runs nothing of what they may not read; no rule of the decisions, which are about content.
pub(crate) const NOT_READABLE: &str = "function-not-readable";

/// The rule of what runs unrestricted only because trust is not checked.
const CHECKS_OFF: &str = "trust-checks-disabled";

/// What comes of a run.
pub(crate) struct Judged {
    /// Who asks, with the stamps that they can read.
    pub(crate) facts: UserFacts,
    /// The answer.
    pub(crate) verdict: Verdict,
    /// What it would have been with checks, where it rests on their being off.
    pub(crate) would_have: Option<Verdict>,
}

impl App {
    /// Trusts the content of a function, which must be the current one: what was read is what is trusted.
    pub async fn trust_function(
        &self,
        caller: &Caller,
        reference: &str,
        digest: &Digest,
    ) -> Result<WireStamp, Error> {
        let authorized = self.authorize(caller, Operation::StampFunctions).await?;
        let Caller::User(author) = caller else {
            return Err(Error::invalid("functions are trusted by users"));
        };
        let current = self.function_for(caller, reference).await?;
        let function = &current.function;
        if function.current != *digest {
            return Err(Error::conflict(
                "content-changed",
                format!(
                    "the function \"{}\" was changed meanwhile: it is {} now; read it again with muster function show",
                    function.name, function.current
                ),
            ));
        }
        let now = self.now();
        let hash = item_hash(digest)?;
        let state = self.trust_state().await?;
        refuse_blocked(
            &self.store().trust_entries().await?,
            Block::Item(ItemRef {
                r#type: ItemType::DataFunction,
                hash: hash.clone(),
            }),
        )?;
        let mine = |stamp: &&Stamp| stamp.library_item.as_str() == function.id.to_string();
        if let Some(stamp) = state.stamps_of(CodeType::DataFunction, &hash).find(mine) {
            return stamp_to_wire(stamp, &current);
        }
        let stamp = Stamp {
            id: self.random().id(now, StampId::new),
            kind: CodeType::DataFunction,
            hash,
            library_item: function.id.to_string().parse().map_err(Error::bug)?,
            author: author.name.clone(),
            at: Moment::from_unix_ms(now),
        };
        let entry = Entry::Stamp(stamp.clone());
        let tx = self.store().begin(&authorized).await?;
        // A stamp on what was deleted or closed meanwhile is one that nobody lists or takes away.
        let mut tx = self
            .still_readable(tx, &authorized, function.id, || no_such_function(reference))
            .await?;
        tx.trust_change(&[(entry.key(), Some(entry.value()))], now)
            .await?;
        let detail = json!({ "stamp": stamp.id.to_string(), "digest": digest.to_string() });
        tx.commit(
            Draft::new(Event::FunctionTrusted, function.name.to_string(), detail),
            now,
        )
        .await?;
        stamp_to_wire(&stamp, &current)
    }

    /// Removes every stamp of a function, whatever its version.
    pub async fn untrust_function(&self, caller: &Caller, reference: &str) -> Result<u64, Error> {
        let operation = match caller {
            Caller::User(user) if user.is_in(muster_model::permission::ADMINISTRATOR) => {
                Operation::ManageSettings
            }
            _ => Operation::StampFunctions,
        };
        let authorized = self.authorize(caller, operation).await?;
        let current = self.function_for(caller, reference).await?;
        let item = current.function.id.to_string();
        let now = self.now();
        let changes: Vec<(String, Option<String>)> = self
            .store()
            .trust_entries()
            .await?
            .into_iter()
            .filter_map(|(key, value)| match Entry::parse(&key, &value) {
                Ok(Entry::Stamp(stamp)) if stamp.library_item.as_str() == item => {
                    Some([(key, None), tombstone::of_stamp(stamp.id, now)])
                }
                _ => None,
            })
            .flatten()
            .collect();
        if changes.is_empty() {
            return Err(Error::conflict(
                "not-trusted",
                format!(
                    "the function \"{}\" is not trusted; nothing was changed",
                    current.function.name
                ),
            ));
        }
        let mut tx = self.store().begin(&authorized).await?;
        tx.trust_change(&changes, now).await?;
        let stamps = changes.len() / 2;
        let detail = json!({ "stamps": stamps });
        tx.commit(
            Draft::new(
                Event::FunctionUntrusted,
                current.function.name.to_string(),
                detail,
            ),
            now,
        )
        .await?;
        Ok(stamps as u64)
    }

    /// All stamps on items that the caller may read.
    pub async fn list_stamps(&self, caller: &Caller) -> Result<Vec<WireStamp>, Error> {
        self.authorize(caller, Operation::Use).await?;
        let user = person(caller)?;
        let tree = self.store().library_tree().await?;
        let mut stamps = Vec::new();
        for (key, value) in self.store().trust_entries().await? {
            if let Ok(Entry::Stamp(stamp)) = Entry::parse(&key, &value)
                && may_read_stamped(&tree, user, &stamp)
                && let (Ok(function), Ok(digest)) =
                    (stamp.library_item.as_str().parse(), stamp.hash.as_str().parse())
            {
                let created = rfc3339(stamp.at.unix_ms());
                stamps.push(WireStamp {
                    id: stamp.id,
                    function,
                    digest,
                    author: stamp.author,
                    created,
                });
            }
        }
        Ok(stamps)
    }

    /// What would happen if a user ran a function now, and why.
    pub async fn explain(&self, caller: &Caller, query: &ExplainQuery) -> Result<Explanation, Error> {
        let Caller::User(asking) = caller else {
            return Err(Error::invalid("users ask for explanations"));
        };
        let own = query
            .user
            .as_ref()
            .is_none_or(|user| user.key() == asking.name.key());
        self.authorize(
            caller,
            if own {
                Operation::Use
            } else {
                Operation::ReadAdministration
            },
        )
        .await?;
        let user = self
            .user_named(query.user.as_ref().unwrap_or(&asking.name))
            .await?;
        let current = self.function_for(caller, &query.function).await?;
        let facts = self.facts_of(user.id, &user.name).await?;
        let reads = self
            .right_to(&caller_of(user.id, &facts), current.function.id.into())
            .await?
            .is_some();
        let state = self.trust_state().await?;
        let (place, node) = match &query.node {
            Some(name) => {
                let node = self.node_named(name.as_str()).await?;
                let name = node.name.to_string();
                (self.place(&node).await?, name)
            }
            None => (self.default_place().await?, "any".to_owned()),
        };
        let language: Language = current.definition.language.parse().map_err(Error::bug)?;
        let content = (
            language.service(),
            &current.function.current,
            Some(current.function.id),
        );
        let Judged { verdict, .. } = self
            .judge(user.id, facts, content, &state, &place, Client::Web)
            .await?;
        let verdict = if reads { verdict } else { not_readable(&user.name) };
        Ok(Explanation {
            function: current.function.name,
            digest: current.function.current,
            user: user.name,
            node,
            outcome: verdict.outcome.word().to_owned(),
            mode: verdict.outcome.mode().map(|mode| mode.to_string()),
            why: why(&verdict),
        })
    }

    /// The verdict about a run of a content by an engine, which lies in a function unless it is an expression.
    pub(crate) async fn judge(
        &self,
        user: UserId,
        facts: UserFacts,
        (engine, digest, function): (Engine, &Digest, Option<FunctionId>),
        state: &TrustState,
        place: &Place,
        client: Client,
    ) -> Result<Judged, Error> {
        let hash = item_hash(digest)?;
        let reader = caller_of(user, &facts);
        let stamps = self
            .readable_stamps(&reader, state, CodeType::DataFunction, &hash)
            .await?;
        let facts = facts.reading(stamps);
        let now = Moment::from_unix_ms(self.now());
        let library_item = match function {
            Some(function) => Some(function.to_string().parse().map_err(Error::bug)?),
            None => None,
        };
        let question = Question::run_function(&facts, client, engine, (hash, library_item), now);
        let mut settings = state.settings_at(place);
        let mut verdict = decide(&question, state, &settings).verdict();
        // Where checks are off, the record says what they would have refused.
        let mut would_have = None;
        if verdict.rule == CHECKS_OFF {
            settings.disable_trust_checks.value = false;
            let checked = decide(&question, state, &settings).verdict();
            verdict.reasons.push(format!(
                "With checks of trust the answer would have been: {} ({}).",
                checked.outcome.word(),
                checked.rule
            ));
            would_have = Some(checked);
        }
        Ok(Judged {
            facts,
            verdict,
            would_have,
        })
    }

    /// The stamps for this content on items that the user can read in the library: the others do not count.
    pub(crate) async fn readable_stamps(
        &self,
        user: &UserCaller,
        state: &TrustState,
        kind: CodeType,
        hash: &ItemHash,
    ) -> Result<Vec<StampId>, Error> {
        let mut readable = Vec::new();
        for stamp in state.stamps_of(kind, hash) {
            if let Ok(item) = stamp.library_item.as_str().parse()
                && self.right_to(user, item).await?.is_some()
            {
                readable.push(stamp.id);
            }
        }
        Ok(readable)
    }

    /// The state as it is in the primary database now.
    pub(crate) async fn trust_state(&self) -> Result<TrustState, Error> {
        Ok(self.trust_state_and_head().await?.1)
    }

    pub(crate) async fn trust_state_and_head(&self) -> Result<(TrustHead, TrustState), Error> {
        let (head, entries) = self.store().trust_state().await?;
        let state = TrustState::from_pairs(entries).map_err(Error::bug)?;
        Ok((head, state))
    }

    /// The signed state for a node: what changed since `since`, or all of it. After a change many ask, so it is read and
    /// signed once for all of them.
    pub async fn trust_state_for_node(
        &self,
        node: NodeId,
        since: Option<u64>,
    ) -> Result<Arc<TrustStateReply>, Error> {
        self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        let head = self.trust_head_now().await?;
        let authority = self.authority();
        // One makes it, and the others wait for what it makes.
        let mut kept = self.fleet().signed_state().await;
        let signed = match kept.take().filter(|signed| signed.serves(&head, &authority)) {
            Some(signed) => signed,
            None => Arc::new(self.sign_trust_state(authority).await?),
        };
        *kept = Some(Arc::clone(&signed));
        drop(kept);
        Ok(signed.reply(since))
    }

    /// The signed word that a state is the current one, in answer to a node's challenge.
    pub async fn beacon(&self, node: NodeId, challenge: &str) -> Result<serde_json::Value, Error> {
        self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        let head = self.trust_head_now().await?;
        let beacon = Beacon {
            version: version(&head),
            issued: self.now(),
            time_to_live: BEACON_LIFETIME_SECONDS,
            challenge: challenge.to_owned(),
        };
        let envelope = self.authority().sign(PayloadType::Beacon, &beacon).await?;
        serde_json::to_value(envelope).map_err(Error::bug)
    }

    /// The number of the current state.
    pub async fn trust_number(&self) -> Result<u64, Error> {
        Ok(self.trust_head_now().await?.number)
    }

    /// Where decisions about a run on `node` look for settings.
    pub(crate) async fn place(&self, node: &muster_model::node::Node) -> Result<Place, Error> {
        let (pool, site) = self.known_names(node.pool, node.site).await?;
        Ok(Place {
            node: Some((node.id, node.name.clone())),
            pool: pool.map(|name| (node.pool, name)),
            site: site.map(|name| (node.site, name)),
        })
    }

    async fn default_place(&self) -> Result<Place, Error> {
        let pool = self.pool_or_default(None).await?;
        let site = self.site_or_default(None).await?;
        Ok(Place {
            node: None,
            pool: Some((pool.id, pool.name)),
            site: Some((site.id, site.name)),
        })
    }
}

/// Whether the user can read what this stamp is on.
pub(crate) fn may_read_stamped(tree: &Tree, user: &UserCaller, stamp: &Stamp) -> bool {
    let item = stamp.library_item.as_str().parse();
    item.is_ok_and(|item| tree.right(user, item).is_some())
}

pub(crate) fn version(head: &TrustHead) -> TrustVersion {
    TrustVersion {
        incarnation: head.incarnation,
        epoch: head.epoch,
        number: head.number,
        digest: head.digest,
        previous: head.previous,
    }
}

/// For whom the function is not there, however much its content is trusted.
fn not_readable(user: &UserName) -> Verdict {
    Verdict {
        outcome: Outcome::Deny {
            reason: DenyReason::Untrusted,
        },
        rule: NOT_READABLE,
        entry: None,
        group_path: Vec::new(),
        reasons: vec![format!(
            "The user {user} may not read the function in the library."
        )],
    }
}

pub(crate) fn why(verdict: &Verdict) -> Why {
    Why {
        rule: verdict.rule.to_owned(),
        entry: verdict.entry.clone(),
        group_path: verdict.group_path.iter().map(Name::to_string).collect(),
        reasons: verdict.reasons.clone(),
    }
}

fn stamp_to_wire(stamp: &Stamp, current: &Current) -> Result<WireStamp, Error> {
    Ok(WireStamp {
        id: stamp.id,
        function: current.function.id,
        digest: stamp.hash.as_str().parse().map_err(Error::bug)?,
        author: stamp.author.clone(),
        created: rfc3339(stamp.at.unix_ms()),
    })
}
