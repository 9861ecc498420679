//! What this node is like now: machine, engines, and what is not as it should be.

use std::{collections::BTreeMap, path::Path, sync::Mutex, sync::PoisonError};

use muster_daemon::file;
use muster_engines::{EngineKind, Probe};
use muster_wire::node::v1::control::{EngineInfo, Inventory};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Below this much free space in the state folder, results may not find room.
const LITTLE_DISK: u64 = 256 * 1024 * 1024;

/// Below this a claimed run could not even say how it ended.
const NO_DISK: u64 = 16 * 1024 * 1024;

/// Until when this node takes no runs, and why, where no room for them is left on the disk of the folder `state`.
pub fn no_room(state: &Path) -> Option<String> {
    let (_, available) = file::space(state)?;
    (available < NO_DISK).then(|| {
        format!(
            "until there is room: less than {} MiB are left on the disk of {}",
            NO_DISK / (1024 * 1024),
            state.display()
        )
    })
}

/// What is to be said of the disk of the folder `state`, where little room is left on it.
pub fn little_room(state: &Path) -> Option<String> {
    let (_, available) = file::space(state)?;
    (available < LITTLE_DISK).then(|| {
        format!(
            "{} MiB are left on the disk of {}; make room",
            available / (1024 * 1024),
            state.display()
        )
    })
}

/// Reads the machine; keeps what reading again would cost.
#[derive(Debug)]
pub struct Machine {
    /// Absent where /proc does not answer; its numbers are 0 then.
    system: Option<System>,
    os: String,
    cpus: u64,
}

impl Machine {
    /// Looks at the machine for the first time.
    pub fn new() -> Self {
        let system = System::new_with_specifics(
            RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()),
        );
        let name = System::long_os_version().unwrap_or_else(|_| "Linux".to_owned());
        let kernel = System::kernel_version().unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        Self {
            system: system.ok(),
            os: format!("{name}, kernel {kernel}"),
            cpus,
        }
    }

    /// The inventory of this moment; `state` is the folder whose disk counts.
    pub fn inventory(
        &mut self,
        state: &Path,
        engines: &Probe,
        mut conditions: Vec<String>,
        trust_number: Option<u64>,
    ) -> Inventory {
        let (mut memory_total, mut memory_available) = (0, 0);
        if let Some(system) = &mut self.system {
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            (memory_total, memory_available) = (system.total_memory(), system.available_memory());
        }
        let (disk_total, disk_available) = file::space(state).unwrap_or_default();
        conditions.extend(little_room(state).map(|little| format!("degraded: {little}")));
        Inventory {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            os: self.os.clone(),
            cpus: self.cpus,
            load: System::load_average().map_or(0.0, |load| load.one),
            memory_total,
            memory_available,
            disk_total,
            disk_available,
            engines: engine_list(engines),
            conditions,
            trust_number,
            roots: Vec::new(),
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

/// The name of this machine.
pub fn host_name() -> Option<String> {
    System::host_name().ok()
}

/// The engines as they really are.
pub fn engine_list(probe: &Probe) -> Vec<EngineInfo> {
    probe
        .engines
        .iter()
        .map(|engine| EngineInfo {
            engine: engine.kind.name().to_owned(),
            description: engine.description.clone(),
        })
        .collect()
}

/// The true name of one engine.
pub fn description(probe: &Probe, kind: EngineKind) -> String {
    probe
        .engines
        .iter()
        .find(|engine| engine.kind == kind)
        .map_or_else(|| kind.name().to_owned(), |engine| engine.description.clone())
}

/// What is not as it should be, each under the name of the part that says so.
#[derive(Debug, Default)]
pub struct Conditions(Mutex<BTreeMap<String, String>>);

impl Conditions {
    /// `part` is not as it should be: `what`, beginning with `stale`, `revoked: ` or `degraded: `.
    pub fn set(&self, part: impl Into<String>, what: impl Into<String>) {
        self.lock().insert(part.into(), what.into());
    }

    /// `part` is as it should be.
    pub fn clear(&self, part: &str) {
        self.lock().remove(part);
    }

    /// What limits the jail cannot enforce, as it said last.
    pub fn note_limits(&self, degraded: &[String]) {
        if degraded.is_empty() {
            self.clear("limits");
        } else {
            self.set("limits", format!("degraded: limits: {}", degraded.join("; ")));
        }
    }

    /// All of them.
    pub fn list(&self) -> Vec<String> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        // A panic elsewhere leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_it_has() {
        let probe = Probe {
            engines: Vec::new(),
            missing: Vec::new(),
        };
        let inventory =
            Machine::new().inventory(Path::new("/tmp"), &probe, vec!["stale".to_owned()], Some(7));
        assert!(inventory.cpus >= 1 && inventory.memory_total > inventory.memory_available);
        assert!(inventory.disk_total >= inventory.disk_available && inventory.disk_total > 0);
        assert!(inventory.os.contains("kernel") && inventory.load >= 0.0);
        assert_eq!(inventory.conditions[0], "stale");
        assert_eq!(inventory.trust_number, Some(7));
    }

    #[test]
    fn a_condition_lasts_until_its_part_is_well_again() {
        let conditions = Conditions::default();
        conditions.set("engine r", "degraded: R is missing");
        conditions.set("engine r", "degraded: R is still missing");
        assert_eq!(conditions.list(), ["degraded: R is still missing"]);
        conditions.clear("engine r");
        assert!(conditions.list().is_empty());
        let degraded = ["no control group for memory", "no control group for processes"].map(str::to_owned);
        conditions.note_limits(&degraded);
        assert_eq!(
            conditions.list(),
            ["degraded: limits: no control group for memory; no control group for processes"]
        );
        conditions.note_limits(&[]);
        assert!(conditions.list().is_empty());
    }
}
