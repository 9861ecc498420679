//! `muster ca`: the certificate authority of the collective.

use clap::Subcommand;
use muster_client::Request;
use muster_wire::admin::v1::authority::Authority;

use crate::{context::Context, escape::escaped_lines, failure::Failure, table};

/// The certificate authority of the collective
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show fingerprints, which nodes and people pin, and the roots
    #[command(after_help = "Example:\n  muster ca show --pem > ca.pem")]
    Show {
        /// Only the root certificates, in PEM
        #[arg(long)]
        pem: bool,
    },
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let Command::Show { pem } = command;
    let authority: Authority = context.rest()?.call(Request::get("/api/v1/authority")).await?;
    context.show(&authority, || {
        if pem {
            return escaped_lines(authority.roots_pem.trim_end());
        }
        table::fields(
            [
                ("Collective", authority.collective.clone()),
                ("Root fingerprints", authority.root_fingerprints.join("\n")),
                ("Intermediate ends", table::time(&authority.intermediate_expires)),
            ],
            context.colour,
        )
    })
}
