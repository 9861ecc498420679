//! The rules of trust once more, written from their specification and from nothing else: every answer is found by
//! searching the lists of the world from the front, slowly and plainly.

use crate::world::{
    Answer, Block, Item, Principal, Question, Signature, Signer, Stamp, Target, Trust, World,
};

/// What the rules answer.
pub(crate) fn answer(world: &World, question: &Question) -> Answer {
    match question.item.kind {
        "visualization_mod" | "action_mod" | "external_action" => signed(world, question),
        "script" | "data_function" | "custom_query" => code(world, question),
        "job_script" => job(world, question),
        other => panic!("there are no items of type {other}"),
    }
}

// ---- People.

/// Everybody is in Everyone; who is in a group is in its parents.
fn groups(world: &World, user: &str) -> Vec<&'static str> {
    let mut found = vec!["Everyone"];
    for listed in &world.users {
        if listed.name == user {
            found.extend(&listed.groups);
        }
    }
    loop {
        let mut more = Vec::new();
        for group in &world.groups {
            if found.contains(&group.name) {
                for parent in &group.parents {
                    if !found.contains(parent) {
                        more.push(*parent);
                    }
                }
            }
        }
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// A license feature of the user, in a client that asks the server for it.
fn has(world: &World, question: &Question, feature: &str) -> bool {
    if question.client == "installed_no_server" {
        return true;
    }
    let mine = groups(world, question.user);
    for group in &world.groups {
        if mine.contains(&group.name) && group.licenses.contains(&feature) {
            return true;
        }
    }
    false
}

fn is_installed(client: &str) -> bool {
    client == "installed" || client == "installed_no_server"
}

// ---- Blocks.

fn is_item_blocked(world: &World, item: &Item) -> bool {
    for block in &world.blocks {
        if let Block::Item { kind, hash } = block
            && *kind == item.kind
            && *hash == item.hash
        {
            return true;
        }
    }
    false
}

/// Blocks match the signer that a signature names, valid or not.
fn blocked(world: &World, item: &Item) -> Option<&'static str> {
    if is_item_blocked(world, item) {
        return Some("blocked_item");
    }
    for block in &world.blocks {
        if let (Block::Certificate { issuer, serial }, Some(Signature { signer, .. })) =
            (block, &item.signature)
            && let Signer::Certificate {
                issuer: named,
                serial: number,
                ..
            } = signer
            && issuer == named
            && serial == number
        {
            return Some("blocked_certificate");
        }
    }
    for block in &world.blocks {
        if let (Block::User(user), Some(Signature { signer, .. })) = (block, &item.signature)
            && let Signer::User { user: named, .. } = signer
            && user == named
        {
            return Some("blocked_user");
        }
    }
    None
}

// ---- Signed items.

/// Why the signature does not count, if it does not: modified, chain, user deleted, revoked.
fn fault(world: &World, item: &Item) -> Option<&'static str> {
    let Some(signature) = &item.signature else {
        return Some("unsigned");
    };
    if signature.tampered {
        return Some("invalid_signature_modified");
    }
    match signature.signer {
        Signer::Vendor => None,
        Signer::Certificate { root, .. } => {
            (!world.roots.contains(&root)).then_some("invalid_signature_chain")
        }
        Signer::User { root, user, time } => {
            if !world.roots.contains(&root) {
                return Some("invalid_signature_chain");
            }
            let there = (world.users.iter()).any(|listed| listed.name == user && listed.state != "deleted");
            if !there {
                return Some("invalid_signature_user_deleted");
            }
            for revocation in &world.revocations {
                let begun = revocation.from <= time;
                let ended = revocation.until.is_some_and(|until| until < time);
                if revocation.user == user && begun && !ended {
                    return Some("invalid_signature_revoked");
                }
            }
            None
        }
    }
}

/// Whether an entry is made for this user and still holds.
fn applies(world: &World, user: &str, entry: &Trust) -> bool {
    let for_user = match entry.principal {
        Principal::User(principal) => principal == user,
        Principal::Group(group) => groups(world, user).contains(&group),
    };
    for_user && entry.expires.is_none_or(|expires| world.now < expires)
}

fn is_trusted(world: &World, question: &Question, valid: bool, relaxed: bool) -> bool {
    let item = &question.item;
    let needed = if item.kind == "external_action" {
        "configurator"
    } else {
        "developer"
    };
    if valid && let Some(signature) = &item.signature {
        if let Signer::Vendor = signature.signer {
            return true;
        }
        for entry in &world.trust {
            let names_signer = match (&entry.target, &signature.signer) {
                (Target::User { user, role }, Signer::User { user: signer, .. }) => {
                    user == signer && *role == needed
                }
                (
                    Target::Certificate { issuer, serial, role },
                    Signer::Certificate {
                        issuer: named,
                        serial: number,
                        ..
                    },
                ) => issuer == named && serial == number && *role == needed,
                _ => false,
            };
            if names_signer && applies(world, question.user, entry) {
                return true;
            }
        }
    }
    if valid || relaxed {
        for entry in &world.trust {
            if let Target::Item { kind, hash } = entry.target
                && kind == item.kind
                && hash == item.hash
                && applies(world, question.user, entry)
            {
                return true;
            }
        }
    }
    false
}

fn signed(world: &World, question: &Question) -> Answer {
    let (item, action) = (&question.item, question.action);
    let is_external = item.kind == "external_action";
    let trusting = action == "trust_item" || action == "trust_signer";
    let trust_license = if is_external {
        "Trust External Actions"
    } else {
        "Trust Mods"
    };
    if !trusting {
        let needed = match (item.kind, action) {
            ("external_action", "create") => "Configure External Actions",
            ("external_action", _) => "Use External Actions",
            (_, "create") => "Develop Visualization Mod",
            ("visualization_mod", _) => "Open Visualization Mod from Library",
            (_, _) => "Open Action Mod from Library",
        };
        if !has(world, question, needed) {
            return Answer::Deny("no_license");
        }
        if action == "create" {
            return Answer::Allow;
        }
    }
    let fault = fault(world, item);
    let relaxed = world.any_signature || question.client == "installed_no_server";
    if let Some(reason) = blocked(world, item) {
        return Answer::Deny(reason);
    }
    if trusting {
        if !has(world, question, trust_license) {
            return Answer::Deny("no_trust_permission");
        }
        if let Some(reason) = fault
            && (!relaxed || action == "trust_signer")
        {
            return Answer::Deny(reason);
        }
        return Answer::Allow;
    }
    if is_trusted(world, question, fault.is_none(), relaxed) {
        return if is_external && action == "run" {
            Answer::AllowWithConsent
        } else {
            Answer::Allow
        };
    }
    if question.client == "automation" || question.client == "scheduled_update" {
        return Answer::Deny("non_interactive");
    }
    if let Some(reason) = fault
        && !relaxed
    {
        return Answer::Deny(reason);
    }
    if !has(world, question, trust_license) {
        return Answer::Deny("no_trust_permission");
    }
    if fault.is_none() {
        Answer::Prompt(vec!["item", "signer"])
    } else {
        Answer::Prompt(vec!["item"])
    }
}

// ---- Scripts, data functions and queries.

fn is_stamped(world: &World, question: &Question) -> bool {
    for stamp in &world.stamps {
        if stamp.hash != question.item.hash || !stamp.readable_by.contains(&question.user) {
            continue;
        }
        // Under this setting a stamp is worth nothing elsewhere, nor for what is in no item.
        if world.same_item && question.item.held_by != Some(stamp.library_item) {
            continue;
        }
        if has_word(world, stamp) {
            return true;
        }
    }
    false
}

/// Who is blocked vouches for nothing; who is revoked, with no end to it, for nothing since. A revocation that ends is
/// about signatures and not about stamps. A stamp without a time is older than every revocation.
fn has_word(world: &World, stamp: &Stamp) -> bool {
    let Some(author) = stamp.author else {
        return true;
    };
    for block in &world.blocks {
        if let Block::User(user) = block
            && *user == author
        {
            return false;
        }
    }
    for revocation in &world.revocations {
        if revocation.user == author
            && revocation.until.is_none()
            && let Some(at) = stamp.at
            && revocation.from <= at
        {
            return false;
        }
    }
    true
}

fn code(world: &World, question: &Question) -> Answer {
    let (item, client) = (&question.item, question.client);
    if is_item_blocked(world, item) {
        return Answer::Deny("blocked_item");
    }
    let is_query = item.kind == "custom_query";
    let feature = has(
        world,
        question,
        if is_query {
            "Custom Query in Connections"
        } else {
            "Author Scripts"
        },
    );
    let authors = if is_query {
        "Custom Query Author"
    } else {
        "Script Author"
    };
    let author = groups(world, question.user).contains(&authors);
    let stamped = is_stamped(world, question);
    let own = item.trusted_by_user && is_installed(client) && feature;
    match question.action {
        "create" | "trust_item" => {
            if !is_installed(client) {
                Answer::Deny("web_cannot_trust")
            } else if feature {
                Answer::Allow
            } else {
                Answer::Deny("no_license")
            }
        }
        "save_trusted" => {
            if client == "installed" && feature && author && (own || stamped) {
                Answer::Allow
            } else {
                Answer::Deny("not_script_author")
            }
        }
        _ => {
            let engine = if item.kind == "data_function" {
                item.engine
            } else {
                "none"
            };
            let may_be_restricted = world.restricted_engines.contains(&engine);
            match engine {
                "terr_inline" => Answer::Restricted,
                "terr_service" => {
                    if !item.restricted_mode && (stamped || author || item.no_checks) {
                        Answer::Allow
                    } else {
                        Answer::Restricted
                    }
                }
                "r_service" | "python_service" => {
                    if stamped || author || item.no_checks {
                        Answer::Allow
                    } else if may_be_restricted {
                        Answer::Restricted
                    } else {
                        Answer::Deny("engine_refused")
                    }
                }
                _ => {
                    if stamped || own {
                        Answer::Allow
                    } else if may_be_restricted || engine == "terr_local" {
                        Answer::Restricted
                    } else if is_installed(client) && feature {
                        Answer::Prompt(vec!["item"])
                    } else {
                        Answer::Deny("untrusted")
                    }
                }
            }
        }
    }
}

// ---- Jobs.

fn job(world: &World, question: &Question) -> Answer {
    if is_item_blocked(world, &question.item) {
        return Answer::Deny("blocked_item");
    }
    let is_author = |user| groups(world, user).contains(&"Script Author");
    if is_author(question.user) && is_author(question.item.executing_account) {
        Answer::Allow
    } else {
        Answer::Deny("not_script_author")
    }
}
