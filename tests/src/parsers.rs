//! Every parser that a stranger, a node or a man in the middle can reach, as functions of bytes.
//!
//! Fuzzers (`tests/fuzz`) and a test that is part of `make test` call the same functions. Invariant: a target fails by
//! panicking only, and only where the product is wrong: a parser panicked, or what it accepted breaks a property that
//! the target states.

mod analysis;
mod broker;
mod certificates;
mod connection;
mod epoch;
mod item;
mod jail;
mod join;
mod packages;
mod policy;
mod receipt;
mod renewal;
mod services;
mod signed;
mod world;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::workspace;

/// One parser, or several of one kind of message.
pub struct Target {
    /// The name of its fuzzer and of the folder of its corpus.
    pub name: &'static str,
    /// Gives it some bytes.
    pub run: fn(&[u8]),
    /// Messages that it accepts, from which a corpus grows.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them, by name.
pub const TARGETS: &[Target] = &[
    Target {
        name: "analysis",
        run: analysis::analysis,
        seeds: analysis::analysis_seeds,
    },
    Target {
        name: "beacon",
        run: signed::beacon,
        seeds: signed::beacon_seeds,
    },
    Target {
        name: "broker_request",
        run: broker::request,
        seeds: broker::request_seeds,
    },
    Target {
        name: "certificate",
        run: certificates::certificate,
        seeds: certificates::certificate_seeds,
    },
    Target {
        name: "chain",
        run: certificates::chain,
        seeds: certificates::chain_seeds,
    },
    Target {
        name: "connection",
        run: connection::connection,
        seeds: connection::connection_seeds,
    },
    Target {
        name: "csr",
        run: certificates::csr,
        seeds: certificates::csr_seeds,
    },
    Target {
        name: "custom_properties",
        run: services::properties,
        seeds: services::properties_seeds,
    },
    Target {
        name: "envelope",
        run: signed::envelope,
        seeds: signed::envelope_seeds,
    },
    Target {
        name: "epoch_bump",
        run: epoch::bump,
        seeds: epoch::bump_seeds,
    },
    Target {
        name: "epoch_report",
        run: epoch::known,
        seeds: epoch::known_seeds,
    },
    Target {
        name: "item_signature",
        run: item::signature,
        seeds: item::signature_seeds,
    },
    Target {
        name: "jail_answer",
        run: jail::answer,
        seeds: jail::answer_seeds,
    },
    Target {
        name: "jail_request",
        run: jail::request,
        seeds: jail::request_seeds,
    },
    Target {
        name: "join_answer",
        run: join::answer,
        seeds: join::answer_seeds,
    },
    Target {
        name: "join_hello",
        run: join::hello,
        seeds: join::hello_seeds,
    },
    Target {
        name: "join_offer",
        run: join::offer,
        seeds: join::offer_seeds,
    },
    Target {
        name: "join_poll",
        run: join::poll,
        seeds: join::poll_seeds,
    },
    Target {
        name: "join_reveal",
        run: join::reveal,
        seeds: join::reveal_seeds,
    },
    Target {
        name: "join_token",
        run: join::token,
        seeds: join::token_seeds,
    },
    Target {
        name: "mod_archive",
        run: item::mod_archive,
        seeds: item::mod_archive_seeds,
    },
    Target {
        name: "mod_manifest",
        run: item::mod_manifest,
        seeds: item::mod_manifest_seeds,
    },
    Target {
        name: "package_archive",
        run: packages::archive,
        seeds: packages::archive_seeds,
    },
    Target {
        name: "package_list",
        run: packages::list,
        seeds: packages::list_seeds,
    },
    Target {
        name: "policy_test",
        run: policy::test,
        seeds: policy::test_seeds,
    },
    Target {
        name: "receipt",
        run: receipt::receipt,
        seeds: receipt::receipt_seeds,
    },
    Target {
        name: "renewal",
        run: renewal::request,
        seeds: renewal::request_seeds,
    },
    Target {
        name: "renewal_answer",
        run: renewal::answer,
        seeds: renewal::answer_seeds,
    },
    Target {
        name: "run_report",
        run: jail::report,
        seeds: jail::report_seeds,
    },
    Target {
        name: "run_stage",
        run: jail::stage,
        seeds: jail::stage_seeds,
    },
    Target {
        name: "signing_certificate",
        run: item::signing_certificate,
        seeds: item::signing_certificate_seeds,
    },
    Target {
        name: "trust_state",
        run: signed::trust_state,
        seeds: signed::trust_state_seeds,
    },
];

/// Gives `bytes` to the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("the name of a target").run)(bytes);
}

impl Target {
    /// Where its corpus is kept.
    pub fn folder(&self) -> PathBuf {
        workspace().join("tests/fuzz/corpus").join(self.name)
    }

    /// Its seeds and everything in its corpus.
    pub fn corpus(&self) -> Vec<Vec<u8>> {
        let mut found = (self.seeds)();
        found.extend(files(&self.folder()));
        found
    }
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("a file of the corpus can be read"))
        .collect()
}
