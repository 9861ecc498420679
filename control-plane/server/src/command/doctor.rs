//! `muster-server doctor`: looks for problems; each finding is one sentence with its cure.

use std::process::ExitCode;

use muster_app::authority;
use muster_daemon::{
    clock::{Clock, format_rfc3339},
    descriptors,
};
use muster_store::Store;
use tokio::net::TcpStream;

use super::{open_store, say};
use crate::{config::Config, keys::Keys};

/// An end within this time is a finding, milliseconds.
const SOON_MS: i64 = 90 * 24 * 60 * 60 * 1000;

/// Looks at state, keys, database and listeners. Ends with 1 when something was found.
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
    keys(config, &mut findings);
    database(config, &mut findings).await;
    listeners(config, &mut findings).await;
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

async fn authority(config: &Config, store: &Store, findings: &mut Vec<String>) {
    let Ok(keys) = Keys::open(config) else {
        return;
    };
    match authority::load(store, &keys).await {
        Ok(authority) => {
            let ends = authority.intermediate_expires();
            if ends - Clock::system().unix_ms() < SOON_MS {
                findings.push(format!(
                    "The issuing certificate ends on {}; bring the root's key back with muster-server root-key import, and the control plane renews it.",
                    format_rfc3339(ends)
                ));
            }
        }
        Err(error) => findings.push(format!("The keys cannot be used: {error}.")),
    }
}

async fn database(config: &Config, findings: &mut Vec<String>) {
    let store = match open_store(config, false).await {
        Ok(store) => store,
        Err(error) => {
            findings.push(format!(
                "The database cannot be opened: {error:#}; check [database] url."
            ));
            return;
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
                authority(config, &store, findings).await;
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
}

async fn listeners(config: &Config, findings: &mut Vec<String>) {
    for (name, address) in [
        ("registration", config.registration),
        ("back end", config.back_end),
        ("front end", config.front_end),
        ("operations", config.operations),
    ] {
        let mut target = address;
        if target.ip().is_unspecified() {
            target.set_ip(if target.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        let reached =
            tokio::time::timeout(std::time::Duration::from_secs(3), TcpStream::connect(target)).await;
        if !matches!(reached, Ok(Ok(_))) {
            findings.push(format!(
                "Nothing answers on the {name} listener {address}; start muster-server serve."
            ));
        }
    }
    for address in &config.back_end_advertised {
        if address.starts_with("127.") || address.starts_with("localhost") || address.starts_with("[::1]") {
            findings.push(format!(
                "The back end is advertised as {address}, which other machines cannot reach; set [back_end] advertise."
            ));
        }
    }
}
