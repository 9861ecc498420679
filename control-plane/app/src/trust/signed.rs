//! The trust state as it is signed for nodes: once for each state, whoever asks and from whichever state they come.
//!
//! Invariant: what is kept is of one state and of one authority. Nothing that a node asks with makes more work than
//! copying what it gets, so none can delay the others by its questions.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use muster_code_trust::TrustState;
use muster_ids::NodeId;
use muster_model::permission::{Caller, Operation};
use muster_pki::PayloadType;
use muster_store::TrustHead;
use muster_wire::node::v1::{
    control::ControlMessage,
    trust_state::{TrustChange, TrustHead as WireHead, TrustStateReply},
};

use super::version;
use crate::{App, Error, authority::Authority};

/// Changes sent at most; a node further behind gets the whole state.
const MOST_CHANGES: u32 = 1000;
/// Keys and values of changes that come with their hint, bytes; what is larger is fetched, beside what else there is to
/// say on the control connection.
const MOST_HINTED: usize = 32 * 1024;

/// What a node is told of a newer state.
#[derive(Debug, Clone)]
pub struct Hint {
    /// The number of the state.
    pub number: u64,
    /// The line of the control stream that says so.
    pub line: Bytes,
}

impl Hint {
    fn new(number: u64, reply: Option<Box<TrustStateReply>>) -> Result<Self, Error> {
        let mut line = serde_json::to_vec(&ControlMessage::Trust { number, reply }).map_err(Error::bug)?;
        line.push(b'\n');
        let line = line.into();
        Ok(Self { number, line })
    }
}

/// A state, signed, with its last changes.
pub(crate) struct SignedState {
    made_for: TrustHead,
    signer: Arc<Authority>,
    whole: Arc<TrustStateReply>,
    changes: Vec<TrustChange>,
    /// The oldest state from which `changes` lead here.
    from: u64,
    /// What was told last, and from which state it leads here: almost always what the next node is told too.
    hint: Mutex<Option<(u64, Hint)>>,
}

impl SignedState {
    /// Whether it is of this authority, and of this state or a later one.
    fn serves(&self, head: &TrustHead, authority: &Arc<Authority>) -> bool {
        let made_for = &self.made_for;
        let later = (made_for.incarnation, made_for.epoch) == (head.incarnation, head.epoch)
            && made_for.number > head.number;
        (made_for == head || later) && Arc::ptr_eq(&self.signer, authority)
    }

    /// What a node gets that holds the state `since`, or none that counts.
    fn reply(&self, since: Option<u64>) -> Arc<TrustStateReply> {
        let Some(since) = since.filter(|since| (self.from..=self.made_for.number).contains(since)) else {
            return Arc::clone(&self.whole);
        };
        let known = self.changes.partition_point(|change| change.number <= since);
        Arc::new(TrustStateReply {
            head: self.whole.head.clone(),
            entries: None,
            changes: Some(self.changes[known..].to_vec()),
            bump: None,
        })
    }

    /// What a node is told that was told of the state `before` last: with what changed since, where that is little.
    fn hint(&self, before: u64) -> Result<Hint, Error> {
        let mut last = self.hint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((from, hint)) = &*last
            && *from == before
        {
            return Ok(hint.clone());
        }
        let reply = self.reply(Some(before));
        let size = |change: &TrustChange| change.key.len() + change.value.as_ref().map_or(0, String::len);
        let little = |changes: &Vec<TrustChange>| changes.iter().map(size).sum::<usize>() <= MOST_HINTED;
        let carried = reply.changes.as_ref().is_some_and(little);
        let carried = carried.then(|| Box::new(TrustStateReply::clone(&reply)));
        let hint = Hint::new(self.made_for.number, carried)?;
        *last = Some((before, hint.clone()));
        Ok(hint)
    }
}

impl App {
    /// The signed state for a node: what changed since `since`, or all of it.
    pub async fn trust_state_for_node(
        &self,
        node: NodeId,
        since: Option<u64>,
    ) -> Result<Arc<TrustStateReply>, Error> {
        self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        let head = self.trust_head_now().await?;
        Ok(self.signed_state(&head).await?.reply(since))
    }

    /// What a node is told that was told of the state `before` last, or of none; nothing where that is still the newest.
    /// `with_changes` where it reads changes that come unasked.
    pub async fn trust_hint(
        &self,
        node: NodeId,
        before: Option<u64>,
        with_changes: bool,
    ) -> Result<Option<Hint>, Error> {
        self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        let head = self.trust_head_now().await?;
        if before == Some(head.number) {
            return Ok(None);
        }
        let hint = match before.filter(|_| with_changes) {
            Some(before) => self.signed_state(&head).await?.hint(before)?,
            None => Hint::new(head.number, None)?,
        };
        Ok(Some(hint))
    }

    /// The state of `head` or a later one, signed. After a change many ask, so it is read and signed once for all.
    async fn signed_state(&self, head: &TrustHead) -> Result<Arc<SignedState>, Error> {
        let authority = self.authority();
        // One makes it, and the others wait for what it makes.
        let mut kept = self.fleet().signed_state().await;
        let signed = match kept.take().filter(|signed| signed.serves(head, &authority)) {
            Some(signed) => signed,
            None => Arc::new(self.sign_trust_state(authority).await?),
        };
        *kept = Some(Arc::clone(&signed));
        Ok(signed)
    }

    /// The state that the database holds, signed by `authority`.
    async fn sign_trust_state(&self, authority: Arc<Authority>) -> Result<SignedState, Error> {
        let (head, entries) = self.store().trust_state().await?;
        let state = TrustState::from_pairs(entries.clone()).map_err(Error::bug)?;
        let requires = state.requires().into_iter().map(str::to_owned).collect();
        let payload = WireHead {
            version: version(&head),
            requires,
        };
        let envelope = authority.sign(PayloadType::TrustState, &payload).await?;
        let changes = self
            .store()
            .trust_changes_until(head.number, MOST_CHANGES + 1)
            .await?;
        // The oldest of so many may be a part of what changed together.
        let from = match changes.first() {
            Some(oldest) if changes.len() > MOST_CHANGES as usize => oldest.number,
            _ => 0,
        };
        let changes = changes
            .into_iter()
            .filter(|change| change.number > from)
            .map(|change| TrustChange {
                number: change.number,
                key: change.key,
                value: change.value,
            })
            .collect();
        // Whoever gets the whole state may come from an earlier epoch.
        let bump = match self.store().epoch_bump().await? {
            Some(bump) => Some(serde_json::from_str(&bump).map_err(Error::bug)?),
            None => None,
        };
        let whole = TrustStateReply {
            head: serde_json::to_value(envelope).map_err(Error::bug)?,
            entries: Some(entries),
            changes: None,
            bump,
        };
        Ok(SignedState {
            made_for: head,
            signer: authority,
            whole: Arc::new(whole),
            changes,
            from,
            hint: Mutex::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn change(app: &App, entries: impl IntoIterator<Item = String>) {
        let mut tx = app.store().begin(&App::system()).await.expect("a transaction");
        let changes: Vec<_> = entries
            .into_iter()
            .map(|label| {
                let entry = muster_code_trust::Entry::Root(label.parse().expect("a label"));
                (entry.key(), Some(entry.value()))
            })
            .collect();
        tx.trust_change(&changes, 1).await.expect("changed");
        let draft = muster_store::Draft::new(
            muster_model::audit::Event::SettingChanged,
            "roots",
            serde_json::json!({}),
        );
        tx.commit(draft, 1).await.expect("committed");
    }

    fn root(number: usize) -> String {
        format!("sha256:{}", muster_ids::Digest::of(&number.to_be_bytes()).hex())
    }

    #[tokio::test]
    async fn nodes_get_what_changed_or_the_whole_under_one_signature_until_it_changes() {
        let (app, _folder) = crate::fixture::app().await;
        let node = NodeId::new(1, [1; 10]);
        let ask = async |since| app.trust_state_for_node(node, since).await.expect("a state");
        let (one, other) = tokio::join!(ask(None), ask(None));
        assert!(Arc::ptr_eq(&one, &other), "the whole");
        // Whoever names a state that never was gets the whole, and makes nothing more to keep.
        assert!(Arc::ptr_eq(&one, &ask(Some(u64::MAX)).await));
        let number = app.trust_head_now().await.expect("a head").number;
        let unchanged = ask(Some(number)).await;
        assert_eq!(unchanged.head, one.head, "one signature");
        assert!(unchanged.entries.is_none() && unchanged.changes.as_ref().is_some_and(Vec::is_empty));

        change(&app, [root(0)]).await;
        let newer = ask(Some(number)).await;
        assert_ne!(newer.head, one.head);
        assert_eq!(
            newer.changes.as_ref().map(Vec::len),
            Some(1),
            "what changed since: {newer:?}"
        );
        let again = crate::authority::load(app.store(), app.keys()).await;
        app.replace_authority(again.expect("the same authority"));
        assert_ne!(
            newer.head,
            ask(Some(number)).await.head,
            "another authority signs anew"
        );
    }

    #[tokio::test]
    async fn who_was_told_of_the_same_state_hears_the_same_line() {
        let (app, _folder) = crate::fixture::app().await;
        let node = NodeId::new(1, [1; 10]);
        let hint = async |before, with_changes| {
            let hint = app.trust_hint(node, before, with_changes).await.expect("a hint");
            hint.map(|hint| {
                let message = serde_json::from_slice(&hint.line).expect("a line");
                let ControlMessage::Trust { number, reply } = message else {
                    panic!("{message:?}");
                };
                assert_eq!(number, hint.number);
                (hint, reply.map(|reply| reply.changes.expect("changes").len()))
            })
        };
        change(&app, [root(0)]).await;
        let number = app.trust_head_now().await.expect("a head").number;
        assert!(hint(Some(number), true).await.is_none(), "it knows");
        let (_, unasked) = hint(None, true).await.expect("a number");
        assert_eq!(unasked, None, "what it holds is not known");
        change(&app, [root(1)]).await;
        let (one, changes) = hint(Some(number), true).await.expect("what is new");
        let (other, _) = hint(Some(number), true).await.expect("what is new");
        assert_eq!((one.number, changes), (number + 1, Some(1)));
        assert_eq!(one.line.as_ptr(), other.line.as_ptr(), "made once");
        let (_, older) = hint(Some(number - 1), true).await.expect("what is new");
        assert_eq!(older, Some(2));
        let (_, without) = hint(Some(number), false).await.expect("a number");
        assert_eq!(without, None, "who cannot read changes");
        change(&app, (2..600).map(root)).await;
        let (_, large) = hint(Some(number + 1), true).await.expect("a number");
        assert_eq!(large, None, "so much is fetched");
    }

    #[tokio::test]
    async fn who_is_too_far_behind_gets_the_whole_state_and_never_a_part_of_a_change() {
        let (app, _folder) = crate::fixture::app().await;
        let node = NodeId::new(1, [1; 10]);
        let ask = async |since| {
            app.trust_state_for_node(node, Some(since))
                .await
                .expect("a state")
        };
        let begun = app.trust_head_now().await.expect("a head").number;
        let most = MOST_CHANGES as usize;
        change(&app, (0..2).map(root)).await;
        change(&app, (2..=most).map(root)).await;
        assert!(ask(begun).await.changes.is_none(), "one change too many");
        let rest = ask(begun + 1).await;
        assert_eq!(rest.changes.as_ref().map(Vec::len), Some(most - 1));
        assert_eq!(ask(begun + 2).await.changes.as_deref(), Some([].as_slice()));
    }
}
