//! A control group for the whole jail: memory and processes, enforced by the kernel from outside.
//!
//! Version 1 where its memory and pids hierarchies are writable, else version 2 in a subtree that was delegated to
//! us. Controllers that cannot be had are named, never guessed. The group is called `muster-jail-<pid>` and removed
//! when the launcher ends; what a crash leaves is swept at the next start.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
};

use rustix::process::Pid;

use crate::failure::{Attempt, Failure};

const PREFIX: &str = "muster-jail-";
/// Where the launcher itself sits in version 2: a group with limits for children may have no members.
const KEEPER: &str = "muster-keeper-";
/// Processes of the jail itself: its process 1, the engine, and one process 1 for each run.
const OVERHEAD: u32 = 64;

/// The groups of one launcher.
#[derive(Debug, Default)]
pub(crate) struct Group {
    folders: Vec<PathBuf>,
    /// In version 2 the launcher's own leaf and its parent.
    keeper: Option<(PathBuf, PathBuf)>,
    kills: Option<PathBuf>,
    /// Whether memory is limited.
    pub(crate) memory: bool,
    /// Whether the number of processes is limited.
    pub(crate) processes: bool,
}

/// Where the groups of this process are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Own {
    memory: Option<PathBuf>,
    processes: Option<PathBuf>,
    unified: Option<PathBuf>,
}

impl Group {
    /// Makes the group and sets its limits. What this machine does not offer is missing in the result.
    pub(crate) fn create(launcher: u32, memory_bytes: u64, processes: u32) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::create_in(&own(&mounts, &groups), launcher, memory_bytes, processes)
    }

    fn create_in(own: &Own, launcher: u32, memory_bytes: u64, processes: u32) -> Self {
        let mut group = Self::default();
        for parent in [&own.memory, &own.processes, &own.unified].into_iter().flatten() {
            sweep(parent);
        }
        let name = format!("{PREFIX}{launcher}");
        let tasks = processes.saturating_add(OVERHEAD).to_string();
        if let Some(folder) = own.memory.as_ref().map(|parent| parent.join(&name))
            && make(&folder)
        {
            group.memory = write(&folder, "memory.limit_in_bytes", &memory_bytes.to_string()).is_ok();
            // With swap accounted, the sum is limited too, or the limit would only move pages out.
            let swap = folder.join("memory.memsw.limit_in_bytes");
            group.memory &= !swap.exists() || fs::write(&swap, memory_bytes.to_string()).is_ok();
            group.kills = Some(folder.join("memory.oom_control"));
            group.folders.push(folder);
        }
        if let Some(folder) = own.processes.as_ref().map(|parent| parent.join(&name))
            && make(&folder)
        {
            group.processes = write(&folder, "pids.max", &tasks).is_ok();
            if !group.folders.contains(&folder) {
                group.folders.push(folder);
            }
        }
        if group.folders.is_empty()
            && let Some(parent) = &own.unified
        {
            group.create_unified(parent, &name, launcher, memory_bytes, &tasks);
        }
        if !group.memory {
            group.kills = None;
        }
        group
    }

    fn create_unified(&mut self, parent: &Path, name: &str, launcher: u32, memory_bytes: u64, tasks: &str) {
        let offered = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
        let wanted = ["memory", "pids"].map(|one| offered.split_whitespace().any(|other| other == one));
        let leaf = parent.join(format!("{KEEPER}{launcher}"));
        if wanted == [false, false] || !make(&leaf) {
            return;
        }
        self.keeper = Some((leaf.clone(), parent.to_owned()));
        let enabled = write(&leaf, "cgroup.procs", &launcher.to_string()).is_ok()
            && ["+memory", "+pids"]
                .iter()
                .zip(wanted)
                .all(|(controller, offered)| {
                    !offered || write(parent, "cgroup.subtree_control", controller).is_ok()
                });
        let folder = parent.join(name);
        if enabled && make(&folder) {
            self.memory = wanted[0] && write(&folder, "memory.max", &memory_bytes.to_string()).is_ok();
            let swap = folder.join("memory.swap.max");
            self.memory &= !swap.exists() || fs::write(&swap, "0").is_ok();
            self.processes = wanted[1] && write(&folder, "pids.max", tasks).is_ok();
            self.kills = Some(folder.join("memory.events"));
            self.folders.push(folder);
        }
    }

    /// Moves a process in; its children are born inside.
    pub(crate) fn enter(&self, pid: Pid) -> Result<(), Failure> {
        self.folders.iter().try_for_each(|folder| {
            write(folder, "cgroup.procs", &pid.as_raw_nonzero().to_string())
                .attempt(format!("move the jail into {}", folder.display()))
        })
    }

    /// The counter of processes that were killed for want of memory, open for reading.
    pub(crate) fn kills(&self) -> Option<File> {
        self.kills.as_ref().and_then(|path| File::open(path).ok())
    }

    /// Whether there is anything to remove.
    pub(crate) fn exists(&self) -> bool {
        !self.folders.is_empty() || self.keeper.is_some()
    }

    /// Kills what is left inside and removes the group. Returns whether it is gone.
    pub(crate) fn remove(&self) -> bool {
        let mut gone = true;
        for folder in &self.folders {
            if fs::remove_dir(folder).is_ok() || !folder.exists() {
                continue;
            }
            // One write in version 2; version 1 is told about each process.
            if fs::write(folder.join("cgroup.kill"), "1").is_err() {
                let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
                for pid in members
                    .lines()
                    .filter_map(|line| line.parse().ok())
                    .filter_map(Pid::from_raw)
                {
                    // It may have ended meanwhile.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            gone = false;
        }
        if gone && let Some((leaf, parent)) = &self.keeper {
            // The limits are switched off first: only then may the parent have members again.
            let _ = fs::write(parent.join("cgroup.subtree_control"), "-memory -pids");
            let members = fs::read_to_string(leaf.join("cgroup.procs")).unwrap_or_default();
            for pid in members.lines() {
                let _ = fs::write(parent.join("cgroup.procs"), pid);
            }
            // If that did not work, the next sweep removes it.
            let _ = fs::remove_dir(leaf);
        }
        gone
    }
}

/// Reads how many processes were killed for want of memory from a file of [`Group::kills`].
pub(crate) fn kill_count(mut file: &File) -> u64 {
    let mut text = String::new();
    if file
        .rewind()
        .and_then(|()| file.read_to_string(&mut text))
        .is_err()
    {
        return 0;
    }
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn make(folder: &Path) -> bool {
    fs::create_dir(folder).is_ok() || folder.is_dir()
}

fn write(folder: &Path, file: &str, text: &str) -> std::io::Result<()> {
    fs::write(folder.join(file), text)
}

/// Removes groups of launchers that are gone.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let pid = name.strip_prefix(PREFIX).or_else(|| name.strip_prefix(KEEPER));
        if let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok())
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            // Fails while somebody is in it, and then it must stay.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The folders of this process's groups, from `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn own(mounts: &str, groups: &str) -> Own {
    let path_of = |controller: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            controllers
                .split(',')
                .any(|one| one == controller)
                .then_some(path)
        })
    };
    let folder = |kind: &str, controller: &str| {
        let path = path_of(controller)?;
        mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let (root, point) = (before.split(' ').nth(3)?, before.split(' ').nth(4)?);
            let mut after = after.split(' ');
            let (found, _, options) = (after.next()?, after.next()?, after.next()?);
            let fits = controller.is_empty() || options.split(',').any(|one| one == controller);
            (found == kind && fits).then_some(())?;
            let below = path.strip_prefix(root.trim_end_matches('/'))?;
            Some(Path::new(point).join(below.trim_start_matches('/')))
        })
    };
    Own {
        memory: folder("cgroup", "memory"),
        processes: folder("cgroup", "pids"),
        unified: folder("cgroup2", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_version_1_are_found_by_controller() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      31 25 0:27 / /sys/fs/cgroup/pids rw shared:9 - cgroup cgroup rw,pids\n\
                      32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let groups = "8:pids:/\n4:memory:/a/b\n0::/\n";
        assert_eq!(
            own(mounts, groups),
            Own {
                memory: Some("/sys/fs/cgroup/memory/a/b".into()),
                processes: Some("/sys/fs/cgroup/pids".into()),
                unified: Some("/sys/fs/cgroup/unified".into()),
            }
        );
    }

    #[test]
    fn a_group_of_version_2_below_a_mounted_part_is_found() {
        let mounts = "32 25 0:28 /system.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = own(mounts, "0::/system.slice/muster-jail@1.service\n");
        assert_eq!(found.unified, Some("/sys/fs/cgroup/muster-jail@1.service".into()));
        assert_eq!((found.memory, found.processes), (None, None));
    }

    #[test]
    fn a_delegated_subtree_gets_a_leaf_for_the_keeper_and_limits_for_the_jail() {
        let root = tempfile::tempdir().expect("folder");
        fs::write(root.path().join("cgroup.controllers"), "cpu memory pids\n").expect("file");
        let own = Own {
            unified: Some(root.path().to_owned()),
            ..Own::default()
        };
        let group = Group::create_in(&own, 4_000_000_000, 1 << 30, 16);
        assert!(group.memory && group.processes && group.exists());
        let jail = root.path().join("muster-jail-4000000000");
        assert_eq!(
            fs::read_to_string(jail.join("memory.max")).expect("limit"),
            (1 << 30).to_string()
        );
        assert_eq!(
            fs::read_to_string(jail.join("pids.max")).expect("limit"),
            (16 + OVERHEAD).to_string()
        );
        let keeper = fs::read_to_string(root.path().join("muster-keeper-4000000000/cgroup.procs"));
        assert_eq!(keeper.expect("member"), "4000000000");
    }

    /// Needs a mount of version 2, with whatever controllers, and the right to make a group in it.
    #[test]
    fn what_is_left_in_a_group_of_version_2_is_killed_at_once() {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let groups = fs::read_to_string("/proc/self/cgroup").expect("groups");
        let Some(unified) = own(&mounts, &groups).unified else {
            return;
        };
        let folder = unified.join(format!("muster-test-{}", std::process::id()));
        if fs::create_dir(&folder).is_err() {
            return;
        }
        let group = Group {
            folders: vec![folder.clone()],
            ..Group::default()
        };
        #[expect(clippy::disallowed_methods, reason = "somebody must be in the group")]
        let mut member = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("sleep");
        let pid = Pid::from_raw(member.id().try_into().expect("a number")).expect("a process");
        let entered = group.enter(pid);
        assert!(entered.is_err() || !group.remove(), "somebody is in it");
        if entered.is_err() {
            member.kill().expect("killed");
        }
        let ended = member.wait().expect("ended");
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&ended),
            Some(libc::SIGKILL)
        );
        // The kernel takes the dead out a moment after they were waited for.
        let gone = (0..1_000_000).any(|_| group.remove());
        assert!(gone && !folder.exists());
        assert!(entered.is_ok(), "{entered:?}");
    }

    #[test]
    fn groups_of_the_dead_are_swept_and_those_of_the_living_stay() {
        let root = tempfile::tempdir().expect("folder");
        let living = root.path().join(format!("{PREFIX}{}", std::process::id()));
        let dead = root.path().join(format!("{PREFIX}4000000000"));
        fs::create_dir(&living)
            .and_then(|()| fs::create_dir(&dead))
            .expect("folders");
        sweep(root.path());
        assert!(living.exists() && !dead.exists());
    }

    #[test]
    fn nothing_to_be_had_is_said_and_not_pretended() {
        let group = Group::create_in(&Own::default(), 1, 1, 1);
        assert!(!group.memory && !group.processes && !group.exists());
    }
}
