//! Landlock: which files a process may open from now on, whatever is mounted.
//!
//! The kernel's version is asked for and everything that this version can restrict is restricted; nothing is
//! "best effort". Below version 2 files could be moved out of their folder, so such a kernel is refused.

use std::{io, path::Path};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};

use crate::{
    failure::Failure,
    link::Walls,
    protocol::{Mode, Programs},
};

/// The version of Landlock that this kernel has; an error below 2.
pub(crate) fn version() -> Result<i32, Failure> {
    const CREATE_RULESET_VERSION: libc::c_long = 1;
    // SAFETY: with this flag the call takes no memory and creates nothing.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    if version < 0 {
        return Err(Failure::Kernel {
            attempt: "use Landlock, which the kernel must have and the unit's filter must allow".to_owned(),
            source: io::Error::last_os_error(),
        });
    }
    if version < 2 {
        return Err(Failure::rule(format!(
            "Landlock of this kernel is version {version}; 2 (Linux 5.19) is needed"
        )));
    }
    Ok(i32::try_from(version).unwrap_or(i32::MAX))
}

/// Locks a payload: `walls` and the run's own folders.
pub(crate) fn restrict_payload(walls: &Walls, own: &[&Path]) -> Result<(), Failure> {
    let abi = ABI::from(walls.abi);
    let restricted = walls.mode == Mode::Restricted;
    let read = if restricted {
        make_bitflags!(AccessFs::{ReadFile | ReadDir})
    } else {
        AccessFs::from_read(abi)
    };
    let write = if restricted {
        read | make_bitflags!(AccessFs::{WriteFile | RemoveDir | RemoveFile | MakeDir | MakeReg | Refer | Truncate})
    } else {
        AccessFs::from_all(abi) & !make_bitflags!(AccessFs::{MakeChar | MakeBlock})
    };
    // With a list of programs only these are executed, wherever else something may be read or written.
    let mut listed = Vec::new();
    let without = match &walls.programs {
        Programs::All => BitFlags::empty(),
        Programs::None => AccessFs::Execute.into(),
        Programs::Listed(programs) => {
            listed.extend(programs.iter().map(|path| (path.as_path(), read)));
            AccessFs::Execute.into()
        }
    };
    let (read, write) = (read & !without, write & !without);
    let device = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | IoctlDev});
    let mut rules: Vec<(&Path, BitFlags<AccessFs>)> = own.iter().map(|path| (*path, write)).collect();
    rules.extend(walls.readable.iter().map(|path| (path.as_path(), read)));
    rules.extend(walls.writable.iter().map(|path| (path.as_path(), write)));
    rules.extend(listed);
    rules.push((Path::new("/dev/null"), device));
    for path in ["/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"] {
        rules.push((Path::new(path), make_bitflags!(AccessFs::{ReadFile})));
    }
    // Abstract sockets and signals across the run's border.
    let mut ruleset = ruleset(walls.abi, Scope::from_all(abi))?;
    if restricted && walls.abi >= 4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi)).map_err(refused)?;
    }
    restrict(ruleset, abi, &rules)
}

/// Locks a run's process 1: it reads the outputs and nothing else.
pub(crate) fn restrict_supervisor(version: i32, outputs: &Path) -> Result<(), Failure> {
    let rules = [(outputs, make_bitflags!(AccessFs::{ReadFile | ReadDir}))];
    // Signals are what it ends a run with; the payload is not in this domain.
    let scopes = make_bitflags!(Scope::{AbstractUnixSocket});
    restrict(ruleset(version, scopes)?, ABI::from(version), &rules)
}

/// Scopes exist from version 6 on.
fn ruleset(version: i32, scopes: BitFlags<Scope>) -> Result<Ruleset, Failure> {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let ruleset = ruleset
        .handle_access(AccessFs::from_all(ABI::from(version)))
        .map_err(refused)?;
    if version >= 6 {
        ruleset.scope(scopes).map_err(refused)
    } else {
        Ok(ruleset)
    }
}

fn restrict(ruleset: Ruleset, abi: ABI, rules: &[(&Path, BitFlags<AccessFs>)]) -> Result<(), Failure> {
    let mut created: RulesetCreated = ruleset.create().map_err(refused)?;
    for (path, access) in rules {
        let descriptor = PathFd::new(path).map_err(|error| {
            Failure::rule(format!("cannot open {} for Landlock: {error}", path.display()))
        })?;
        // Rights that exist for folders only are an error on a file.
        let fits = if path.is_dir() {
            AccessFs::from_all(abi)
        } else {
            AccessFs::from_file(abi)
        };
        created = created
            .add_rule(PathBeneath::new(descriptor, *access & fits))
            .map_err(refused)?;
    }
    let status = created.restrict_self().map_err(refused)?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        other => Err(Failure::rule(format!(
            "Landlock is not fully enforced: {other:?}"
        ))),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn refused(error: RulesetError) -> Failure {
    Failure::rule(format!("cannot restrict files with Landlock: {error}"))
}
