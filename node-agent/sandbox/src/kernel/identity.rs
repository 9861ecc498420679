//! Who a process is: id maps, users, capabilities, and who may look into it.

use std::{fs, io::Write as _};

use rustix::{
    process::{DumpableBehavior, Gid, Pid, Signal, Uid},
    thread::{CapabilitySet, CapabilitySets},
};

use crate::failure::{Attempt, Failure};

/// One line of an id map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Map {
    /// First id inside.
    pub(crate) inside: u32,
    /// First id in the writer's namespace.
    pub(crate) outside: u32,
    /// How many.
    pub(crate) count: u32,
}

/// Writes the id maps of a process that waits in a new user namespace. The writer sits in the parent namespace.
///
/// `users` and `groups` may differ when there is only one id; `deny_setgroups` is what the kernel demands then.
pub(crate) fn write_maps(pid: Pid, users: Map, groups: Map, deny_setgroups: bool) -> Result<(), Failure> {
    let write = |file: &str, text: String| {
        let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
        // One write: the kernel takes a map as a whole, once.
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .attempt(format!("write the id map {path}"))
    };
    let line = |map: Map| format!("{} {} {}", map.inside, map.outside, map.count);
    if deny_setgroups {
        write("setgroups", "deny".to_owned())?;
    }
    write("uid_map", line(users))?;
    write("gid_map", line(groups))
}

/// Takes an id of the own user namespace, for user and group alike.
pub(crate) fn become_id(id: u32) -> Result<(), Failure> {
    let setgroups = fs::read_to_string("/proc/self/setgroups").attempt("read /proc/self/setgroups")?;
    // Where one has a single id the kernel keeps the groups one came with; only a quickstart runs so.
    if setgroups.trim() == "allow" {
        rustix::thread::set_thread_groups(&[]).attempt("give up groups")?;
    }
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    rustix::thread::set_thread_res_gid(group, group, group).attempt(format!("become group {id}"))?;
    rustix::thread::set_thread_res_uid(user, user, user).attempt(format!("become user {id}"))
}

/// Gives up all capabilities for good: the bounding set too, and programs cannot bring them back.
pub(crate) fn drop_capabilities() -> Result<(), Failure> {
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // Numbers that this kernel does not know answer EINVAL.
        match rustix::thread::capability_is_in_bounding_set(one) {
            Ok(true) => rustix::thread::remove_capability_from_bounding_set(one)
                .attempt(format!("drop capability {number} from the bounding set"))?,
            Ok(false) => {}
            Err(_) => break,
        }
    }
    give_up_capabilities()
}

/// Gives up all capabilities of this process; the bounding set needs a capability to change and is left.
pub(crate) fn give_up_capabilities() -> Result<(), Failure> {
    keep_capabilities(CapabilitySet::empty())
}

/// As [`give_up_capabilities`], but for those of `kept` that there are.
pub(crate) fn keep_capabilities(kept: CapabilitySet) -> Result<(), Failure> {
    rustix::thread::clear_ambient_capability_set().attempt("clear ambient capabilities")?;
    let now = rustix::thread::capabilities(None).attempt("read capabilities")?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: kept & now.permitted,
        permitted: kept & now.permitted,
        inheritable: none,
    };
    rustix::thread::set_capabilities(None, sets).attempt("drop capabilities")?;
    rustix::thread::set_no_new_privs(true).attempt("set no_new_privs")
}

/// Whether others of the same user may read memory and descriptors. Asked for afterwards: nothing else would show it.
pub(crate) fn set_dumpable(dumpable: bool) -> Result<(), Failure> {
    let how = if dumpable {
        DumpableBehavior::Dumpable
    } else {
        DumpableBehavior::NotDumpable
    };
    rustix::process::set_dumpable_behavior(how).attempt("set whether memory may be dumped")?;
    let found = rustix::process::dumpable_behavior().attempt("see whether memory may be dumped")?;
    if found == how {
        Ok(())
    } else {
        Err(Failure::rule(format!("memory is {found:?}, not {how:?}")))
    }
}

/// The kernel kills this process when its parent ends. A change of user forgets it, so call it after one.
pub(crate) fn die_with_parent() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .attempt("bind the life to the parent's")
}
