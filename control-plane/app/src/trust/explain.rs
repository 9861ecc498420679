//! What would happen if somebody ran something of the library now, and why.

use muster_code_trust::{
    Client, Code, CodeAction, CodeKind, CodeType, Engine, ItemHash, Language, Moment, Place, Question,
    Subject, TrustState, UserFacts, Verdict, decide,
};
use muster_ids::{Digest, FunctionId, LibraryItemId, Name, UserId};
use muster_model::{library::Kind, permission::Caller};
use muster_wire::admin::v1::trust::{ExplainQuery, Explanation};

use super::{not_readable, why};
use crate::{
    App, Error,
    function::item_hash,
    library::person,
    session::caller_of,
    signing::{Doing, field},
};

mod job;
mod signed;

use job::AskedJob;
use signed::AskedSigned;

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

/// What a question is about.
enum Asked {
    /// Something that runs.
    Code(AskedCode),
    /// The script of a job.
    Job(AskedJob),
    /// A mod or an external action.
    Signed(AskedSigned),
}

/// Code that would run.
struct AskedCode {
    function: Option<Name>,
    item: LibraryItemId,
    /// Whose content it is; an analysis may name another item.
    held_by: LibraryItemId,
    kind: CodeKind,
    hash: ItemHash,
}

impl App {
    /// What would happen if a user ran a function, or code in an item, or opened a mod of the library, now, and why.
    pub async fn explain(&self, caller: &Caller, query: &ExplainQuery) -> Result<Explanation, Error> {
        let mut doing = self
            .doing(caller, (query.user.as_ref(), query.client.as_deref()))
            .await?;
        let action = query.action.as_deref();
        let asked = match self.asked(caller, query).await? {
            asked if query.executing.is_some() && !matches!(asked, Asked::Job(_)) => {
                return Err(Error::invalid(
                    "the field executing is for the scripts of jobs; whose run it is says the field user",
                ));
            }
            Asked::Signed(asked) => {
                doing.action = field("action", action)?;
                return self.explain_signed(asked, query, &doing).await;
            }
            Asked::Job(asked) => return self.explain_job(caller, asked, query, &doing).await,
            Asked::Code(asked) => asked,
        };
        let action = field("action", action)?.unwrap_or(CodeAction::Run);
        let Doing {
            user, facts, client, ..
        } = doing;
        let name = facts.user.clone();
        let reader = caller_of(user, &facts);
        let reads = self.right_to(&reader, asked.item).await?.is_some()
            && self.right_to(&reader, asked.held_by).await?.is_some();
        let state = self.trust_state().await?;
        let (place, node) = match &query.node {
            Some(name) => {
                let node = self.node_named(name.as_str()).await?;
                let name = node.name.to_string();
                (self.place(&node).await?, name)
            }
            None => (self.default_place().await?, "any".to_owned()),
        };
        let hash = asked.hash.to_string();
        // A data function runs as the item that it is; what clients run is a part of the item that names it.
        let item = match asked.kind {
            CodeKind::DataFunction(_) => asked.held_by,
            _ => asked.item,
        };
        let content = (asked.kind, asked.hash, Some(item));
        let Judged { verdict, .. } = self
            .judge_code((user, facts), content, action, &state, &place, client)
            .await?;
        let verdict = if reads {
            verdict
        } else {
            not_readable(&name, what(asked.kind.code_type()))
        };
        Ok(Explanation {
            function: asked.function,
            item: asked.item,
            kind: asked.kind.code_type().to_string(),
            digest: hash,
            user: name,
            client: client.to_string(),
            action: action.to_string(),
            node,
            outcome: verdict.outcome.word().to_owned(),
            mode: (action == CodeAction::Run)
                .then(|| verdict.outcome.mode())
                .flatten()
                .map(|mode| mode.to_string()),
            signed: None,
            why: why(&verdict),
        })
    }

    /// What a question is about, which who asks can read.
    async fn asked(&self, caller: &Caller, query: &ExplainQuery) -> Result<Asked, Error> {
        match (&query.function, &query.item, &query.hash) {
            (Some(function), None, None) => {
                let current = self.function_for(caller, function).await?;
                let language: Language = current.definition.language.parse().map_err(Error::bug)?;
                Ok(Asked::Code(AskedCode {
                    function: Some(current.function.name),
                    item: current.function.id.into(),
                    held_by: current.function.id.into(),
                    kind: CodeKind::DataFunction(language.service()),
                    hash: item_hash(&current.function.current)?,
                }))
            }
            (None, Some(item), hash) => {
                let reader = person(caller)?;
                let item = self.library_item_for(reader, item).await?;
                if let Some(job) = self.job_script_in(&item, hash.as_deref()).await? {
                    return Ok(Asked::Job(job));
                }
                let signed = self.signed_in(reader, &item, hash.as_deref()).await?;
                let mut codes = self.code_in(reader, &item).await?;
                codes.retain(|code| hash.as_ref().is_none_or(|hash| code.hash.as_str() == hash));
                // What is in the item itself is read by whoever reads the item.
                codes.sort_by_key(|code| code.held_by == item.id);
                let several = || {
                    Error::invalid(format!(
                        "\"{}\" holds several parts; name one by its hash",
                        item.name
                    ))
                };
                let only = match (codes.pop(), signed) {
                    (Some(code), None) => code,
                    (None, Some(signed)) => return Ok(Asked::Signed(signed?)),
                    (Some(_), Some(_)) => return Err(several()),
                    (None, None) => {
                        return Err(Error::invalid(format!(
                            "\"{}\" holds no such script, data function, custom query, job script, mod or external action now; \
                             muster library code and versions show what it holds",
                            item.name
                        )));
                    }
                };
                if codes.iter().any(|code| code.hash != only.hash) {
                    return Err(several());
                }
                let function = (item.kind == Kind::DataFunction).then_some(item.name);
                Ok(Asked::Code(AskedCode {
                    function,
                    item: item.id,
                    held_by: only.held_by,
                    kind: only.kind,
                    hash: only.hash,
                }))
            }
            _ => Err(Error::invalid(
                "name a function, or an item of the library and where it holds several parts the hash of one",
            )),
        }
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
        let item = function.map(LibraryItemId::from);
        let content = (CodeKind::DataFunction(engine), item_hash(digest)?, item);
        self.judge_code((user, facts), content, CodeAction::Run, state, place, client)
            .await
    }

    async fn judge_code(
        &self,
        (user, facts): (UserId, UserFacts),
        (kind, hash, item): (CodeKind, ItemHash, Option<LibraryItemId>),
        action: CodeAction,
        state: &TrustState,
        place: &Place,
        client: Client,
    ) -> Result<Judged, Error> {
        let reader = caller_of(user, &facts);
        let stamps = self
            .readable_stamps(&reader, state, (kind.code_type(), &hash), item)
            .await?;
        let facts = facts.reading(stamps);
        let library_item = match item {
            Some(item) => Some(item.to_string().parse().map_err(Error::bug)?),
            None => None,
        };
        let code = Code {
            kind,
            hash: Some(hash),
            library_item,
            trusted_by_user: false,
        };
        let question = Question {
            user: &facts,
            client,
            subject: Subject::Code(code, action),
            now: Moment::from_unix_ms(self.now()),
        };
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
}

/// What people call code of this type.
fn what(code: CodeType) -> &'static str {
    match code {
        CodeType::DataFunction => "function",
        CodeType::Script => "script",
        CodeType::CustomQuery => "custom query",
    }
}

#[cfg(test)]
mod tests;
