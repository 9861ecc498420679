//! The trust state as it is signed for nodes: once for each state, whoever asks and from whichever state they come.
//!
//! Invariant: what is kept is of one state and of one authority. Nothing that a node asks with makes more work than
//! copying what it gets, so none can delay the others by its questions.

use std::sync::Arc;

use muster_code_trust::TrustState;
use muster_pki::PayloadType;
use muster_store::TrustHead;
use muster_wire::node::v1::trust_state::{TrustChange, TrustHead as WireHead, TrustStateReply};

use super::version;
use crate::{App, Error, authority::Authority};

/// Changes sent at most; a node further behind gets the whole state.
const MOST_CHANGES: u32 = 1000;

/// A state, signed, with its last changes.
pub(crate) struct SignedState {
    made_for: TrustHead,
    signer: Arc<Authority>,
    whole: Arc<TrustStateReply>,
    changes: Vec<TrustChange>,
    /// The oldest state from which `changes` lead here.
    from: u64,
}

impl SignedState {
    /// Whether it is of this authority, and of this state or a later one.
    pub(super) fn serves(&self, head: &TrustHead, authority: &Arc<Authority>) -> bool {
        let made_for = &self.made_for;
        let later = (made_for.incarnation, made_for.epoch) == (head.incarnation, head.epoch)
            && made_for.number > head.number;
        (made_for == head || later) && Arc::ptr_eq(&self.signer, authority)
    }

    /// What a node gets that holds the state `since`, or none that counts.
    pub(super) fn reply(&self, since: Option<u64>) -> Arc<TrustStateReply> {
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
}

impl App {
    /// The state that the database holds, signed by `authority`.
    pub(super) async fn sign_trust_state(&self, authority: Arc<Authority>) -> Result<SignedState, Error> {
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
        })
    }
}

#[cfg(test)]
mod tests {
    use muster_ids::NodeId;

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
