//! How tables of probes are checked.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::{LazyLock, Mutex, PoisonError, RwLock},
};

use muster_engines::Mode;

use crate::{
    jail::{self, Jails, User},
    lab::{self, Lab},
    native::NATIVE,
    probe::{Probe, Seen},
};

static OUTSIDE: LazyLock<Mutex<Lab>> = LazyLock::new(|| Mutex::new(Lab::new()));
static ROOT: LazyLock<Mutex<Jails>> = LazyLock::new(|| Mutex::new(Jails::new(User::Root)));
static SERVICE: LazyLock<Mutex<Jails>> = LazyLock::new(|| Mutex::new(Jails::new(User::Service)));
static NOBODY: LazyLock<Mutex<Jails>> = LazyLock::new(|| Mutex::new(Jails::new(User::Nobody)));
static UNIT: LazyLock<Mutex<Jails>> = LazyLock::new(|| Mutex::new(Jails::new(User::Unit)));

/// Processes that outlive their run are looked for on the whole host, so such a probe runs alone.
static ALONE: RwLock<()> = RwLock::new(());

/// The jails of a user, for one test at a time.
pub(crate) fn jails(user: User) -> std::sync::MutexGuard<'static, Jails> {
    let jails = match user {
        User::Root => &ROOT,
        User::Service => &SERVICE,
        User::Nobody => &NOBODY,
        User::Unit => &UNIT,
    };
    jails.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Without a jail each probe does its harm, or it would prove nothing.
pub(crate) fn harmful_outside(promise: &str, probes: &[Probe]) {
    let lab = OUTSIDE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut report = Report::new(promise, "outside");
    lab.traces();
    for probe in probes {
        lab.empty_scratch();
        let seen = alone(probe, || {
            let mut seen = lab.unprotected(probe, &code(probe));
            seen.traces = match seen.harm() {
                None if !outlives(probe) => lab.traces_soon(),
                _ => lab.traces(),
            };
            seen
        });
        let verdict = seen
            .harm()
            .is_none()
            .then_some("it did no harm where nothing stops it");
        report.add(probe, &seen, verdict);
    }
    report.end();
}

/// In restricted mode none does, neither through the product's engines nor where only the kernel stands in its way.
pub(crate) fn stopped(promise: &str, probes: &[Probe], user: User) {
    let mut jails = jails(user);
    let mut report = Report::new(promise, &format!("restricted-{user:?}"));
    jails.lab.traces();
    for probe in probes {
        for bare in [false, true] {
            let seen = alone(probe, || {
                let mut seen = if bare {
                    jails.bare(probe, &code(probe))
                } else {
                    jails.product(Mode::Restricted, probe, &code(probe))
                };
                seen.traces = jails.lab.traces();
                seen
            });
            report.add(probe, &seen, seen.harm().map(|_| "it did its harm"));
        }
    }
    report.end();
}

/// Nor do they where systemd starts the launcher: what is tested there is the kernel, the unit and the control groups.
pub(crate) fn stopped_behind_the_unit(promise: &str, probes: &[Probe]) {
    if jail::unit().is_none() {
        // `make test-vm` names a unit.
        return;
    }
    let mut jails = jails(User::Unit);
    let mut report = Report::new(promise, "restricted-Unit");
    jails.lab.traces();
    let mut told = 0;
    for probe in probes {
        let seen = alone(probe, || {
            let mut seen = jails.bare(probe, &code(probe));
            seen.traces = jails.lab.traces();
            seen
        });
        // A probe in C says what was refused; one that did not run at all would prove nothing.
        told += usize::from(seen.stderr.contains("refused: "));
        report.add(probe, &seen, seen.harm().map(|_| "it did its harm"));
    }
    report.end();
    assert!(told > 0, "nothing was tried");
}

/// In unrestricted mode exactly those do that the policy allows.
pub(crate) fn as_the_policy_says(promise: &str, probes: &[Probe], user: User) {
    let jails = jails(user);
    let mut report = Report::new(promise, &format!("unrestricted-{user:?}"));
    jails.lab.traces();
    for probe in probes {
        let seen = alone(probe, || {
            let mut seen = jails.product(Mode::Unrestricted, probe, &code(probe));
            seen.traces = jails.lab.traces();
            seen
        });
        let verdict = match (probe.trusted, seen.harm()) {
            (true, None) => Some("trusted code may do this, and could not"),
            (false, Some(_)) => Some("trusted code may not do this, and could"),
            _ => None,
        };
        report.add(probe, &seen, verdict);
    }
    report.end();
}

fn alone(probe: &Probe, run: impl FnOnce() -> Seen) -> Seen {
    if outlives(probe) {
        let _alone = ALONE.write().unwrap_or_else(PoisonError::into_inner);
        let before = lab::outliving();
        let mut seen = run();
        let mut after = lab::outliving();
        after.retain(|number, _| !before.contains_key(number));
        let outlived = after
            .into_values()
            .map(|name| format!("a process outlived its run: {name}"));
        seen.traces.extend(outlived);
        seen
    } else {
        let _beside_others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
        run()
    }
}

fn outlives(probe: &Probe) -> bool {
    probe.code.contains("outlive")
}

/// With the small shared object in its place.
pub(crate) fn code(probe: &Probe) -> String {
    probe.code.replace("@dropped@", &NATIVE.dropped)
}

/// What became of each probe of a promise: kept in a file beside the tests, and the failures in the panic.
struct Report {
    name: String,
    lines: String,
    wrong: String,
}

impl Report {
    fn new(promise: &str, place: &str) -> Self {
        let promise = promise.rsplit("::").next().unwrap_or(promise);
        Self {
            name: format!("{promise}-{place}.txt"),
            lines: String::new(),
            wrong: String::new(),
        }
    }

    fn add(&mut self, probe: &Probe, seen: &Seen, wrong: Option<&str>) {
        let harm = seen.harm().unwrap_or_else(|| "none".to_owned());
        let ending = seen.ending.lines().next().unwrap_or_default();
        let said: String = seen.stderr.trim().chars().take(200).collect();
        let line = format!(
            "{}\n    harm: {harm}\n    ending: {ending}\n    stderr: {said}\n",
            probe.title()
        );
        self.lines.push_str(&line);
        if let Some(why) = wrong {
            writeln!(self.wrong, "{why}: {line}    stdout: {}", seen.stdout.trim())
                .expect("a string takes everything");
        }
    }

    fn end(self) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sandbox-endings");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(&self.name), self.lines).expect("written");
        assert!(self.wrong.is_empty(), "{}:\n{}", self.name, self.wrong);
    }
}

/// The tests of one promise.
macro_rules! promise {
    ($probes:ident) => {
        #[test]
        fn without_a_jail_every_probe_does_its_harm() {
            $crate::check::harmful_outside(module_path!(), $probes);
        }

        #[test]
        fn restricted_runs_of_root_do_none() {
            $crate::check::stopped(module_path!(), $probes, $crate::jail::User::Root);
        }

        #[test]
        fn restricted_runs_of_the_service_user_do_none() {
            $crate::check::stopped(module_path!(), $probes, $crate::jail::User::Service);
        }

        #[test]
        fn restricted_runs_of_a_user_without_ids_do_none() {
            $crate::check::stopped(module_path!(), $probes, $crate::jail::User::Nobody);
        }

        #[test]
        fn restricted_runs_behind_a_unit_do_none() {
            $crate::check::stopped_behind_the_unit(module_path!(), $probes);
        }

        #[test]
        fn unrestricted_runs_do_what_the_policy_allows() {
            $crate::check::as_the_policy_says(module_path!(), $probes, $crate::jail::User::Root);
        }

        #[test]
        fn unrestricted_runs_of_the_service_user_do_what_the_policy_allows() {
            $crate::check::as_the_policy_says(module_path!(), $probes, $crate::jail::User::Service);
        }
    };
}
pub(crate) use promise;
