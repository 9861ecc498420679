//! The promises of the jail, each with probes that break it where there is no jail.
//!
//! One file a promise. A probe is code in R, Python or C that does one harm; [`check`] runs it as root in a lab without
//! a jail (there it must do its harm), and in jails of three users, through the product's engines and through engines
//! without a language check (there it must not). Unrestricted runs must do exactly what the policy allows.
//!
//! Needs root, `cc`, R, `cargo build -p muster-sandbox` and `packaging/engines/make-venv.sh`. How each probe ended is
//! written to `target/tmp/sandbox-endings/`.

#![forbid(unsafe_code)]

mod check;
mod jail;
mod lab;
mod native;
mod probe;

mod agent_secrets;
mod files;
mod identity_and_capabilities;
mod kernel_interfaces;
mod limits;
mod namespaces_and_mounts;
mod network;
mod other_runs;
mod processes;
mod programs;
mod tricks;

mod ordinary_work;
mod policies;
mod scenario;

use probe::{Language, Probe};

/// All probes, by their promise.
const PROMISES: [&[Probe]; 11] = [
    agent_secrets::PROBES,
    files::PROBES,
    identity_and_capabilities::PROBES,
    kernel_interfaces::PROBES,
    limits::PROBES,
    namespaces_and_mounts::PROBES,
    network::PROBES,
    other_runs::PROBES,
    processes::PROBES,
    programs::PROBES,
    tricks::PROBES,
];

#[test]
fn there_are_more_than_a_hundred_probes_each_promise_has_some_in_each_language_and_none_holds_the_secret() {
    let all: Vec<&Probe> = PROMISES.iter().flat_map(|probes| probes.iter()).collect();
    assert!(all.len() > 100, "{}", all.len());
    let names: std::collections::BTreeSet<String> = all.iter().map(|probe| probe.title()).collect();
    assert_eq!(names.len(), all.len(), "two probes have one name");
    for promise in PROMISES {
        for language in [Language::R, Language::Python, Language::C] {
            let first = promise.first().map(Probe::title);
            assert!(
                promise.iter().any(|probe| probe.language == language),
                "{first:?}: none in {language:?}"
            );
        }
    }
    for probe in all {
        assert!(!probe.code.contains(probe::SECRET), "{}", probe.title());
    }
}
