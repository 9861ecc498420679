//! Trust entries as people read them: in the REST API, in sentences and in the audit log.

use muster_code_trust::{Principal, Role, Signer, Target, TrustEntry};
use muster_ids::Digest;
use muster_wire::admin::v1::trust::{
    Decided, Item, Principal as WirePrincipal, Signer as WireSigner, TrustedItem, TrustedSigner,
};

use crate::trust::block;

pub(super) fn principal_text(principal: &Principal) -> String {
    match principal {
        Principal::User(user) => format!("user {user}"),
        Principal::Group(group) => format!("group {group}"),
    }
}

pub(super) fn target_text(target: &Target) -> String {
    match target {
        Target::Item(item) => format!("{} {}", item.r#type, item.hash),
        Target::Signer(signer, role) => format!("{} as {role}", block::subject(&block::of_signer(signer))),
    }
}

fn principal_to_wire(principal: Principal) -> WirePrincipal {
    match principal {
        Principal::User(user) => WirePrincipal {
            user: Some(user),
            group: None,
        },
        Principal::Group(group) => WirePrincipal {
            user: None,
            group: Some(group),
        },
    }
}

/// A signer in a role, as requests name them.
pub(crate) fn named_signer(signer: Signer, role: Role) -> WireSigner {
    let mut wire = WireSigner {
        user: None,
        issuer: None,
        serial: None,
        role: role.to_string(),
    };
    match signer {
        Signer::User(user) => wire.user = Some(user),
        Signer::Certificate(certificate) => {
            wire.issuer = Some(certificate.issuer.to_string());
            wire.serial = Some(certificate.serial.to_string());
        }
    }
    wire
}

pub(super) fn signer_to_wire(id: Digest, entry: TrustEntry, decided: Decided) -> Option<TrustedSigner> {
    let Target::Signer(signer, role) = entry.target else {
        return None;
    };
    Some(TrustedSigner {
        id,
        principal: principal_to_wire(entry.principal),
        signer: named_signer(signer, role),
        expires: entry.expires.map(|expires| expires.to_string()),
        decided,
    })
}

pub(super) fn item_to_wire(id: Digest, entry: TrustEntry, decided: Decided) -> Option<TrustedItem> {
    let Target::Item(item) = entry.target else {
        return None;
    };
    Some(TrustedItem {
        id,
        principal: principal_to_wire(entry.principal),
        item: Item {
            kind: item.r#type.to_string(),
            hash: item.hash.to_string(),
        },
        expires: entry.expires.map(|expires| expires.to_string()),
        decided,
    })
}
