//! `muster pool` and `muster site`.

use clap::Subcommand;
use muster_client::Request;
use muster_ids::Name;
use muster_wire::admin::v1::place::{CreatePlace, Place};

use crate::{context::Context, failure::Failure, list, table};

/// A pool or a site: both are treated alike.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Nodes that share work.
    Pool,
    /// Nodes and runs that stay together.
    Site,
}

/// Pools and sites
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List them
    List,
    /// Make one; move nodes there with muster node set
    Create {
        /// Its name
        name: Name,
    },
    /// Delete one in which there are no nodes
    Delete {
        /// Its name
        name: Name,
    },
}

/// Does `command`.
pub(crate) async fn run(context: &Context, kind: Kind, command: Command) -> Result<(), Failure> {
    let (path, word) = match kind {
        Kind::Pool => ("/api/v1/pools", "pool"),
        Kind::Site => ("/api/v1/sites", "site"),
    };
    let rest = context.rest()?;
    match command {
        Command::List => {
            let places: Vec<Place> = list::every(&rest, path).await?;
            context.show(&places, || {
                table::rows(
                    ["name", "nodes", "created"],
                    places.iter().map(|place| {
                        [
                            place.name.to_string(),
                            place.nodes.to_string(),
                            table::time(&place.created),
                        ]
                    }),
                    &format!("No {word}s."),
                    context.colour,
                )
            })
        }
        Command::Create { name } => {
            let place: Place = rest.call(Request::post(path).json(&CreatePlace { name })).await?;
            context.show(&place, || format!("Created the {word} \"{}\".", place.name))
        }
        Command::Delete { name } => {
            rest.call::<()>(Request::delete(path).segment(name.as_str()))
                .await?;
            context.done(&format!("Deleted the {word} \"{name}\"."))
        }
    }
}
