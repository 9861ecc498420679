//! `muster-server doctor`: looks for problems; each finding is one sentence with its cure.

mod listeners;

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::ExitCode};

use muster_app::{
    authority::{self, Authority},
    expiry::Expiry,
};
use muster_daemon::{clock::Clock, descriptors, file};
use muster_pki::{Outline, Validity, not_after_ms, pem};
use muster_store::Store;

use super::{open_store, say};
use crate::{config::Config, keys::Keys, serve::read_credential};

/// Less free space than this is worth a word, bytes.
const LITTLE_ROOM: u64 = 256 << 20;

/// A difference of clocks that is worth a word, seconds; a node's doctor has the same.
const CLOCK_DIFFERENCE: i64 = 30;

/// Looks at state, keys, database, clocks and listeners. Ends with 1 when something was found.
pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let mut findings = Vec::new();
    let (allowed, needed) = (descriptors::most(), config.descriptors());
    if allowed < needed as u64 {
        findings.push(format!(
            "Only {allowed} files may be open at once, and full listeners need {needed}; raise LimitNOFILE of the service, or lower the settings named connections."
        ));
    }
    if config.auto_trust.is_some() {
        findings.push(
            "Nodes are trusted automatically by name or address, which can be forged; use join tokens and set \
             [auto_trust] enabled = false."
                .to_owned(),
        );
    }
    if Keys::exist(&config.state_dir)? {
        keys(config, &mut findings);
        room(&config.state_dir, &mut findings);
    } else {
        findings.push(format!(
            "There is no collective in {}; run muster-server init, or name its folder with --state-dir.",
            config.state_dir.display()
        ));
    }
    if let (Some(certificate), Some(key)) = (&config.front_end_certificate, &config.front_end_key)
        && let Err(error) = read_credential(certificate, key)
    {
        findings.push(format!(
            "The configured certificate of the front end cannot be used: {error:#}."
        ));
    }
    modes(config, &mut findings);
    let authority = database(config, &mut findings).await;
    listeners::examine(config, authority.as_ref(), &mut findings).await;
    if findings.is_empty() {
        say("No problems found.");
        return Ok(ExitCode::SUCCESS);
    }
    for finding in &findings {
        say(finding);
    }
    Ok(ExitCode::FAILURE)
}

fn keys(config: &Config, findings: &mut Vec<String>) {
    if let Err(error) = Keys::open(config) {
        findings.push(format!("The master key cannot be used: {error:#}."));
    }
}

/// Whether there is room for what comes next.
fn room(state_dir: &Path, findings: &mut Vec<String>) {
    if let Some((_, free)) = file::space(state_dir)
        && free < LITTLE_ROOM
    {
        findings.push(format!(
            "Only {} MiB are free on the disk of {}; nothing can be stored when it is full, so make room.",
            free >> 20,
            state_dir.display()
        ));
    }
}

async fn authority(config: &Config, store: &Store, findings: &mut Vec<String>) -> Option<Authority> {
    let keys = Keys::open(config).ok()?;
    match authority::load(store, &keys).await {
        Ok(authority) => {
            ends(&authority, config, findings);
            Some(authority)
        }
        Err(error) => {
            findings.push(format!("The keys cannot be used: {error}."));
            None
        }
    }
}

async fn database(config: &Config, findings: &mut Vec<String>) -> Option<Authority> {
    let mut found = None;
    let store = match open_store(config, false).await {
        Ok(store) => store,
        Err(error) => {
            findings.push(format!(
                "The database cannot be opened: {error:#}; check [database] url."
            ));
            return None;
        }
    };
    match store.schema().await {
        Ok(schema) if schema.current < schema.known => {
            findings.push(
                "The schema of the database is older than this program; run muster-server migrate."
                    .to_owned(),
            );
        }
        Ok(_) => match store.collective().await {
            Ok(Some(_)) => {
                found = authority(config, &store, findings).await;
                match store.audit_verify().await {
                Ok(report) => findings.extend(report.bad.map(|bad| {
                    format!("The audit log is damaged: {bad}; compare it with your archived copy and restore a backup.")
                })),
                Err(error) => findings.push(format!("The audit log cannot be read: {error}.")),
                }
            }
            Ok(None) => findings.push("The database holds no collective; run muster-server init.".to_owned()),
            Err(error) => findings.push(format!("The database cannot be read: {error}.")),
        },
        Err(error) => findings.push(format!(
            "The database has no readable schema: {error}; run muster-server init."
        )),
    }
    let (before, theirs) = (Clock::system().unix_ms(), store.machine_ms().await);
    match theirs {
        Ok(theirs) => findings.extend(theirs.and_then(|theirs| clock_difference(before, theirs))),
        Err(error) => findings.push(format!("The clock of the database cannot be read: {error}.")),
    }
    match store.durability().await {
        Ok(durability) if durability.safe => {}
        Ok(durability) => {
            let settings: Vec<_> = durability
                .settings
                .iter()
                .map(|(name, value)| format!("{name} = {value}"))
                .collect();
            findings.push(format!(
                "The database may lose what it has confirmed ({}); switch syncing on in the database's configuration.",
                settings.join(", ")
            ));
        }
        Err(error) => findings.push(format!("The durability of the database cannot be read: {error}.")),
    }
    store.close().await;
    found
}

/// What is wrong with the clock of this machine or that of the database, milliseconds since 1970.
fn clock_difference(ours: i64, theirs: i64) -> Option<String> {
    let difference = ours.saturating_sub(theirs) / 1000;
    let way = if difference > 0 { "ahead of" } else { "behind" };
    (difference.abs() > CLOCK_DIFFERENCE).then(|| {
        format!(
            "The clock of this machine is {} s {way} that of the database; set up a time service on both.",
            difference.abs()
        )
    })
}

/// Who else may read what only this account should.
fn modes(config: &Config, findings: &mut Vec<String>) {
    let keys = config.state_dir.join("keys");
    let mode = |path: &Path| {
        std::fs::metadata(path)
            .ok()
            .map(|found| found.permissions().mode())
    };
    let mut private = vec![keys.clone()];
    if let Ok(files) = std::fs::read_dir(&keys) {
        private.extend(files.flatten().map(|file| file.path()));
    }
    for path in private {
        if mode(&path).is_some_and(|mode| mode & 0o077 != 0) {
            findings.push(format!(
                "Others may look into {}; run chmod go-rwx on it.",
                path.display()
            ));
        }
    }
    let database = config.state_dir.join("muster.db");
    let open = |path: &Path, bits: u32| mode(path).is_some_and(|mode| mode & bits != 0);
    if open(&config.state_dir, 0o001) && open(&database, 0o004) {
        findings.push(format!(
            "Everybody on this machine may read {}; run chmod o-rwx on it and on {}.",
            database.display(),
            config.state_dir.display()
        ));
    }
}

/// When the certificates end that this control plane has on disk.
fn ends(authority: &Authority, config: &Config, findings: &mut Vec<String>) {
    let now = Clock::system().unix_ms();
    let issued = || config.state_dir.join("keys/front-end.pem");
    let own = config.front_end_certificate.clone().unwrap_or_else(issued);
    let own = std::fs::read(own)
        .ok()
        .and_then(|pem| pem::certificates(&pem).ok());
    let own = own.and_then(|chain| chain.into_iter().next());
    let roots = authority.roots.certificates().iter().map(|root| ("root", root));
    let issuing = std::iter::once(("issuing", &authority.intermediate));
    let policy = authority.policy_chain.first().map(|policy| ("policy", policy));
    let all = roots
        .chain(issuing)
        .chain(policy)
        .chain(own.as_ref().map(|own| ("front_end", own)));
    for (what, certificate) in all {
        let begins = Outline::of(certificate).map(|outline| outline.validity.not_before_ms());
        let Some(ends) = not_after_ms(certificate) else {
            continue;
        };
        let expiry = Expiry {
            what,
            name: String::new(),
            // Of a foreign certificate that is not read whole, the end is what matters.
            validity: Validity::between(begins.unwrap_or(0), ends),
        };
        if let Some(mut warning) = expiry.warning(now) {
            if let Some(first) = warning.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            findings.push(format!("{warning}."));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_by_more_than_half_a_minute_are_worth_a_sentence() {
        let now = 1_800_000_000_000;
        for theirs in [now, now - 30_999, now + 30_999] {
            assert_eq!(clock_difference(now, theirs), None, "{theirs}");
        }
        for (theirs, difference) in [
            (now - 31_000, "31 s ahead of"),
            (now + 7_200_000, "7200 s behind"),
        ] {
            let said = clock_difference(now, theirs).expect("a finding");
            assert!(
                said.contains(difference) && said.contains("time service"),
                "{said}"
            );
        }
        assert!(
            clock_difference(i64::MAX, i64::MIN).is_some(),
            "whatever a database says"
        );
    }
}
