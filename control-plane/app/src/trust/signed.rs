//! Answers to nodes that ask for the trust state, signed once for all that ask the same.
//!
//! Invariant: what is kept is of one version and of one authority. Whoever asks for another finds nothing.

use std::{collections::HashMap, sync::Arc};

use muster_store::TrustHead;
use muster_wire::node::v1::trust_state::TrustStateReply;

use crate::authority::Authority;

/// Answers about the trust state that are kept: nodes that are connected hold the last state, or one of the few before.
const MOST_SIGNED: usize = 16;

/// What was signed.
#[derive(Default)]
pub(crate) struct SignedStates {
    made_for: Option<(TrustHead, Arc<Authority>)>,
    /// By the number of the state that a node holds.
    replies: HashMap<Option<u64>, Arc<TrustStateReply>>,
}

impl SignedStates {
    /// The answer to a node that holds the state `since`, if it was made.
    pub(crate) fn of(
        &self,
        head: &TrustHead,
        authority: &Arc<Authority>,
        since: Option<u64>,
    ) -> Option<Arc<TrustStateReply>> {
        let (made_for, signer) = self.made_for.as_ref()?;
        let present = made_for == head && Arc::ptr_eq(signer, authority);
        self.replies.get(&since).filter(|_| present).cloned()
    }

    /// An answer was made.
    pub(crate) fn keep(
        &mut self,
        head: &TrustHead,
        authority: &Arc<Authority>,
        since: Option<u64>,
        reply: &Arc<TrustStateReply>,
    ) {
        let present = (self.made_for.as_ref())
            .is_some_and(|(made_for, signer)| made_for == head && Arc::ptr_eq(signer, authority));
        if !present {
            self.made_for = Some((*head, Arc::clone(authority)));
            self.replies.clear();
        }
        // Whoever is far behind gets the whole state, which is kept once.
        let since = since.filter(|_| reply.entries.is_none());
        if self.replies.len() < MOST_SIGNED || since.is_none() {
            self.replies.insert(since, Arc::clone(reply));
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_ids::NodeId;

    use super::*;
    use crate::App;

    #[tokio::test]
    async fn nodes_that_ask_for_the_same_trust_state_get_one_signature_until_it_changes() {
        let (app, _folder) = crate::fixture::app().await;
        let node = NodeId::new(1, [1; 10]);
        let ask = async |since| app.trust_state_for_node(node, since).await.expect("a state");
        let (one, other) = tokio::join!(ask(None), ask(None));
        assert!(Arc::ptr_eq(&one, &other), "the whole");
        // Whoever names a state that never was gets the whole, and makes nothing more to keep.
        assert!(Arc::ptr_eq(&one, &ask(Some(u64::MAX)).await));
        let number = app.trust_head_now().await.expect("a head").number;
        let changes = ask(Some(number)).await;
        assert!(changes.entries.is_none() && Arc::ptr_eq(&changes, &ask(Some(number)).await));

        let mut tx = app.store().begin(&App::system()).await.expect("a transaction");
        let entry = muster_code_trust::Entry::Root("internal".parse().expect("a label"));
        tx.trust_change(&[(entry.key(), Some(entry.value()))], 1)
            .await
            .expect("changed");
        let draft = muster_store::Draft::new(
            muster_model::audit::Event::SettingChanged,
            "a root",
            serde_json::json!({}),
        );
        tx.commit(draft, 1).await.expect("committed");
        let newer = ask(Some(number)).await;
        assert!(!Arc::ptr_eq(&changes, &newer));
        assert_eq!(
            newer.changes.as_ref().map(Vec::len),
            Some(1),
            "what changed since: {newer:?}"
        );
        let again = crate::authority::load(app.store(), app.keys()).await;
        app.replace_authority(again.expect("the same authority"));
        assert!(
            !Arc::ptr_eq(&newer, &ask(Some(number)).await),
            "another authority signs anew"
        );
    }
}
