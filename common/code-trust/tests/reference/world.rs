//! Worlds, questions and answers as plain data, and the file of the policy test that they make.

use serde_json::{Value, json};

/// Everything that an answer depends on; times are RFC 3339 in UTC without fractions, so they compare as text.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) groups: Vec<Group>,
    pub(crate) users: Vec<User>,
    pub(crate) any_signature: bool,
    pub(crate) restricted_engines: Vec<&'static str>,
    pub(crate) roots: Vec<&'static str>,
    pub(crate) trust: Vec<Trust>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) revocations: Vec<Revocation>,
    pub(crate) stamps: Vec<Stamp>,
    /// Whether a stamp counts for its own item only.
    pub(crate) same_item: bool,
    pub(crate) now: &'static str,
}

#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) parents: Vec<&'static str>,
    pub(crate) licenses: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) groups: Vec<&'static str>,
    pub(crate) state: &'static str,
}

#[derive(Debug, Clone)]
pub(crate) enum Principal {
    User(&'static str),
    Group(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) enum Target {
    User {
        user: &'static str,
        role: &'static str,
    },
    Certificate {
        issuer: &'static str,
        serial: &'static str,
        role: &'static str,
    },
    Item {
        kind: &'static str,
        hash: &'static str,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Trust {
    pub(crate) principal: Principal,
    pub(crate) target: Target,
    pub(crate) expires: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub(crate) enum Block {
    Item {
        kind: &'static str,
        hash: &'static str,
    },
    User(&'static str),
    Certificate {
        issuer: &'static str,
        serial: &'static str,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Revocation {
    pub(crate) user: &'static str,
    pub(crate) from: &'static str,
    pub(crate) until: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub(crate) library_item: &'static str,
    pub(crate) hash: &'static str,
    pub(crate) author: Option<&'static str>,
    pub(crate) at: Option<&'static str>,
    pub(crate) readable_by: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) user: &'static str,
    pub(crate) client: &'static str,
    pub(crate) item: Item,
    pub(crate) action: &'static str,
}

/// An item; what its kind does not have is not written.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) kind: &'static str,
    pub(crate) hash: &'static str,
    pub(crate) held_by: Option<&'static str>,
    pub(crate) language: &'static str,
    pub(crate) engine: &'static str,
    pub(crate) restricted_mode: bool,
    pub(crate) no_checks: bool,
    pub(crate) trusted_by_user: bool,
    pub(crate) executing_account: &'static str,
    pub(crate) signature: Option<Signature>,
}

#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) signer: Signer,
    pub(crate) tampered: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Signer {
    Vendor,
    User {
        root: &'static str,
        user: &'static str,
        time: &'static str,
    },
    Certificate {
        root: &'static str,
        issuer: &'static str,
        serial: &'static str,
        time: &'static str,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    Allow,
    AllowWithConsent,
    Restricted,
    Prompt(Vec<&'static str>),
    Deny(&'static str),
}

/// The policy test in which each question is expected to have its answer.
pub(crate) fn file(world: &World, cases: &[(Question, Answer)]) -> Value {
    let cases: Vec<Value> = cases
        .iter()
        .enumerate()
        .map(|(number, (question, answer))| {
            json!({"name": format!("case {number}"), "user": question.user, "client": question.client,
                   "item": item(&question.item), "action": question.action, "expect": expect(answer)})
        })
        .collect();
    json!({"world": world_value(world), "cases": cases})
}

fn world_value(world: &World) -> Value {
    let groups: Vec<Value> = (world.groups.iter())
        .map(|group| json!({"name": group.name, "parents": group.parents, "licenses": group.licenses}))
        .collect();
    let users: Vec<Value> = (world.users.iter())
        .map(|user| json!({"name": user.name, "groups": user.groups, "state": user.state}))
        .collect();
    let trust: Vec<Value> = world.trust.iter().map(trust).collect();
    let blocks: Vec<Value> = (world.blocks.iter())
        .map(|block| match block {
            Block::Item { kind, hash } => json!({"item": {"type": kind, "hash": hash}}),
            Block::User(user) => json!({"user": user}),
            Block::Certificate { issuer, serial } => json!({"issuer": issuer, "serial": serial}),
        })
        .collect();
    let revocations: Vec<Value> = (world.revocations.iter())
        .map(|revocation| {
            let mut value = json!({"user": revocation.user, "from": revocation.from});
            if let Some(until) = revocation.until {
                value["until"] = json!(until);
            }
            value
        })
        .collect();
    let stamps: Vec<Value> = (world.stamps.iter()).map(stamp).collect();
    let counts = if world.same_item { "same_item" } else { "readable" };
    json!({
        "settings": {"trust.stamps": counts},
        "groups": groups, "users": users, "roots": world.roots, "trust": trust, "blocks": blocks,
        "revocations": revocations, "stamps": stamps, "now": world.now,
        "preferences": {"require_valid_signature": !world.any_signature,
                        "restricted_engines": world.restricted_engines},
    })
}

fn stamp(stamp: &Stamp) -> Value {
    let mut value =
        json!({"library_item": stamp.library_item, "hash": stamp.hash, "readable_by": stamp.readable_by});
    if let Some(author) = stamp.author {
        value["author"] = json!(author);
    }
    if let Some(at) = stamp.at {
        value["at"] = json!(at);
    }
    value
}

fn trust(entry: &Trust) -> Value {
    let principal = match entry.principal {
        Principal::User(user) => json!({"user": user}),
        Principal::Group(group) => json!({"group": group}),
    };
    let mut value = match entry.target {
        Target::User { user, role } => {
            json!({"principal": principal, "signer": {"user": user, "role": role}})
        }
        Target::Certificate { issuer, serial, role } => {
            json!({"principal": principal, "signer": {"issuer": issuer, "serial": serial, "role": role}})
        }
        Target::Item { kind, hash } => json!({"principal": principal, "item": {"type": kind, "hash": hash}}),
    };
    if let Some(expires) = entry.expires {
        value["expires"] = json!(expires);
    }
    value
}

fn item(item: &Item) -> Value {
    let mut value = json!({"type": item.kind, "hash": item.hash});
    match item.kind {
        "visualization_mod" | "action_mod" | "external_action" => {
            if let Some(signed) = &item.signature {
                value["signature"] = signature(signed);
            }
        }
        "job_script" => value["executing_account"] = json!(item.executing_account),
        kind => {
            value["trusted_by_user"] = json!(item.trusted_by_user);
            if let Some(held_by) = item.held_by {
                value["library_item"] = json!(held_by);
            }
            if kind == "script" {
                value["language"] = json!(item.language);
            }
            if kind == "data_function" {
                value["engine"] = json!(item.engine);
                value["restricted_execution_mode"] = json!(item.restricted_mode);
                value["disable_trust_checks"] = json!(item.no_checks);
            }
        }
    }
    value
}

fn signature(signature: &Signature) -> Value {
    let mut value = match signature.signer {
        Signer::Vendor => json!({"pinned": true}),
        Signer::User { root, user, time } => json!({"root": root, "user": user, "time": time}),
        Signer::Certificate {
            root,
            issuer,
            serial,
            time,
        } => json!({"root": root, "issuer": issuer, "serial": serial, "time": time}),
    };
    if signature.tampered {
        value["tampered"] = json!(true);
    }
    value
}

fn expect(answer: &Answer) -> Value {
    match answer {
        Answer::Allow => json!({"outcome": "allow"}),
        Answer::AllowWithConsent => json!({"outcome": "allow_with_consent"}),
        Answer::Restricted => json!({"outcome": "restricted"}),
        Answer::Prompt(options) => json!({"outcome": "prompt", "options": options}),
        Answer::Deny(reason) => json!({"outcome": "deny", "reason": reason}),
    }
}
