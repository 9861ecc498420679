//! What would happen if the script of a job ran.

use muster_code_trust::{Client, CodeAction, ItemHash, ItemType, Moment, Question, Subject, decide};
use muster_ids::LibraryItemId;
use muster_model::{library::Kind, permission::Caller};
use muster_store::LibraryItem;
use muster_wire::admin::v1::trust::{ExplainQuery, Explanation};

use crate::{
    App, Error,
    session::caller_of,
    signing::{Doing, field},
    trust::{not_readable, why},
};

/// The script of a job.
pub(super) struct AskedJob {
    item: LibraryItemId,
    hash: ItemHash,
}

impl App {
    /// The version of an item that has this hash, the current one where there is none, if it is the script of a job.
    pub(super) async fn job_script_in(
        &self,
        item: &LibraryItem,
        hash: Option<&str>,
    ) -> Result<Option<AskedJob>, Error> {
        let Some(digest) = hash.or(item.current.as_deref()) else {
            return Ok(None);
        };
        if item.kind != Kind::JobScript || self.store().library_version(item.id, digest).await?.is_none() {
            return Ok(None);
        }
        let hash = digest.parse().map_err(Error::bug)?;
        Ok(Some(AskedJob { item: item.id, hash }))
    }

    /// The explanation of a run of the script in a job of a user.
    pub(super) async fn explain_job(
        &self,
        caller: &Caller,
        asked: AskedJob,
        query: &ExplainQuery,
        author: &Doing,
    ) -> Result<Explanation, Error> {
        if query.node.is_some() {
            return Err(Error::invalid(
                "whether the script of a job runs depends on its people and on no node; leave the field node away",
            ));
        }
        if query.client.is_some() && author.client != Client::Automation {
            return Err(Error::invalid(
                "the scripts of jobs run in the client automation only",
            ));
        }
        if field("action", query.action.as_deref())?
            .is_some_and(|action: CodeAction| action != CodeAction::Run)
        {
            return Err(Error::invalid(
                "what is asked about the script of a job is what happens if it runs",
            ));
        }
        let executing = match &query.executing {
            Some(name) => self.doing(caller, (Some(name), None)).await?.facts,
            None => author.facts.clone(),
        };
        let reader = caller_of(author.user, &author.facts);
        let user = author.facts.user.clone();
        let state = self.trust_state().await?;
        let settings = state.settings_at(&self.default_place().await?);
        let question = Question {
            user: &author.facts,
            client: Client::Automation,
            subject: Subject::JobScript {
                hash: Some(asked.hash.clone()),
                executing: Box::new(executing),
            },
            now: Moment::from_unix_ms(self.now()),
        };
        let verdict = if self.right_to(&reader, asked.item).await?.is_some() {
            decide(&question, &state, &settings).verdict()
        } else {
            not_readable(&user, "item")
        };
        Ok(Explanation {
            function: None,
            item: asked.item,
            kind: ItemType::JobScript.to_string(),
            digest: asked.hash.to_string(),
            user,
            client: question.client.to_string(),
            action: CodeAction::Run.to_string(),
            node: "any".to_owned(),
            outcome: verdict.outcome.word().to_owned(),
            mode: verdict.outcome.mode().map(|mode| mode.to_string()),
            signed: None,
            why: why(&verdict),
        })
    }
}
