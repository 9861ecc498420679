//! What the jail's process 1 and the engine's library say to each other, on a packet socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::protocol::{Limits, Mode, Programs};

/// The engine's end of the link.
pub(crate) const LINK: i32 = 3;
/// Where the engine finds the control group's counter of memory kills, or `/dev/null`.
pub(crate) const KILLS: i32 = 4;

/// What the lock of a run must know, chosen outside the engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Walls {
    /// The mode of every run of this launcher.
    pub(crate) mode: Mode,
    /// What may be executed; the paths of a list are real ones of the jail.
    pub(crate) programs: Programs,
    /// Landlock ABI of the kernel.
    pub(crate) abi: i32,
    /// Folders and files of the jail that may be read.
    pub(crate) readable: Vec<PathBuf>,
    /// Folders and files of the jail that may be written too, besides the scratch folder.
    pub(crate) writable: Vec<PathBuf>,
}

/// To the engine.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub(crate) enum ToEngine {
    /// Fork; the run's four descriptors travel along, and the gate at which its process 1 waits for its id map.
    Fork {
        limits: Limits,
        /// Whether the limit on memory is the address space of each process.
        address_space: bool,
        walls: Walls,
    },
}

/// From the engine.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub(crate) enum FromEngine {
    /// It has preloaded.
    Ready,
    /// The run's process 1 waits for its id map.
    Cloned { pid: i32 },
    /// It must not or cannot fork.
    Failed { why: String },
}
