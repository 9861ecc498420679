//! What the jail of this node is worth, asked before any run needs it.

use std::collections::BTreeMap;

use muster_sandbox::protocol::{Mode, Network, Programs, Start};

use crate::{EnginesConfig, Standing, launcher::Launcher};

/// Has a launcher build a jail, attack it, and end; no engine is started. An error is one sentence.
pub async fn look(config: &EnginesConfig) -> Result<Standing, String> {
    let nothing = Start {
        command: Vec::new(),
        environment: BTreeMap::new(),
        mode: Mode::Restricted,
        network: Network::None,
        programs: Programs::None,
        mounts: Vec::new(),
        ids: config.ids,
        limits: config.services.r.limits,
    };
    let launcher = Launcher::start(&config.jail, nothing, None, std::sync::Arc::default()).await?;
    Ok(launcher.standing())
}
