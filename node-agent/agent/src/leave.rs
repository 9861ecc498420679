//! Leaves the collective: tells the control plane when it can, then forgets everything that this node knew.
//!
//! Invariant: results that nobody has are not thrown away unless a person insists.

use std::{fs, io, path::PathBuf};

use muster_client::{ClientError, Request};
use muster_daemon::{
    Clock, Random,
    file::{self, FileError},
};
use muster_wire::node::v1::control::LEAVE_PATH;

use crate::{
    config::Config,
    credentials::Credentials,
    home::Home,
    membership::{Membership, MembershipError},
    spool::{Spool, SpoolError},
};

/// Why this node does not leave.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    /// Results would be lost.
    #[error(
        "the results of {0} run(s) of this node are not acknowledged; let muster-node run report them, or, where the node was revoked and nobody takes them any more, throw them away with --force"
    )]
    Spooled(usize),
    /// The spool is unreadable.
    #[error("cannot leave")]
    Spool(#[from] SpoolError),
    /// A file could not be removed.
    #[error("cannot leave")]
    File(#[from] FileError),
    /// A folder could not be removed.
    #[error("cannot leave: {} cannot be removed", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why the control plane does not know.
#[derive(Debug, thiserror::Error)]
pub enum NotTold {
    /// It could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The identity cannot be used.
    #[error(transparent)]
    Membership(#[from] MembershipError),
}

/// Refuses where results would be lost.
pub fn check(home: &Home, force: bool) -> Result<(), LeaveError> {
    let waiting = Spool::open(&home.spool())?.claims().len();
    if waiting > 0 && !force {
        return Err(LeaveError::Spooled(waiting));
    }
    Ok(())
}

/// Tells the control plane; a node that is no member has nothing to tell.
pub async fn tell(
    credentials: Option<&Credentials>,
    config: &Config,
    clock: &Clock,
    random: &Random,
) -> Result<(), NotTold> {
    let Some(membership) = credentials.and_then(|credentials| Membership::of(credentials, config, clock))
    else {
        return Ok(());
    };
    let membership = membership?;
    let start = random.below(membership.back_ends.len());
    let connection = membership
        .transport
        .connect_any(&membership.back_ends, start)
        .await?;
    connection
        .send(Request::post(LEAVE_PATH).json(&serde_json::json!({})))
        .await?;
    Ok(())
}

/// Removes everything, the identity first: what is left behind by a crash is of no use to anybody.
pub fn forget(home: &Home) -> Result<(), LeaveError> {
    for path in [home.identity(), home.trust_state(), home.status(), home.revoked()] {
        file::remove(&path)?;
    }
    for path in [home.spool(), home.runners()] {
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(LeaveError::Folder { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}
