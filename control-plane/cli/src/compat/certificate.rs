//! The documented commands about the internal certificate authority.

use clap::Parser;

use super::{Common, options};
use crate::{certificate, context::Context, failure::Failure, list::Extent};

/// Lists the certificates of the internal CA; all of them unless options choose
#[derive(Debug, Parser)]
#[command(name = "list-certificates")]
#[expect(clippy::struct_excessive_bools, reason = "the documented options are flags")]
struct ListCertificates {
    /// Valid ones
    #[arg(short = 'v', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    valid: bool,
    /// Expired ones
    #[arg(short = 'e', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    expired: bool,
    /// Revoked ones
    #[arg(short = 'r', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    revoked: bool,
    /// Pending ones: join requests that wait for approval
    #[arg(short = 'p', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pending: bool,
    #[command(flatten)]
    common: Common,
}

/// Revokes every certificate of the internal CA: all nodes must be trusted anew
#[derive(Debug, Parser)]
#[command(name = "reset-trust")]
struct ResetTrust {
    /// Delete the certificates instead of only revoking them
    #[arg(short = 'd', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    delete: bool,
    /// Do not ask
    #[arg(short = 'f', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// `list-certificates [-v] [-e] [-r] [-p]`.
pub(super) async fn list(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ListCertificates>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let chosen = [
        ("valid", options.valid),
        ("expired", options.expired),
        ("revoked", options.revoked),
        ("pending", options.pending),
    ];
    let all = chosen.iter().all(|(_, chosen)| !chosen);
    let rest = context.rest()?;
    let mut certificates = Vec::new();
    for (state, chosen) in chosen {
        if all || chosen {
            certificates.extend(certificate::listed(&rest, (Some(state), None), &Extent::default()).await?);
        }
    }
    context.show(&certificates, || certificate::rows(&certificates, context.colour))
}

/// `reset-trust [-d] [-f]`.
pub(super) async fn reset(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ResetTrust>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let rest = context.rest()?;
    certificate::reset(context, &rest, options.delete, (options.force, "give -f")).await
}
