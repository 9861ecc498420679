//! Blocks and trust entries as they are written: the fields of the documented policy format.

use muster_ids::UserName;
use serde::{Deserialize, Serialize};

use super::{Block, Certificate, ItemRef, Principal, Role, SignedRef, Signer, Target, TrustEntry};
use crate::{Label, Moment, Serial};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    item: Option<ItemRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<UserName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    serial: Option<Serial>,
}

impl TryFrom<BlockForm> for Block {
    type Error = &'static str;
    fn try_from(form: BlockForm) -> Result<Self, Self::Error> {
        match form {
            BlockForm {
                item: Some(item),
                user: None,
                issuer: None,
                serial: None,
            } => Ok(Self::Item(item)),
            BlockForm {
                item: None,
                user: Some(user),
                issuer: None,
                serial: None,
            } => Ok(Self::User(user)),
            BlockForm {
                item: None,
                user: None,
                issuer: Some(issuer),
                serial: Some(serial),
            } => Ok(Self::Certificate(Certificate { issuer, serial })),
            _ => Err("a block names exactly one: an item, a user, or an issuer with a serial"),
        }
    }
}

impl From<Block> for BlockForm {
    fn from(block: Block) -> Self {
        let none = Self {
            item: None,
            user: None,
            issuer: None,
            serial: None,
        };
        match block {
            Block::Item(item) => Self {
                item: Some(item),
                ..none
            },
            Block::User(user) => Self {
                user: Some(user),
                ..none
            },
            Block::Certificate(Certificate { issuer, serial }) => Self {
                issuer: Some(issuer),
                serial: Some(serial),
                ..none
            },
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignerForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<UserName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    serial: Option<Serial>,
    role: Role,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrustForm {
    principal: Principal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signer: Option<SignerForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    item: Option<SignedRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Moment>,
}

impl TryFrom<TrustForm> for TrustEntry {
    type Error = &'static str;
    fn try_from(form: TrustForm) -> Result<Self, Self::Error> {
        let target = match (form.signer, form.item) {
            (None, Some(item)) => Target::Item(item),
            (
                Some(SignerForm {
                    user: Some(user),
                    issuer: None,
                    serial: None,
                    role,
                }),
                None,
            ) => Target::Signer(Signer::User(user), role),
            (
                Some(SignerForm {
                    user: None,
                    issuer: Some(issuer),
                    serial: Some(serial),
                    role,
                }),
                None,
            ) => Target::Signer(Signer::Certificate(Certificate { issuer, serial }), role),
            (Some(_), None) => return Err("a signer is named by a user, or by an issuer with a serial"),
            _ => return Err("a trust entry names exactly one: a signer or an item"),
        };
        Ok(Self {
            principal: form.principal,
            target,
            expires: form.expires,
        })
    }
}

impl From<TrustEntry> for TrustForm {
    fn from(entry: TrustEntry) -> Self {
        let (signer, item) = match entry.target {
            Target::Item(item) => (None, Some(item)),
            Target::Signer(Signer::User(user), role) => (
                Some(SignerForm {
                    user: Some(user),
                    issuer: None,
                    serial: None,
                    role,
                }),
                None,
            ),
            Target::Signer(Signer::Certificate(Certificate { issuer, serial }), role) => (
                Some(SignerForm {
                    user: None,
                    issuer: Some(issuer),
                    serial: Some(serial),
                    role,
                }),
                None,
            ),
        };
        Self {
            principal: entry.principal,
            signer,
            item,
            expires: entry.expires,
        }
    }
}
