//! What decisions about trust are about, as options name it.

use clap::Args;
use muster_client::{Request, Rest};
use muster_code_trust::{Block, Entry, ItemType, Serial, SignedKind, TrustEntry};
use muster_ids::{Digest, Name, UserName};
use muster_wire::admin::v1::{
    function::Function,
    session::WhoAmI,
    trust::{CreateBlock, Item, Principal, Signer},
};
use serde_json::json;

use super::{one_of, parsed};
use crate::failure::Failure;

/// What is blocked: exactly one.
#[derive(Debug, Args)]
pub(crate) struct Blocked {
    /// The present version of this function
    #[arg(long, value_name = "NAME")]
    function: Option<Name>,
    /// Type of the item
    #[arg(long = "type", value_name = "TYPE", requires = "hash", value_parser = one_of(ItemType::ALL.iter().map(|kind| kind.as_str())))]
    kind: Option<String>,
    /// Hash of the version of the item; of functions their digest
    #[arg(long, requires = "kind")]
    hash: Option<String>,
    /// Everything that this user signed
    #[arg(long, value_name = "NAME@DOMAIN")]
    user: Option<UserName>,
    /// Authority of a certificate, as its name stands in the certificate
    #[arg(long, requires = "serial")]
    issuer: Option<String>,
    /// Serial number of the certificate, hexadecimal
    #[arg(long, requires = "issuer", value_parser = parsed::<Serial>)]
    serial: Option<String>,
}

impl Blocked {
    /// As the REST API takes it.
    pub(super) async fn to_wire(&self, rest: &Rest, reason: Option<String>) -> Result<CreateBlock, Failure> {
        let item = match (&self.function, &self.kind, &self.hash) {
            (Some(function), ..) => {
                let request = Request::get("/api/v1/functions").segment(function.as_str());
                let function: Function = rest.call(request).await?;
                Some(Item {
                    kind: "data_function".to_owned(),
                    hash: function.digest.to_string(),
                })
            }
            (None, Some(kind), Some(hash)) => Some(item(kind, hash)),
            _ => None,
        };
        Ok(CreateBlock {
            item,
            user: self.user.clone(),
            issuer: self.issuer.clone(),
            serial: self.serial.clone(),
            reason,
        })
    }

    /// Whether it names exactly one thing.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let named = [
            self.function.is_some(),
            self.kind.is_some(),
            self.user.is_some(),
            self.issuer.is_some(),
        ];
        one(
            &named,
            "--function, --type with --hash, --user, or --issuer with --serial",
        )
    }
}

/// How the REST API calls the block of this.
pub(crate) fn block_id(new: &CreateBlock) -> Result<Digest, Failure> {
    let form = json!({ "item": new.item, "user": new.user, "issuer": new.issuer, "serial": new.serial });
    let block: Block = serde_json::from_value(form).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Entry::Block(block).id())
}

/// Whose trust it is, and in what.
#[derive(Debug, Args)]
pub(crate) struct Trusted {
    /// The user whose trust it is [default: yourself]
    #[arg(long, value_name = "NAME@DOMAIN", conflicts_with = "group")]
    user: Option<UserName>,
    /// The group whose trust it is
    #[arg(long)]
    group: Option<Name>,
    /// The signer that is trusted, in a role
    #[arg(long, value_name = "NAME@DOMAIN", requires = "role")]
    signer: Option<UserName>,
    /// Role of the signer or certificate: developer (of mods) or configurator (of external actions)
    #[arg(long, value_parser = ["developer", "configurator"])]
    role: Option<String>,
    /// Authority of the certificate that is trusted, in a role
    #[arg(long, requires_all = ["serial", "role"])]
    issuer: Option<String>,
    /// Serial number of the certificate, hexadecimal
    #[arg(long, requires = "issuer", value_parser = parsed::<Serial>)]
    serial: Option<String>,
    /// Type of the item that is trusted
    #[arg(long = "type", value_name = "TYPE", requires = "hash", value_parser = one_of(SignedKind::ALL.iter().map(|kind| kind.as_str())))]
    kind: Option<String>,
    /// Hash of the version of the item that is trusted
    #[arg(long, requires = "kind")]
    hash: Option<String>,
}

/// What is trusted.
pub(crate) enum Target {
    Signer(Signer),
    Item(Item),
}

impl Trusted {
    pub(super) fn target(&self) -> Result<Target, Failure> {
        let named = [self.signer.is_some(), self.issuer.is_some(), self.kind.is_some()];
        one(&named, "--signer, --issuer with --serial, or --type with --hash")?;
        if let (Some(kind), Some(hash)) = (&self.kind, &self.hash) {
            if self.role.is_some() {
                return Err(Failure::usage("--role belongs to a signer, and an item has none"));
            }
            return Ok(Target::Item(item(kind, hash)));
        }
        Ok(Target::Signer(Signer {
            user: self.signer.clone(),
            issuer: self.issuer.clone(),
            serial: self.serial.clone(),
            role: self.role.clone().unwrap_or_default(),
        }))
    }

    /// The principal that was named; none for the caller.
    pub(super) fn principal(&self) -> Option<Principal> {
        (self.user.is_some() || self.group.is_some()).then(|| Principal {
            user: self.user.clone(),
            group: self.group.clone(),
        })
    }
}

/// How the REST API calls the trust of `principal`, or else of the caller, in `target`.
pub(super) async fn trust_id(
    rest: &Rest,
    principal: Option<Principal>,
    target: &Target,
) -> Result<Digest, Failure> {
    if let Some(principal) = principal {
        return entry_id(&principal, target);
    }
    let me: WhoAmI = rest.call(Request::get("/api/v1/sessions/current")).await?;
    let own = Principal {
        user: Some(me.user),
        group: None,
    };
    entry_id(&own, target)
}

/// How the REST API calls the trust of `principal` in `target`.
pub(crate) fn entry_id(principal: &Principal, target: &Target) -> Result<Digest, Failure> {
    let mut form = json!({ "principal": principal });
    match target {
        Target::Signer(signer) => form["signer"] = json!(signer),
        Target::Item(item) => form["item"] = json!(item),
    }
    let entry: TrustEntry =
        serde_json::from_value(form).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Entry::Trust(entry).id())
}

fn item(kind: &str, hash: &str) -> Item {
    Item {
        kind: kind.to_owned(),
        hash: hash.to_owned(),
    }
}

fn one(named: &[bool], choice: &str) -> Result<(), Failure> {
    if named.iter().filter(|named| **named).count() == 1 {
        return Ok(());
    }
    Err(Failure::usage(format!("name exactly one: {choice}")))
}
