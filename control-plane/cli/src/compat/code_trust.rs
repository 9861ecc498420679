//! The documented commands about code trust: entries, blocks, revocations, and what is known.

use std::path::PathBuf;

use clap::{Args, Parser};
use muster_client::{ClientError, Request, Rest};
use muster_code_trust::Moment;
use muster_daemon::clock::parse_rfc3339;
use muster_ids::{Name, UserName};
use muster_wire::{
    admin::v1::{
        signing::RevokeSigningCertificate,
        trust::{
            Block, CreateBlock, CreateRevocation, Item, Principal, Revocation, Signer, TrustSigner,
            TrustedSigner,
        },
    },
    problem::KIND_PREFIX,
};

use super::{
    Common,
    group::{local, user},
    options, signing,
};
use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    trust::{self, Target, parsed},
};

const SIGNERS: &str = "/api/v1/trust/signers";
const ITEMS: &str = "/api/v1/trust/items";
const BLOCKS: &str = "/api/v1/trust/blocks";
const REVOCATIONS: &str = "/api/v1/trust/revocations";

/// The roles in which somebody signs.
const ROLES: [&str; 2] = ["developer", "configurator"];
/// Types of items that are trusted by hash.
const SIGNED: [&str; 4] = ["visualization_mod", "action_mod", "external_action", MOD];
/// Types of items that are blocked.
const BLOCKED: [&str; 8] = [
    "visualization_mod",
    "action_mod",
    "external_action",
    "script",
    "data_function",
    "custom_query",
    "job_script",
    MOD,
];
/// The one type that mods had in older releases.
const MOD: &str = "mod";

/// A number as certificates have it.
fn hexadecimal(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("a serial number is hexadecimal, for example 0a1b");
    }
    Ok(text.to_owned())
}

/// A day.
fn day(text: &str) -> Result<String, &'static str> {
    let is_day = text.len() == 10 && parse_rfc3339(&format!("{text}T00:00:00Z")).is_ok();
    if is_day {
        Ok(text.to_owned())
    } else {
        Err("a day is written yyyy-mm-dd, for example 2026-11-22")
    }
}

/// Makes a user or a group trust a signer
#[derive(Debug, Parser)]
#[command(name = "add-code-trust")]
struct AddCodeTrust {
    /// The user that receives the trust
    #[arg(
        short = 'u',
        long,
        value_parser = user,
        conflicts_with = "groupname",
        required_unless_present = "groupname"
    )]
    username: Option<UserName>,
    /// The group that receives the trust
    #[arg(short = 'g', long, value_parser = local)]
    groupname: Option<Name>,
    /// The user who signs
    #[arg(long, value_parser = user, requires = "trust_user_role")]
    trust_user: Option<UserName>,
    /// Its role
    #[arg(long, requires = "trust_user", value_parser = ROLES)]
    trust_user_role: Option<String>,
    /// Type of the items: `visualization_mod`, `action_mod` or `mod` with developer, `external_action` with configurator
    #[arg(long = "type")]
    kind: Option<String>,
    /// Serial number of a certificate that signs
    #[arg(short = 'n', long, requires_all = ["issuer", "certificate_role"], value_parser = hexadecimal)]
    serial_number: Option<String>,
    /// Issuer of the certificate
    #[arg(short = 'i', long, requires = "serial_number")]
    issuer: Option<String>,
    /// Its role
    #[arg(long, requires = "serial_number", value_parser = ROLES)]
    certificate_role: Option<String>,
    /// The moment from which the trust no longer counts; not in the original [default: it does not end]
    #[arg(long, value_name = "RFC3339", value_parser = parsed::<Moment>)]
    expires: Option<String>,
    /// For those who read the list, one line; not in the original
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Withdraws such trust, or that in a version of an item
#[derive(Debug, Parser)]
#[command(name = "remove-code-trust", disable_help_flag = true)]
struct RemoveCodeTrust {
    /// The user whose trust is withdrawn
    #[arg(
        short = 'u',
        long,
        value_parser = user,
        conflicts_with = "groupname",
        required_unless_present = "groupname"
    )]
    username: Option<UserName>,
    /// The group whose trust is withdrawn
    #[arg(short = 'g', long, value_parser = local)]
    groupname: Option<Name>,
    /// The user who signs
    #[arg(long, value_parser = user, requires = "trusted_user_role")]
    trusted_user: Option<UserName>,
    /// Its role
    #[arg(long, requires = "trusted_user", value_parser = ROLES)]
    trusted_user_role: Option<String>,
    /// Hash of a version of an item
    #[arg(short = 'h', long, requires = "kind")]
    hash: Option<String>,
    /// Type of the item; `mod` is a mod of either type, as older releases name it
    #[arg(long = "type", requires = "hash", value_parser = SIGNED)]
    kind: Option<String>,
    /// Serial number of a certificate that signs
    #[arg(short = 'n', long, requires_all = ["issuer", "certificate_role"], value_parser = hexadecimal)]
    serial_number: Option<String>,
    /// Issuer of the certificate
    #[arg(short = 'i', long, requires = "serial_number")]
    issuer: Option<String>,
    /// Its role
    #[arg(long, requires = "serial_number", value_parser = ROLES)]
    certificate_role: Option<String>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    common: Common,
}

/// Refuses a version of an item, or everything of a certificate or a user, for everybody
#[derive(Debug, Parser)]
#[command(name = "block-code-trust", disable_help_flag = true)]
struct BlockCodeTrust {
    #[command(flatten)]
    what: Blocked,
    /// For those who read the list, one line; not in the original
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Lifts such a block; not in the original
#[derive(Debug, Parser)]
#[command(name = "unblock-code-trust", disable_help_flag = true)]
struct UnblockCodeTrust {
    #[command(flatten)]
    what: Blocked,
    #[command(flatten)]
    common: Common,
}

/// What is blocked, or no longer: each that is named.
#[derive(Debug, Args)]
struct Blocked {
    /// Hash of the version of the item
    #[arg(short = 'h', long, requires = "kind")]
    hash: Option<String>,
    /// Type of the item; `mod` is a mod of either type, as older releases name it
    #[arg(long = "type", requires = "hash", value_parser = BLOCKED)]
    kind: Option<String>,
    /// Serial number of the certificate
    #[arg(short = 'n', long, requires = "issuer", conflicts_with = "path", value_parser = hexadecimal)]
    serial_number: Option<String>,
    /// Issuer of the certificate
    #[arg(short = 'i', long, requires = "serial_number", conflicts_with = "path")]
    issuer: Option<String>,
    /// A file with the certificate, PEM or DER
    #[arg(long)]
    path: Option<PathBuf>,
    /// The user whose signatures are refused
    #[arg(short = 'u', long, value_parser = user)]
    username: Option<UserName>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Makes what a user signed from a date on invalid
#[derive(Debug, Parser)]
#[command(name = "revoke-code-signing-certificate")]
struct RevokeCertificate {
    /// The first day, yyyy-mm-dd, in UTC
    #[arg(short = 's', long, value_parser = day)]
    start_date: String,
    /// The user whose certificates they are
    #[arg(
        short = 'u',
        long,
        value_parser = user,
        conflicts_with = "serial_number",
        required_unless_present = "serial_number"
    )]
    username: Option<UserName>,
    /// Serial number of one certificate, hexadecimal
    #[arg(short = 'n', long, value_parser = hexadecimal)]
    serial_number: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// What was so already among the targets of one command: it keeps none of the others from being reached, so that a command
/// that failed half-way can be given again.
#[derive(Default)]
struct SoAlready(Option<Failure>);

impl SoAlready {
    /// The answer about one target; nothing where it was refused as of this `kind`.
    fn unless<T>(&mut self, kind: &str, answer: Result<T, ClientError>) -> Result<Option<T>, Failure> {
        match answer {
            Ok(done) => Ok(Some(done)),
            Err(error) => {
                let so = matches!(&error, ClientError::Refused { problem, .. }
                    if problem.kind.strip_prefix(KIND_PREFIX) == Some(kind));
                let failure = Failure::from(error);
                if !so {
                    return Err(failure);
                }
                self.0 = Some(failure);
                Ok(None)
            }
        }
    }

    /// Fails where nothing was left to be done.
    fn all(self, done: usize) -> Result<(), Failure> {
        self.0.filter(|_| done == 0).map_or(Ok(()), Err)
    }
}

/// `add-code-trust`.
pub(super) async fn add(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<AddCodeTrust>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let user = options.trust_user.map(|user| Signer {
        user: Some(user),
        issuer: None,
        serial: None,
        role: options.trust_user_role.unwrap_or_default(),
    });
    let certificate = certificate(options.issuer, options.serial_number, options.certificate_role);
    let signers: Vec<Signer> = user.into_iter().chain(certificate).collect();
    if signers.is_empty() {
        return Err(Failure::usage(
            "name a signer: --trust-user with --trust-user-role, or -n, -i and --certificate-role",
        ));
    }
    let both_kinds = match &options.kind {
        Some(kind) => check_kind(kind, &signers)?,
        None => false,
    };
    let rest = context.rest()?;
    let (mut made, mut so): (Vec<TrustedSigner>, _) = (Vec::new(), SoAlready::default());
    let mut done = Vec::new();
    for signer in signers {
        let new = TrustSigner {
            principal: Some(principal(options.username.clone(), options.groupname.clone())),
            signer,
            expires: options.expires.clone(),
            reason: options.reason.clone(),
        };
        let name = of_signer(&new.signer);
        match so.unless("duplicate", rest.call(Request::post(SIGNERS).json(&new)).await) {
            Ok(answer) => {
                done.extend(answer.is_some().then_some(name));
                made.extend(answer);
            }
            Err(failure) => return Err(stopped(&done, "trusted", failure)),
        }
    }
    so.all(made.len())?;
    context.show(&made, || {
        let scope = if both_kinds {
            "\nThe role developer is for visualization mods and action mods alike: --type does not make it narrower."
        } else {
            ""
        };
        format!("The signer is trusted now.{scope}")
    })
}

/// Trust in a signer is for a role, and each type of item has one role: a type that says something else than the roles is
/// refused. Whether the role is for more than that type.
fn check_kind(kind: &str, signers: &[Signer]) -> Result<bool, Failure> {
    let role = match kind {
        "visualization_mod" | "action_mod" | "mod" => "developer",
        "external_action" => "configurator",
        other => {
            return Err(Failure::usage(format!(
                "{other:?} is no type of items that signers are trusted for; it is one of visualization_mod, action_mod, \
                 mod, external_action"
            )));
        }
    };
    match signers.iter().find(|signer| signer.role != role) {
        Some(signer) => Err(Failure::usage(format!(
            "--type {kind} contradicts the role {:?}: items of this type are signed in the role {role}",
            signer.role
        ))),
        None => Ok(matches!(kind, "visualization_mod" | "action_mod")),
    }
}

/// `remove-code-trust`.
pub(super) async fn remove(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<RemoveCodeTrust>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let user = options.trusted_user.map(|user| Signer {
        user: Some(user),
        issuer: None,
        serial: None,
        role: options.trusted_user_role.unwrap_or_default(),
    });
    let certificate = certificate(options.issuer, options.serial_number, options.certificate_role);
    let signers = user
        .into_iter()
        .chain(certificate)
        .map(|signer| (of_signer(&signer), SIGNERS, vec![Target::Signer(signer)]));
    let item = options.hash.zip(options.kind).map(|(hash, kind)| {
        let name = format!("{kind} {hash}");
        (name, ITEMS, items(kind, hash).map(Target::Item).collect())
    });
    let targets: Vec<(String, &str, Vec<Target>)> = signers.chain(item).collect();
    if targets.is_empty() {
        return Err(Failure::usage(
            "name what is trusted: --trusted-user with --trusted-user-role, -h with --type, or -n, -i and --certificate-role",
        ));
    }
    let principal = principal(options.username, options.groupname);
    let mut named = Vec::new();
    for (name, path, alternatives) in targets {
        let mut requests = Vec::new();
        for target in alternatives {
            let id = trust::entry_id(&principal, &target)?;
            requests.push(Request::delete(path).segment(&id.to_string()));
        }
        named.push((name, requests));
    }
    let Withdrawn { done, missing } = withdraw(&context.rest()?, named, "withdrawn").await?;
    if missing.is_empty() {
        return context.done(&escaped(&format!("Not trusted any more: {}.", done.join(", "))));
    }
    Err(Failure::failed(
        "not-found",
        format!(
            "there is no trust in {}, so nothing was withdrawn there; not trusted any more: {}",
            missing.join(", "),
            done.join(", ")
        ),
    ))
}

/// Of what one command names that which is gone now, and that which was not there.
struct Withdrawn {
    done: Vec<String>,
    missing: Vec<String>,
}

/// Takes away what is named, each by the one or more requests that it can be; fails where nothing of it was there.
async fn withdraw(rest: &Rest, named: Vec<(String, Vec<Request>)>, what: &str) -> Result<Withdrawn, Failure> {
    let (mut done, mut missing, mut so) = (Vec::new(), Vec::new(), SoAlready::default());
    for (name, requests) in named {
        let mut found = false;
        for request in requests {
            match so.unless("not-found", rest.call::<()>(request).await) {
                Ok(gone) => found |= gone.is_some(),
                Err(failure) => return Err(stopped(&done, what, failure)),
            }
        }
        if found {
            done.push(name);
        } else {
            missing.push(name);
        }
    }
    so.all(done.len())?;
    Ok(Withdrawn { done, missing })
}

/// `block-code-trust`.
pub(super) async fn block(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<BlockCodeTrust>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let wanted = options
        .what
        .named("block")?
        .into_iter()
        .flat_map(|(_, blocks)| blocks);
    let rest = context.rest()?;
    let (mut made, mut so): (Vec<Block>, _) = (Vec::new(), SoAlready::default());
    let mut done = Vec::new();
    for block in wanted {
        let new = CreateBlock {
            reason: options.reason.clone(),
            ..block
        };
        match so.unless("duplicate", rest.call(Request::post(BLOCKS).json(&new)).await) {
            Ok(answer) => {
                done.extend(answer.is_some().then(|| of_block(&new)));
                made.extend(answer);
            }
            Err(failure) => return Err(stopped(&done, "blocked", failure)),
        }
    }
    so.all(made.len())?;
    context.show(&made, || "It is blocked for everybody now.".to_owned())
}

/// `unblock-code-trust`.
pub(super) async fn unblock(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<UnblockCodeTrust>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let mut named = Vec::new();
    for (name, blocks) in options.what.named("unblock")? {
        let mut requests = Vec::new();
        for block in blocks {
            let id = trust::block_id(&block)?;
            requests.push(Request::delete(BLOCKS).segment(&id.to_string()));
        }
        named.push((name, requests));
    }
    let Withdrawn { done, missing } = withdraw(&context.rest()?, named, "unblocked").await?;
    if missing.is_empty() {
        return context.done(&escaped(&format!("Not blocked any more: {}.", done.join(", "))));
    }
    Err(Failure::failed(
        "not-found",
        format!(
            "there is no block of {}, so nothing was lifted there; not blocked any more: {}",
            missing.join(", "),
            done.join(", ")
        ),
    ))
}

impl Blocked {
    /// What is named, for people, with the blocks that each of it can be.
    fn named(self, verb: &str) -> Result<Vec<(String, Vec<CreateBlock>)>, Failure> {
        let of_file = self.path.as_deref().map(signing::named_by).transpose()?;
        let mut named = Vec::new();
        if let Some((hash, kind)) = self.hash.zip(self.kind) {
            let name = format!("{kind} {hash}");
            let blocks = items(kind, hash).map(|item| CreateBlock {
                item: Some(item),
                ..CreateBlock::default()
            });
            named.push((name, blocks.collect()));
        }
        let mut one = |block: CreateBlock| named.push((of_block(&block), vec![block]));
        if let Some((issuer, serial)) = self.issuer.zip(self.serial_number).or(of_file) {
            one(CreateBlock {
                issuer: Some(issuer),
                serial: Some(serial),
                ..CreateBlock::default()
            });
        }
        if self.username.is_some() {
            one(CreateBlock {
                user: self.username,
                ..CreateBlock::default()
            });
        }
        if named.is_empty() {
            return Err(Failure::usage(format!(
                "name what to {verb}: -h with --type, -n with -i, --path, or -u"
            )));
        }
        Ok(named)
    }
}

/// `revoke-code-signing-certificate`.
pub(super) async fn revoke(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<RevokeCertificate>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let from = format!("{}T00:00:00Z", options.start_date);
    let request = match &options.serial_number {
        Some(serial) => Request::post("/api/v1/trust/certificates")
            .segment(serial)
            .segment("revoke")
            .json(&RevokeSigningCertificate { from, reason: None }),
        None => Request::post(REVOCATIONS).json(&CreateRevocation {
            user: options.username,
            from,
            // Documented so. `muster trust revoke` has no end where none is named.
            until: Some("now".to_owned()),
            reason: None,
        }),
    };
    let made: Revocation = context.rest()?.call(request).await?;
    context.show(&made, || {
        escaped(&format!(
            "What {} signed from {} until now is invalid.",
            made.user, made.from
        ))
    })
}

/// The items that a hash of this type can be.
fn items(kind: String, hash: String) -> impl Iterator<Item = Item> {
    let kinds = if kind == MOD {
        vec!["visualization_mod".to_owned(), "action_mod".to_owned()]
    } else {
        vec![kind]
    };
    kinds.into_iter().map(move |kind| Item {
        kind,
        hash: hash.clone(),
    })
}

/// Why a command that names several things stopped, and what it had done before.
fn stopped(done: &[String], what: &str, why: Failure) -> Failure {
    if done.is_empty() {
        return why;
    }
    let before = done.join(", ");
    Failure::failed(
        "incomplete",
        format!("{}; {what} before that: {before}", why.sentence()),
    )
}

fn of_signer(signer: &Signer) -> String {
    let whom = match &signer.user {
        Some(user) => format!("user {user}"),
        None => format!(
            "certificate {} of {}",
            signer.serial.as_deref().unwrap_or_default(),
            signer.issuer.as_deref().unwrap_or_default()
        ),
    };
    format!("{whom} as {}", signer.role)
}

fn of_block(block: &CreateBlock) -> String {
    match (&block.item, &block.user) {
        (Some(item), _) => format!("{} {}", item.kind, item.hash),
        (None, Some(user)) => format!("user {user}"),
        (None, None) => format!(
            "certificate {} of {}",
            block.serial.as_deref().unwrap_or_default(),
            block.issuer.as_deref().unwrap_or_default()
        ),
    }
}

fn certificate(issuer: Option<String>, serial: Option<String>, role: Option<String>) -> Option<Signer> {
    serial.as_ref()?;
    Some(Signer {
        user: None,
        issuer,
        serial,
        role: role.unwrap_or_default(),
    })
}

fn principal(user: Option<UserName>, group: Option<Name>) -> Principal {
    Principal { user, group }
}

#[cfg(test)]
mod tests {
    use muster_wire::problem::Problem;

    use super::*;

    fn refused(kind: &str) -> Result<(), ClientError> {
        let problem = Problem {
            kind: format!("{KIND_PREFIX}{kind}"),
            title: kind.to_owned(),
            status: 409,
            detail: kind.to_owned(),
            instance: None,
        };
        Err(ClientError::Refused {
            request: String::new(),
            problem: Box::new(problem),
            retry_after: None,
        })
    }

    #[test]
    fn what_is_so_already_keeps_no_other_target_from_being_reached() {
        let mut so = SoAlready::default();
        assert!(matches!(so.unless("duplicate", refused("duplicate")), Ok(None)));
        assert!(matches!(so.unless("duplicate", Ok(())), Ok(Some(()))));
        assert!(so.unless("duplicate", refused("not-allowed")).is_err());
        assert!(so.all(1).is_ok());
        let mut all = SoAlready::default();
        assert!(all.unless("duplicate", refused("duplicate")).is_ok());
        assert!(all.all(0).is_err(), "nothing was left to be done");
    }
}
