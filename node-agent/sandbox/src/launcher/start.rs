//! What the agent may ask a launcher for.

use std::path::{Component, Path};

use super::ids;
use crate::{
    failure::Failure,
    protocol::{JAILS_OWN, Mode, Network, Programs, Start},
};

/// Refuses what no jail can be built from, or what would be none.
pub(super) fn check(start: &Start) -> Result<(), Failure> {
    let refuse = |why: String| Err(Failure::Rule(why));
    if start
        .command
        .first()
        .is_some_and(|program| !program.starts_with('/'))
    {
        return refuse("the engine's command must begin with an absolute path".to_owned());
    }
    match start.ids {
        Some(range) => ids::check(range)?,
        None if rustix::process::geteuid().is_root() => {
            return refuse(
                "a launcher that runs as root needs a range of user ids, or runs would be root; \
                 set jail.id_first in node.toml, or run the agent as another user"
                    .to_owned(),
            );
        }
        None => {}
    }
    if start.mode == Mode::Restricted && start.network != Network::None {
        return refuse("restricted runs have no network".to_owned());
    }
    if start.mode == Mode::Restricted && start.programs != Programs::None {
        return refuse("restricted runs start no programs".to_owned());
    }
    for mount in &start.mounts {
        if mount.writable && start.mode == Mode::Restricted {
            return refuse(format!(
                "{} cannot be writable: runs are restricted",
                mount.target.display()
            ));
        }
        if !plain(&mount.source) || !plain(&mount.target) {
            return refuse(format!("{} is not a plain absolute path", mount.source.display()));
        }
        if mount.target == Path::new("/") || JAILS_OWN.iter().any(|ours| mount.target.starts_with(ours)) {
            return refuse(format!(
                "nothing can be mounted at {} in a jail",
                mount.target.display()
            ));
        }
    }
    Ok(())
}

fn plain(path: &Path) -> bool {
    path.is_absolute()
        && path
            .components()
            .skip(1)
            .all(|component| matches!(component, Component::Normal(_)))
        && !path.as_os_str().as_encoded_bytes().contains(&0)
}
