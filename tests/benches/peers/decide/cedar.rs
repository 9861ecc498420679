//! The same world and questions in Cedar, in two forms: each entry a policy, and each entry an attribute of the entity
//! that it is about, under a handful of policies.

use std::{collections::BTreeMap, hint::black_box};

use anyhow::{Context as _, ensure};
use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request};
use muster_code_trust::{Outcome, Place, Question, SignatureSource, Subject, TrustState, decide};
use serde_json::{Value, json};

use super::{
    nanoseconds,
    world::{ASKING, GROUPS, Kind, SIGNED_AT, World, group, item, kind, person, signer},
};
use crate::sample::{now_us, number};

/// Questions of one batch: a policy for each entry takes long.
const BY_POLICIES: usize = 512;
const BY_ATTRIBUTES: usize = 4096;

/// The few policies of the second form.
const FEW: &str = r#"
permit (principal, action == Action::"open", resource)
  when { context.signer has trusted_by && principal in context.signer.trusted_by };
permit (principal, action == Action::"open", resource)
  when { resource has trusted_by && resource.trusted_by.contains(principal) };
permit (principal, action == Action::"run", resource) when { resource has stamped };
forbid (principal, action == Action::"open", resource) when { resource has blocked };
forbid (principal, action == Action::"open", resource) when { context.signer has blocked };
forbid (principal, action == Action::"open", resource)
  when { context.signer has revoked_from && context.signed >= context.signer.revoked_from };
"#;

pub(super) struct Peers {
    authorizer: Authorizer,
    requests: Vec<Request>,
    policies: (PolicySet, Entities),
    attributes: (PolicySet, Entities),
}

impl Peers {
    /// Both forms of `world`, once they have answered each question as `state` does.
    pub(super) fn new(world: &World, state: &TrustState) -> anyhow::Result<Self> {
        let many: String = (0..world.size).map(policy).collect();
        let people = people(world);
        let about = entities(world);
        let all: Vec<&Value> = people.iter().chain(&about).collect();
        let peers = Self {
            authorizer: Authorizer::new(),
            requests: world
                .questions()
                .iter()
                .map(request)
                .collect::<anyhow::Result<_>>()?,
            policies: (many.parse()?, Entities::from_json_value(json!(people), None)?),
            attributes: (FEW.parse()?, Entities::from_json_value(json!(all), None)?),
        };
        let settings = state.settings_at(&Place::default());
        for (question, request) in world.questions().iter().zip(&peers.requests) {
            let ours = decide(question, state, &settings).outcome == Outcome::Allow;
            for form in [&peers.policies, &peers.attributes] {
                ensure!(
                    peers.allows(request, form) == ours,
                    "Cedar differs about {question:?}"
                );
            }
        }
        Ok(peers)
    }

    fn allows(&self, request: &Request, (policies, entities): &(PolicySet, Entities)) -> bool {
        let response = self.authorizer.is_authorized(request, policies, entities);
        response.decision() == Decision::Allow
    }

    /// Nanoseconds of one decision where each entry is a policy.
    pub(super) fn by_policies(&self) -> f64 {
        self.batch(&self.policies, BY_POLICIES)
    }

    /// Nanoseconds of one decision where each entry is an attribute.
    pub(super) fn by_attributes(&self) -> f64 {
        self.batch(&self.attributes, BY_ATTRIBUTES)
    }

    fn batch(&self, form: &(PolicySet, Entities), count: usize) -> f64 {
        let began = now_us();
        for request in self.requests.iter().take(count) {
            black_box(self.allows(black_box(request), form));
        }
        nanoseconds(began) / number(count.min(self.requests.len()) as u64)
    }
}

/// The entry of this number as a policy.
fn policy(at: usize) -> String {
    let open = r#"action == Action::"open""#;
    let (signer, item) = (signer(at).key(), item(at));
    match kind(at) {
        Kind::TrustedSigner => format!(
            "permit (principal in Group::{:?}, {open}, resource) when {{ context.signer == User::{signer:?} }};\n",
            group(at % GROUPS).key()
        ),
        Kind::TrustedItem => format!(
            "permit (principal == User::{:?}, {open}, resource == Item::\"{item}\");\n",
            person(at % ASKING).key()
        ),
        Kind::Stamp => {
            format!("permit (principal, action == Action::\"run\", resource == Item::\"{item}\");\n")
        }
        Kind::BlockedItem => format!("forbid (principal, {open}, resource == Item::\"{item}\");\n"),
        Kind::BlockedUser => {
            format!("forbid (principal, {open}, resource) when {{ context.signer == User::{signer:?} }};\n")
        }
        Kind::Revocation => format!(
            "forbid (principal, {open}, resource)
               when {{ context.signer == User::{signer:?} && context.signed >= {SIGNED_AT} }};\n"
        ),
    }
}

fn request(question: &Question<'_>) -> anyhow::Result<Request> {
    let uid = |kind: &str, id: &str| -> anyhow::Result<EntityUid> {
        format!("{kind}::{id:?}")
            .parse()
            .with_context(|| format!("name {id}"))
    };
    let (action, hash, context) = match &question.subject {
        Subject::Signed(signed, _) => {
            let source = signed.signature.as_ref().map(|signature| &signature.source);
            let Some(SignatureSource::User { user, time, .. }) = source else {
                anyhow::bail!("all mods are signed by users");
            };
            let signer = json!({"__entity": {"type": "User", "id": user.key()}});
            let context = json!({"signer": signer, "signed": time.unix_ms()});
            ("open", &signed.hash, Context::from_json_value(context, None)?)
        }
        Subject::Code(code, _) => ("run", &code.hash, Context::empty()),
        Subject::JobScript { .. } => anyhow::bail!("no job is asked about"),
    };
    let hash = hash.as_ref().context("all items have content")?;
    Ok(Request::new(
        uid("User", &question.user.user.key())?,
        uid("Action", action)?,
        uid("Item", hash.as_str())?,
        context,
        None,
    )?)
}

fn reference(kind: &str, id: &str) -> Value {
    json!({"type": kind, "id": id})
}

/// People in their groups, and groups in theirs.
fn people(world: &World) -> Vec<Value> {
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    for question in world.questions() {
        let user = &question.user.user.key();
        let groups: Vec<Value> = question
            .user
            .groups
            .keys()
            .map(|group| reference("Group", group))
            .collect();
        for group in question.user.groups.keys() {
            let entity = json!({"uid": reference("Group", group), "attrs": {}, "parents": []});
            found.insert(format!("group {group}"), entity);
        }
        let entity = json!({"uid": reference("User", user), "attrs": {}, "parents": groups});
        found.insert(format!("user {user}"), entity);
    }
    found.into_values().collect()
}

/// Items and signers, with what the entries say about them.
fn entities(world: &World) -> Vec<Value> {
    let mut found = Vec::new();
    for at in 0..world.size {
        let (signer, item) = (signer(at).key(), item(at).to_string());
        let entity = |kind: &str, id: &str| json!({"__entity": reference(kind, id)});
        let (about, attributes) = match kind(at) {
            Kind::TrustedSigner => {
                let group = group(at % GROUPS).key();
                (
                    reference("User", &signer),
                    json!({"trusted_by": [entity("Group", &group)]}),
                )
            }
            Kind::TrustedItem => {
                let user = person(at % ASKING).key();
                (
                    reference("Item", &item),
                    json!({"trusted_by": [entity("User", &user)]}),
                )
            }
            Kind::Stamp => (reference("Item", &item), json!({"stamped": true})),
            Kind::BlockedItem => (reference("Item", &item), json!({"blocked": true})),
            Kind::BlockedUser => (reference("User", &signer), json!({"blocked": true})),
            Kind::Revocation => (reference("User", &signer), json!({"revoked_from": SIGNED_AT})),
        };
        found.push(json!({"uid": about, "attrs": attributes, "parents": []}));
    }
    found
}
