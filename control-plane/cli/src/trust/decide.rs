//! `muster trust add|remove|block|unblock|revoke`.

use muster_client::Request;
use muster_code_trust::MOST_BUNDLE;
use muster_wire::admin::v1::trust::{
    Block as WireBlock, CreateRevocation, Revocation, TrustItem, TrustSigner, TrustedItem, TrustedSigner,
};

use super::{
    Add, Block, Remove, Revoke, Target, Unblock, as_json,
    list::{BLOCKS, ITEMS, REVOCATIONS, SIGNERS, blocked_text, principal_text, signer_text},
    target::{block_id, trust_id},
};
use crate::{context::Context, escape::escaped, failure::Failure, item_file};

/// `muster trust add`.
pub(super) async fn add(context: &Context, arguments: Add) -> Result<(), Failure> {
    let target = arguments.what.target()?;
    let bundle = match (&arguments.signature, &target) {
        (Some(_), Target::Signer(_)) => {
            return Err(Failure::usage(
                "--signature is that of an item; a signer needs none",
            ));
        }
        (Some(path), Target::Item(_)) => Some(as_json(&item_file::bytes(path, MOST_BUNDLE)?)),
        (None, _) => None,
    };
    let rest = context.rest()?;
    let principal = arguments.what.principal();
    let (expires, reason) = (arguments.expires, arguments.reason);
    match target {
        Target::Signer(signer) => {
            let new = TrustSigner {
                principal,
                signer,
                expires,
                reason,
            };
            let made: TrustedSigner = rest.call(Request::post(SIGNERS).json(&new)).await?;
            context.show(&made, || {
                let (who, whom) = (principal_text(&made.principal), signer_text(&made.signer));
                escaped(&format!("{who} trusts {whom} now."))
            })
        }
        Target::Item(item) => {
            let new = TrustItem {
                principal,
                item,
                bundle,
                content: None,
                expires,
                reason,
            };
            let made: TrustedItem = rest.call(Request::post(ITEMS).json(&new)).await?;
            context.show(&made, || {
                let who = principal_text(&made.principal);
                escaped(&format!(
                    "{who} trusts {} {} now.",
                    made.item.kind, made.item.hash
                ))
            })
        }
    }
}

/// `muster trust remove`.
pub(super) async fn remove(context: &Context, arguments: &Remove) -> Result<(), Failure> {
    let target = arguments.what.target()?;
    let rest = context.rest()?;
    let id = trust_id(&rest, arguments.what.principal(), &target).await?;
    let path = match target {
        Target::Signer(_) => SIGNERS,
        Target::Item(_) => ITEMS,
    };
    rest.call::<()>(Request::delete(path).segment(&id.to_string()))
        .await?;
    context.done("It is not trusted any more.")
}

/// `muster trust block`.
pub(super) async fn block(context: &Context, arguments: Block) -> Result<(), Failure> {
    arguments.what.check()?;
    let rest = context.rest()?;
    let new = arguments.what.to_wire(&rest, arguments.reason).await?;
    let made: WireBlock = rest.call(Request::post(BLOCKS).json(&new)).await?;
    context.show(&made, || {
        escaped(&format!("{} is blocked for everybody now.", blocked_text(&made)))
    })
}

/// `muster trust unblock`.
pub(super) async fn unblock(context: &Context, arguments: &Unblock) -> Result<(), Failure> {
    arguments.what.check()?;
    let rest = context.rest()?;
    let id = block_id(&arguments.what.to_wire(&rest, None).await?)?;
    rest.call::<()>(Request::delete(BLOCKS).segment(&id.to_string()))
        .await?;
    context.done("It is not blocked any more.")
}

/// `muster trust revoke`.
pub(super) async fn revoke(context: &Context, arguments: Revoke) -> Result<(), Failure> {
    let rest = context.rest()?;
    let new = CreateRevocation {
        user: arguments.user,
        from: arguments.from,
        until: arguments.until,
        reason: arguments.reason,
    };
    let made: Revocation = rest.call(Request::post(REVOCATIONS).json(&new)).await?;
    context.show(&made, || {
        let until = made
            .until
            .as_ref()
            .map_or_else(String::new, |until| format!(" until {until}"));
        escaped(&format!(
            "What {} signed from {}{until} is invalid now.",
            made.user, made.from
        ))
    })
}
