//! `muster cert`: certificates that the collective issued.

use clap::Subcommand;
use muster_client::Request;
use muster_wire::admin::v1::authority::Certificate;

use crate::{context::Context, failure::Failure, table};

/// Certificates that the collective issued
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List certificates
    List,
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let Command::List = command;
    let certificates: Vec<Certificate> = context.rest()?.call(Request::get("/api/v1/certificates")).await?;
    context.show(&certificates, || {
        table::rows(
            ["serial", "purpose", "subject", "state", "from", "until"],
            certificates.iter().map(|certificate| {
                [
                    certificate.serial.clone(),
                    certificate.purpose.clone(),
                    certificate.subject.clone(),
                    certificate.state.clone(),
                    table::time(&certificate.not_before),
                    table::time(&certificate.not_after),
                ]
            }),
            "No certificates.",
            context.colour,
        )
    })
}
