//! A case of a policy test as a question. Fields and actions that do not belong to the item's type are refused here.

use super::{
    form::{ActionWord, CaseForm, ItemForm, SignatureForm},
    world::World,
};
use crate::{
    Certificate, Client, Code, CodeAction, CodeKind, ItemType, Moment, Origin, Question, Setting, Settings,
    Signature, SignatureSource, Signed, SignedAction, SignedKind, Subject, UserFacts,
};

/// A question that owns its user, with the settings of its place.
pub(super) struct Asked {
    facts: UserFacts,
    client: Client,
    subject: Subject,
    now: Moment,
    pub(super) settings: Settings,
}

impl Asked {
    pub(super) fn question(&self) -> Question<'_> {
        Question {
            user: &self.facts,
            client: self.client,
            subject: self.subject.clone(),
            now: self.now,
        }
    }
}

/// The question of `case` in `world`, or why it is none.
pub(super) fn ask(case: &CaseForm, world: &World) -> Result<Asked, String> {
    let item = &case.item;
    for (field, given, types) in belonging(item) {
        if given && !types.contains(&item.r#type) {
            return Err(format!(
                "item.{field} does not belong to the type {}",
                item.r#type
            ));
        }
    }
    let mut settings = world.settings();
    if let Some(value) = item.restricted_execution_mode {
        settings.set(Setting::TerrRestrictedExecutionMode(value), Origin::Given);
    }
    if let Some(value) = item.disable_trust_checks {
        settings.set(Setting::DisableTrustChecks(value), Origin::Given);
    }
    let subject = match item.r#type {
        ItemType::Script => {
            let language = item
                .language
                .ok_or("item.language is missing; it is ironpython or javascript")?;
            code(item, CodeKind::Script(language), case.action)?
        }
        ItemType::DataFunction => {
            let engine = item
                .engine
                .ok_or("item.engine is missing; it is for example terr_service")?;
            code(item, CodeKind::DataFunction(engine), case.action)?
        }
        ItemType::CustomQuery => code(item, CodeKind::CustomQuery, case.action)?,
        ItemType::JobScript => {
            let account = item
                .executing_account
                .as_ref()
                .ok_or("item.executing_account is missing")?;
            if case.action != ActionWord::Run {
                return Err(no_such_pair(item.r#type, case.action));
            }
            Subject::JobScript {
                hash: item.hash.clone(),
                executing: Box::new(world.facts(account)),
            }
        }
        ItemType::VisualizationMod => signed(item, SignedKind::VisualizationMod, case.action, world)?,
        ItemType::ActionMod => signed(item, SignedKind::ActionMod, case.action, world)?,
        ItemType::ExternalAction => signed(item, SignedKind::ExternalAction, case.action, world)?,
    };
    Ok(Asked {
        facts: world.facts(&case.user),
        client: case.client,
        subject,
        now: world.now(),
        settings,
    })
}

/// The optional fields of an item: name, whether it is given, and the types that it belongs to.
fn belonging(item: &ItemForm) -> [(&'static str, bool, &'static [ItemType]); 8] {
    use ItemType::{
        ActionMod, CustomQuery, DataFunction, ExternalAction, JobScript, Script, VisualizationMod,
    };
    [
        ("language", item.language.is_some(), &[Script]),
        ("engine", item.engine.is_some(), &[DataFunction]),
        (
            "library_item",
            item.library_item.is_some(),
            &[Script, DataFunction, CustomQuery],
        ),
        (
            "restricted_execution_mode",
            item.restricted_execution_mode.is_some(),
            &[DataFunction],
        ),
        (
            "disable_trust_checks",
            item.disable_trust_checks.is_some(),
            &[DataFunction],
        ),
        (
            "executing_account",
            item.executing_account.is_some(),
            &[JobScript],
        ),
        (
            "trusted_by_user",
            item.trusted_by_user.is_some(),
            &[Script, DataFunction, CustomQuery],
        ),
        (
            "signature",
            item.signature.is_some(),
            &[VisualizationMod, ActionMod, ExternalAction],
        ),
    ]
}

fn code(item: &ItemForm, kind: CodeKind, action: ActionWord) -> Result<Subject, String> {
    let action = match action {
        ActionWord::Create => CodeAction::Create,
        ActionWord::TrustItem => CodeAction::TrustItem,
        ActionWord::SaveTrusted => CodeAction::SaveTrusted,
        ActionWord::Run => CodeAction::Run,
        ActionWord::Open | ActionWord::Add | ActionWord::TrustSigner => {
            return Err(no_such_pair(item.r#type, action));
        }
    };
    let trusted_by_user = item.trusted_by_user.unwrap_or(false);
    Ok(Subject::Code(
        Code {
            kind,
            hash: item.hash.clone(),
            library_item: item.library_item.clone(),
            trusted_by_user,
        },
        action,
    ))
}

fn signed(item: &ItemForm, kind: SignedKind, action: ActionWord, world: &World) -> Result<Subject, String> {
    let action = match action {
        ActionWord::Open => SignedAction::Open,
        ActionWord::Add => SignedAction::Add,
        ActionWord::Run => SignedAction::Run,
        ActionWord::Create => SignedAction::Create,
        ActionWord::TrustItem => SignedAction::TrustItem,
        ActionWord::TrustSigner => SignedAction::TrustSigner,
        ActionWord::SaveTrusted => return Err(no_such_pair(item.r#type, action)),
    };
    let signature = item
        .signature
        .as_ref()
        .map(|form| signature(form, world))
        .transpose()?;
    Ok(Subject::Signed(
        Signed {
            kind,
            hash: item.hash.clone(),
            signature,
        },
        action,
    ))
}

fn signature(form: &SignatureForm, world: &World) -> Result<Signature, String> {
    let SignatureForm {
        root,
        user,
        issuer,
        serial,
        time,
        pinned,
        tampered,
    } = form;
    let source = match (root, user, issuer, serial, time, pinned.unwrap_or(false)) {
        (None, None, None, None, None, true) => SignatureSource::Vendor,
        (Some(root), Some(user), None, None, Some(time), false) => SignatureSource::User {
            root: root.clone(),
            user: user.clone(),
            state: world.signer_state(user),
            certificate: None,
            time: *time,
        },
        (Some(root), None, Some(issuer), Some(serial), Some(time), false) => SignatureSource::External {
            root: root.clone(),
            certificate: Certificate {
                issuer: issuer.clone(),
                serial: serial.clone(),
            },
            time: *time,
        },
        _ => {
            return Err(
                "item.signature is one of: root, user, time; root, issuer, serial, time; pinned: true \
                        (each with or without tampered)"
                    .to_owned(),
            );
        }
    };
    Ok(Signature {
        source,
        tampered: tampered.unwrap_or(false),
        authorities: Vec::new(),
    })
}

fn no_such_pair(r#type: ItemType, action: ActionWord) -> String {
    let actions = match r#type {
        ItemType::Script | ItemType::DataFunction | ItemType::CustomQuery => {
            "create, trust_item, save_trusted, run"
        }
        ItemType::JobScript => "run",
        ItemType::VisualizationMod | ItemType::ActionMod | ItemType::ExternalAction => {
            "open, add, run, create, trust_item, trust_signer"
        }
    };
    format!("the action {action} does not exist for the type {type}; these do: {actions}")
}
