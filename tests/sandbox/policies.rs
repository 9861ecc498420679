//! The promise: a policy that allows fewer programs than all is kept by every way in which code becomes a program, or gets
//! into the run as a file. Paths and networks of policies are shown in `node-agent/engines/tests`.

use std::sync::Arc;

use muster_engines::{Engines, Mode, NetworkPolicy, Programs, RunPolicy};

use crate::{
    check,
    jail::{self, RUNTIME, User},
    lab::Lab,
};

#[test]
fn trusted_runs_start_no_program_that_their_policy_does_not_allow() {
    let lab = Lab::new();
    for programs in [
        Programs::None,
        Programs::Listed(["/usr/bin/true".into(), "/bin/sh".into()].into()),
    ] {
        let shell = programs != Programs::None;
        let engines = Engines::new(muster_engines::EnginesConfig {
            unrestricted: Arc::new(RunPolicy {
                programs,
                ..RunPolicy::default()
            }),
            ..jail::config(&lab, User::Root, NetworkPolicy::None)
        });
        for probe in crate::programs::PROBES {
            // A shell that may be started says so itself.
            let says = shell && (probe.code.contains("system") || probe.code.contains("pipe("));
            if says {
                continue;
            }
            let seen = jail::product(&engines, Mode::Unrestricted, probe, &check::code(probe));
            let harm = seen.harm();
            assert!(harm.is_none(), "{}: {harm:?}: {seen:?}", probe.title());
            assert_eq!(lab.traces(), [] as [String; 0], "{}", probe.title());
        }
        RUNTIME.block_on(async { drop(engines) });
    }
}
