//! `muster audit`: the audit log.

use clap::Subcommand;
use muster_client::Request;
use muster_wire::admin::v1::audit::{AuditRow, AuditVerification};

use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    list::{self, Extent},
    table,
};

/// The audit log
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List what was done, by whom and on what
    List(Extent),
    /// Check that no row was changed, removed or added
    Verify,
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let rest = context.rest()?;
    match command {
        Command::List(extent) => {
            let rows: Vec<AuditRow> = list::all(&rest, || Request::get("/api/v1/audit"), &extent).await?;
            context.show(&rows, || {
                table::rows(
                    ["time", "actor", "event", "subject", "detail"],
                    rows.iter().map(|row| {
                        [
                            table::time(&row.time),
                            row.actor.clone(),
                            row.event.clone(),
                            row.subject.clone(),
                            if row.detail.is_null() {
                                table::dash()
                            } else {
                                row.detail.to_string()
                            },
                        ]
                    }),
                    "The audit log is empty.",
                    context.colour,
                )
            })
        }
        Command::Verify => {
            let verification: AuditVerification = rest.call(Request::get("/api/v1/audit/verify")).await?;
            context.show(&verification, || match &verification.broken {
                None => format!("All {} rows hold.", verification.rows),
                Some(broken) => format!("The audit log does not hold: {}", escaped(broken)),
            })?;
            if verification.broken.is_none() {
                Ok(())
            } else {
                Err(Failure::Said)
            }
        }
    }
}
