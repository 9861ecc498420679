//! The documented commands about code trust: entries, blocks, revocations, and what is known.

use std::path::PathBuf;

use clap::Parser;
use muster_client::{ClientError, Request, Rest};
use muster_ids::{Name, UserName};
use muster_wire::{
    admin::v1::{
        function::Function,
        signing::RevokeSigningCertificate,
        trust::{
            Block, CreateBlock, CreateRevocation, Item, Principal, Revocation, Signer, TrustSigner,
            TrustedSigner,
        },
    },
    problem::KIND_PREFIX,
};
use serde::Serialize;

use super::{Common, options, signing};
use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    list::{self, Extent},
    table,
    trust::{self, Target},
};

const SIGNERS: &str = "/api/v1/trust/signers";
const ITEMS: &str = "/api/v1/trust/items";
const BLOCKS: &str = "/api/v1/trust/blocks";
const REVOCATIONS: &str = "/api/v1/trust/revocations";

/// Makes a user or a group trust a signer
#[derive(Debug, Parser)]
#[command(name = "add-code-trust")]
struct AddCodeTrust {
    /// The user that receives the trust
    #[arg(
        short = 'u',
        long,
        conflicts_with = "groupname",
        required_unless_present = "groupname"
    )]
    username: Option<UserName>,
    /// The group that receives the trust
    #[arg(short = 'g', long)]
    groupname: Option<Name>,
    /// The user who signs
    #[arg(long, requires = "trust_user_role")]
    trust_user: Option<UserName>,
    /// developer or configurator
    #[arg(long, requires = "trust_user")]
    trust_user_role: Option<String>,
    /// Type of the items: `visualization_mod`, `action_mod` or `mod` with developer, `external_action` with configurator
    #[arg(long = "type")]
    kind: Option<String>,
    /// Serial number of a certificate that signs
    #[arg(short = 'n', long, requires_all = ["issuer", "certificate_role"])]
    serial_number: Option<String>,
    /// Issuer of the certificate
    #[arg(short = 'i', long, requires = "serial_number")]
    issuer: Option<String>,
    /// developer or configurator
    #[arg(long, requires = "serial_number")]
    certificate_role: Option<String>,
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
        conflicts_with = "groupname",
        required_unless_present = "groupname"
    )]
    username: Option<UserName>,
    /// The group whose trust is withdrawn
    #[arg(short = 'g', long)]
    groupname: Option<Name>,
    /// The user who signs
    #[arg(long, requires = "trusted_user_role")]
    trusted_user: Option<UserName>,
    /// developer or configurator
    #[arg(long, requires = "trusted_user")]
    trusted_user_role: Option<String>,
    /// Hash of a version of an item
    #[arg(short = 'h', long, requires = "kind")]
    hash: Option<String>,
    /// Type of the item: `visualization_mod`, `action_mod`, `external_action`
    #[arg(long = "type", requires = "hash")]
    kind: Option<String>,
    /// Serial number of a certificate that signs
    #[arg(short = 'n', long, requires_all = ["issuer", "certificate_role"])]
    serial_number: Option<String>,
    /// Issuer of the certificate
    #[arg(short = 'i', long, requires = "serial_number")]
    issuer: Option<String>,
    /// developer or configurator
    #[arg(long, requires = "serial_number")]
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
    /// Hash of the version of the item
    #[arg(short = 'h', long, requires = "kind")]
    hash: Option<String>,
    /// Type of the item
    #[arg(long = "type", requires = "hash")]
    kind: Option<String>,
    /// Serial number of the certificate
    #[arg(short = 'n', long, requires = "issuer", conflicts_with = "path")]
    serial_number: Option<String>,
    /// Issuer of the certificate
    #[arg(short = 'i', long, requires = "serial_number", conflicts_with = "path")]
    issuer: Option<String>,
    /// A file with the certificate, PEM or DER
    #[arg(long)]
    path: Option<PathBuf>,
    /// The user whose signatures are refused
    #[arg(short = 'u', long)]
    username: Option<UserName>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    common: Common,
}

/// Makes what a user signed from a date on invalid
#[derive(Debug, Parser)]
#[command(name = "revoke-code-signing-certificate")]
struct RevokeCertificate {
    /// The first day, yyyy-mm-dd, in UTC
    #[arg(short = 's', long)]
    start_date: String,
    /// The user whose certificates they are
    #[arg(
        short = 'u',
        long,
        conflicts_with = "serial_number",
        required_unless_present = "serial_number"
    )]
    username: Option<UserName>,
    /// Serial number of one certificate, hexadecimal
    #[arg(short = 'n', long)]
    serial_number: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Lists the hashes of items that are known here
#[derive(Debug, Parser)]
#[command(name = "list-code-entities")]
struct ListCodeEntities {
    /// Only this hash; may be repeated
    #[arg(short = 'H', long = "hash")]
    hash: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// A line of `list-code-entities`.
#[derive(Serialize)]
struct Entity {
    hash: String,
    r#type: String,
    name: Option<String>,
    /// `library`, `trusted`, `blocked`.
    known: String,
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
    for signer in signers {
        let new = TrustSigner {
            principal: Some(principal(options.username.clone(), options.groupname.clone())),
            signer,
            expires: None,
            reason: None,
        };
        made.extend(so.unless("duplicate", rest.call(Request::post(SIGNERS).json(&new)).await)?);
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
        .map(|signer| (SIGNERS, Target::Signer(signer)));
    let item = options
        .hash
        .zip(options.kind)
        .map(|(hash, kind)| (ITEMS, Target::Item(Item { kind, hash })));
    let targets: Vec<(&str, Target)> = signers.chain(item).collect();
    if targets.is_empty() {
        return Err(Failure::usage(
            "name what is trusted: --trusted-user with --trusted-user-role, -h with --type, or -n, -i and --certificate-role",
        ));
    }
    let principal = principal(options.username, options.groupname);
    let rest = context.rest()?;
    let (mut done, mut so) = (0, SoAlready::default());
    for (path, target) in targets {
        let id = trust::entry_id(&principal, &target)?;
        let answer = rest
            .call::<()>(Request::delete(path).segment(&id.to_string()))
            .await;
        done += usize::from(so.unless("not-found", answer)?.is_some());
    }
    so.all(done)?;
    context.done("It is not trusted any more.")
}

/// `block-code-trust`.
pub(super) async fn block(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<BlockCodeTrust>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let of_file = options.path.as_deref().map(signing::named_by).transpose()?;
    let item = options
        .hash
        .zip(options.kind)
        .map(|(hash, kind)| Item { kind, hash });
    let mut wanted = Vec::new();
    if item.is_some() {
        wanted.push(CreateBlock {
            item,
            ..CreateBlock::default()
        });
    }
    let named = options.issuer.zip(options.serial_number);
    if let Some((issuer, serial)) = named.or(of_file) {
        wanted.push(CreateBlock {
            issuer: Some(issuer),
            serial: Some(serial),
            ..CreateBlock::default()
        });
    }
    if options.username.is_some() {
        wanted.push(CreateBlock {
            user: options.username,
            ..CreateBlock::default()
        });
    }
    if wanted.is_empty() {
        return Err(Failure::usage(
            "name what to block: -h with --type, -n with -i, --path, or -u",
        ));
    }
    let rest = context.rest()?;
    let (mut made, mut so): (Vec<Block>, _) = (Vec::new(), SoAlready::default());
    for new in wanted {
        made.extend(so.unless("duplicate", rest.call(Request::post(BLOCKS).json(&new)).await)?);
    }
    so.all(made.len())?;
    context.show(&made, || "It is blocked for everybody now.".to_owned())
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
            until: None,
            reason: None,
        }),
    };
    let made: Revocation = context.rest()?.call(request).await?;
    context.show(&made, || {
        escaped(&format!(
            "What {} signed from {} on is invalid now.",
            made.user, made.from
        ))
    })
}

/// `list-code-entities [-H HASH]…`.
pub(super) async fn entities(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ListCodeEntities>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let rest = context.rest()?;
    let mut lines = known(&rest).await?;
    if !options.hash.is_empty() {
        lines.retain(|line| options.hash.contains(&line.hash));
    }
    context.show(&lines, || {
        table::rows(
            ["hash", "type", "name", "known"],
            lines.iter().map(|line| {
                let name = table::or_dash(line.name.as_ref());
                [line.hash.clone(), line.r#type.clone(), name, line.known.clone()]
            }),
            "No items are known.",
            context.colour,
        )
    })
}

async fn known(rest: &Rest) -> Result<Vec<Entity>, Failure> {
    let functions: Vec<Function> =
        list::all(rest, || Request::get("/api/v1/functions"), &Extent::default()).await?;
    let (items, blocks) = (trust::items(rest).await?, trust::blocks(rest).await?);
    let of = |item: &Item, known: &str| Entity {
        hash: item.hash.clone(),
        r#type: item.kind.clone(),
        name: None,
        known: known.to_owned(),
    };
    let mut lines: Vec<Entity> = functions
        .into_iter()
        .map(|function| Entity {
            hash: function.digest.to_string(),
            r#type: "data_function".to_owned(),
            name: Some(function.definition.name.to_string()),
            known: "library".to_owned(),
        })
        .collect();
    lines.extend(items.iter().map(|entry| of(&entry.item, "trusted")));
    lines.extend(
        blocks
            .iter()
            .filter_map(|block| block.item.as_ref())
            .map(|item| of(item, "blocked")),
    );
    lines.sort_by(|one, other| {
        (&one.hash, &one.r#type, &one.known).cmp(&(&other.hash, &other.r#type, &other.known))
    });
    lines.dedup_by(|one, other| {
        (&one.hash, &one.r#type, &one.known, &one.name)
            == (&other.hash, &other.r#type, &other.known, &other.name)
    });
    Ok(lines)
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
