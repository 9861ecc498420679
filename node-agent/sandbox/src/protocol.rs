//! What agent, launcher, supervisor and payload say to each other.
//!
//! Three channels, all Unix sockets that the agent made:
//! * the *connection* (`SOCK_SEQPACKET`, the launcher's standard input): one JSON message a packet.
//!   The agent sends [`ToLauncher`], the launcher answers [`FromLauncher`]. A run's four descriptors travel
//!   beside [`ToLauncher::Run`] in the order of [`RUN_DESCRIPTORS`].
//! * the *supervisor* socket of a run (`SOCK_STREAM`): frames of [`Supervised`] from the run's pid 1, which the
//!   payload cannot reach; bytes of an output follow its frame.
//! * the *control* socket of a run (`SOCK_STREAM`): the agent sends one [`Stage`] frame and the files' bytes;
//!   the payload answers with frames of [`Report`]. Whatever a payload writes there concerns its own run only.
//!   The stage may come long after the fork: a payload that is locked waits for it, and no clock of a run goes yet.
//!   A payload whose stage says that it stays waits for another one when its run has succeeded. The agent then tells the
//!   supervisor, in frames of [`ToSupervisor`] on that socket: to send the outputs, and when the next run begins.
//!
//! A frame is a length (four bytes, big-endian, at most [`MAX_FRAME`]) and that many bytes of JSON.
//! The agent ends a run by closing the supervisor socket: pid 1 then exits and the kernel kills the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

/// The longest frame, in bytes; a run's script is inside one.
pub const MAX_FRAME: u32 = 16 * 1024 * 1024;

/// The descriptors that travel with [`ToLauncher::Run`], in this order.
pub const RUN_DESCRIPTORS: [&str; 4] = ["control", "supervisor", "stdout", "stderr"];

/// Folders that a jail makes itself; nothing of the host can be shown there or below.
pub const JAILS_OWN: [&str; 6] = ["/proc", "/dev", "/scratch", "/tmp", "/sys", "/old"];

/// Where the runs of [`Network::Brokered`] find the broker: the customary port of a proxy, in a network of their own.
pub const DOOR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 3128);

/// How much a run may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Untrusted code: no files but its own, no network, no programs.
    Restricted,
    /// Trusted code: the administrator's files, network and programs; nothing of the agent or of other runs.
    Unrestricted,
}

/// What network a run sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// An empty network namespace.
    None,
    /// A network namespace with nothing but a loopback, on which the agent's broker is found at [`DOOR`]
    /// (unrestricted mode only).
    Brokered,
    /// The host's network (unrestricted mode only).
    Host,
}

/// Which programs an unrestricted run may start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Programs {
    /// Whatever the jail shows.
    #[default]
    All,
    /// None; restricted runs never have any.
    None,
    /// These files, and programs below these folders; absolute paths.
    Listed(BTreeSet<PathBuf>),
}

/// A folder or file of the host that is shown inside the jail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path in the jail.
    pub target: PathBuf,
    /// Whether the run may write there (unrestricted mode only).
    pub writable: bool,
    /// Whether a policy asks for it, and not the engine. Then `source` has no link in it, and where the policy does not
    /// allow all programs, what lies there is data.
    #[serde(default)]
    pub by_policy: bool,
}

/// Host user ids that the jail may use: the engine runs as the first, runs as the following ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdRange {
    /// First host id.
    pub first: u32,
    /// How many; at least 2.
    pub count: u32,
}

/// What one run may use at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory of the whole run in bytes; the address space of each process where no control group can be had.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u32,
    /// Open descriptors of one process.
    pub open_files: u32,
    /// Size of the scratch folder in bytes.
    pub scratch_bytes: u64,
    /// CPU time of one process in seconds.
    pub cpu_seconds: u64,
    /// Wall time of the run in milliseconds.
    pub wall_ms: u64,
    /// All outputs together in bytes.
    pub output_bytes: u64,
}

impl Limits {
    /// The smaller of each.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            processes: self.processes.min(other.processes),
            open_files: self.open_files.min(other.open_files),
            scratch_bytes: self.scratch_bytes.min(other.scratch_bytes),
            cpu_seconds: self.cpu_seconds.min(other.cpu_seconds),
            wall_ms: self.wall_ms.min(other.wall_ms),
            output_bytes: self.output_bytes.min(other.output_bytes),
        }
    }
}

/// How to build the jail and what to execute in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The engine's program (absolute path in the jail) and arguments. Empty: there is no engine; the launcher says
    /// what its jail is worth, and ends.
    pub command: Vec<String>,
    /// The engine's whole environment.
    pub environment: BTreeMap<String, String>,
    /// The mode that every run of this launcher has.
    pub mode: Mode,
    /// The network that every run of this launcher sees.
    pub network: Network,
    /// What every run of this launcher may start.
    pub programs: Programs,
    /// Shown beside the system folders of the policy.
    pub mounts: Vec<Mount>,
    /// Host ids for the jail; without them runs share the launcher's id, which only a quickstart may do.
    pub ids: Option<IdRange>,
    /// The memory and process limits of the control group.
    pub limits: Limits,
}

/// Agent to launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToLauncher {
    /// The first message, once.
    Start(Start),
    /// Fork a child for one run; the descriptors of [`RUN_DESCRIPTORS`] travel with it.
    Run {
        /// A number that the agent chose, repeated in answers.
        run: u64,
        /// At most what [`Start::limits`] allows.
        limits: Limits,
        /// Which of the ids for runs it gets, counted from 0; the launcher chooses one where this is absent. Whoever has
        /// several launchers of one range must choose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
    },
}

/// Launcher to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromLauncher {
    /// The jail stands, its self-test passed and the engine has preloaded. With [`Network::Brokered`] the socket that
    /// listens at [`DOOR`] travels along: nobody else has it.
    Ready {
        /// Landlock ABI in force.
        landlock_abi: u32,
        /// What could not be enforced, in words; empty when all limits hold.
        degraded: Vec<String>,
        /// Whether runs have a host id of their own.
        own_ids: bool,
    },
    /// The jail cannot be built or the engine does not start: nothing will run here.
    Refused {
        /// One sentence.
        why: String,
    },
    /// A run was forked; its supervisor speaks from now on.
    Forked {
        /// The number of [`ToLauncher::Run`].
        run: u64,
    },
    /// A run could not be forked; the launcher should be replaced.
    NotForked {
        /// The number of [`ToLauncher::Run`].
        run: u64,
        /// One sentence.
        why: String,
    },
    /// A run with an id of its own has ended with all its processes: the kernel ends process 1 of a namespace last. Its
    /// id can be given to another.
    Over {
        /// The number of [`ToLauncher::Run`].
        run: u64,
    },
}

/// A file that the payload finds in its scratch folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagedFile {
    /// Relative path below the scratch folder: one or two plain components, no `..`.
    pub path: String,
    /// Number of bytes that follow the frame, in the order of the list.
    pub size: u64,
}

/// Agent to payload: the run. `run` is written to `run.json` in the scratch folder as it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The files whose bytes follow.
    pub files: Vec<StagedFile>,
    /// Relative paths of the outputs that the supervisor sends back when the run is at its end.
    pub outputs: Vec<String>,
    /// Lower limits than the run was forked with; the scratch folder keeps its size. Absent: those of the fork.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// Whether the payload waits for another stage when this run has succeeded, instead of leaving.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
    /// What the runner reads.
    pub run: Box<serde_json::value::RawValue>,
}

/// Payload to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case", deny_unknown_fields)]
pub enum Report {
    /// Locked, and verified to be; the stage is read from now on.
    Locked,
    /// How far the script says it is; as often as it likes.
    Progress {
        /// From 0 to a million, where it is known.
        millionths: Option<u32>,
        /// In its own words.
        text: String,
    },
    /// What a run that is traced did although restricted scripts may not. The script goes on.
    Overstep {
        /// The name of the call, and where the script makes it.
        what: String,
    },
    /// The runner's last word.
    Finished {
        /// `succeeded`, `script_error` or `restricted_call`.
        ending: String,
        /// What a person should read: the error message, or the name of the call.
        message: String,
    },
}

/// How a payload process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It left with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// Its wall time was over and it was killed.
    TimedOut,
    /// The memory limit was reached and it was killed.
    OutOfMemory,
    /// It said that it was at its end, which is in [`Report::Finished`], and was killed there with all it started.
    /// Whatever it did or would have done afterwards does not count.
    Finished,
}

/// Agent to supervisor, about a payload that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToSupervisor {
    /// The payload says that its run has succeeded: the clock stops, and the outputs are wanted. Answered by
    /// [`Supervised::Stays`].
    Collect,
    /// Another run is about to be staged: the clock goes from now. Answered by [`Supervised::Begun`].
    Begin {
        /// As in [`Stage::outputs`].
        outputs: Vec<String>,
        /// Wall time of this run in milliseconds.
        wall_ms: u64,
        /// All outputs together in bytes.
        output_bytes: u64,
    },
}

/// Supervisor (the run's pid 1) to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Supervised {
    /// The payload lives; it locks itself and waits for its stage.
    Started,
    /// The payload has its run: the script starts after this word, never before, and the clock goes.
    Begun,
    /// The payload and all it started are gone, or about to be: after [`Exit::Finished`] they are killed, and outputs are
    /// as they are then. When none of them is left, the launcher says [`FromLauncher::Over`].
    Ended {
        /// How.
        exit: Exit,
        /// User and system time in milliseconds.
        cpu_ms: u64,
        /// Largest resident size of one process in bytes.
        peak_bytes: u64,
    },
    /// A run has succeeded whose payload stays; its outputs follow.
    Stays {
        /// User and system time of the payload in milliseconds, since its fork.
        cpu_ms: u64,
    },
    /// `size` bytes of this output follow.
    Output {
        /// Index in [`Stage::outputs`].
        index: u32,
        /// Bytes.
        size: u64,
    },
    /// This output is not sent.
    NoOutput {
        /// Index in [`Stage::outputs`].
        index: u32,
        /// One phrase: `missing`, `not a regular file`, `over the output limit`.
        why: String,
    },
    /// Nothing follows.
    Done,
}
