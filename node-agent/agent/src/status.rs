//! What `muster-node status` says: the identity on disk, and what a running agent last wrote about itself.

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use muster_daemon::{
    clock::format_rfc3339,
    file::{self, Access, FileError},
};
use muster_ids::Digest;
use muster_wire::node::v1::control::EngineInfo;
use serde::{Deserialize, Serialize};

use crate::{
    agent::Agent,
    credentials::{Credentials, Exchange, Stage},
    home::Home,
    inventory::engine_list,
    link::LinkState,
    revoked::Revoked,
    sentence,
};

/// How often a running agent looks whether its status has changed.
const LOOK: Duration = Duration::from_secs(2);
/// The longest status file.
const MAX_FILE: u64 = 1024 * 1024;

/// What a running agent says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// Its process.
    pub process: u32,
    /// Its version.
    pub version: String,
    /// `connecting`, `connected`, `lost` or `revoked`.
    pub link: String,
    /// To whom it is connected, or why not.
    pub detail: Option<String>,
    /// Number of the trust state that it holds.
    pub trust_number: Option<u64>,
    /// Whether that is current.
    pub trust_fresh: bool,
    /// When the certificate is renewed, and whether that is under way.
    #[serde(default)]
    pub renewal: Option<String>,
    /// The engines as they really are.
    pub engines: Vec<EngineInfo>,
    /// What is not as it should be.
    pub conditions: Vec<String>,
    /// Settings that stand in files of services and have no effect.
    #[serde(default)]
    pub notices: Vec<String>,
    /// Runs at work.
    pub running: usize,
    /// Runs that are not acknowledged, those at work included.
    pub unacknowledged: usize,
}

impl Live {
    /// The agent as it is now.
    pub fn of(agent: &Agent) -> Self {
        let (link, detail) = match &*agent.link.borrow() {
            LinkState::Connecting => ("connecting", None),
            LinkState::Connected(control) => ("connected", Some(control.connection.endpoint().to_string())),
            LinkState::Lost(why) => ("lost", Some(why.clone())),
            LinkState::Revoked(why) => ("revoked", Some(why.clone())),
        };
        Self {
            process: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            link: link.to_owned(),
            detail,
            trust_number: agent.trust.held().map(|held| held.version.number),
            trust_fresh: agent.trust.is_fresh(agent.clock.boot()),
            renewal: agent.renewal.words(),
            engines: engine_list(&agent.probe()),
            conditions: agent.conditions.list(),
            notices: (agent.config().services.notices.iter())
                .map(|notice| notice.sentence.clone())
                .collect(),
            running: agent.running.len(),
            unacknowledged: agent.spool.claims().len(),
        }
    }

    /// What the file says, if the process that wrote it still lives.
    pub fn read(path: &Path) -> Option<Self> {
        let bytes = file::read(path, Access::Private, MAX_FILE).ok()?;
        let live: Self = serde_json::from_slice(&bytes).ok()?;
        lives(live.process).then_some(live)
    }

    fn write(&self, path: &Path) -> Result<(), FileError> {
        let bytes = serde_json::to_vec(self).expect("a status has no maps");
        file::write(path, &bytes, 0o600, "status")
    }
}

/// The process that last locked the state folder, if it still lives. Locking would tell surely, but it would also
/// keep an agent out that starts in this moment.
pub fn holder(home: &Home) -> Option<u32> {
    let text = std::fs::read_to_string(home.root().join("lock")).ok()?;
    let process = text.trim().parse().ok()?;
    lives(process).then_some(process)
}

fn lives(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.starts_with("muster-node"))
}

/// Keeps the status file true as long as the agent works.
pub async fn keep(agent: Arc<Agent>) {
    let mut written = None;
    let mut link = agent.link.subscribe();
    loop {
        let live = Live::of(&agent);
        if written.as_ref() != Some(&live) {
            match live.write(&agent.home.status()) {
                Ok(()) => written = Some(live),
                Err(error) => tracing::warn!(error = %sentence(&error), "the status file cannot be written"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = link.changed() => {}
        }
    }
}

/// The whole, as people and programs get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// `not_joined`, `joining`, `unconfirmed`, `trusted`, `revoked` or `rejected`.
    pub state: &'static str,
    /// What this means and what to do.
    pub summary: String,
    /// Fingerprint of the node's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
    /// The verification code to be approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Fingerprints of the collective's roots.
    pub ca_fingerprints: Vec<Digest>,
    /// The name that was granted or asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The collective.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collective: Option<String>,
    /// Pool and site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// Until when the certificate is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<String>,
    /// Where it asks or belongs.
    pub control_planes: Vec<String>,
    /// The running agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Live>,
    /// The process that works on the state of this node, where that is no running agent: it waits for the approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<u32>,
}

impl Status {
    /// The status of a node with this identity, of which a control plane said at last that it is `revoked`.
    pub fn of(credentials: Option<&Credentials>, agent: Option<Live>, revoked: Option<&Revoked>) -> Self {
        let mut status = Self {
            state: "not_joined",
            summary: "This node has not joined; run muster-node join http://HOST:9080.".to_owned(),
            fingerprint: credentials.map(Credentials::fingerprint),
            code: None,
            ca_fingerprints: Vec::new(),
            name: None,
            node: None,
            collective: None,
            placement: None,
            certificate_until: None,
            control_planes: Vec::new(),
            agent,
            process: None,
        };
        match credentials.map(Credentials::stage) {
            None => {}
            Some(Stage::Joining(joining)) => {
                status.state = "joining";
                status.name = Some(joining.name.to_string());
                status.control_planes.clone_from(&joining.registration);
                let token = joining.exchange.as_ref().and_then(Exchange::token);
                status.code = joining
                    .exchange
                    .as_ref()
                    .filter(|_| token.is_none())
                    .map(|exchange| exchange.transcript().code().to_string());
                if let Some(exchange) = &joining.exchange {
                    status.ca_fingerprints = exchange.roots.iter().map(|root| Digest::of(root)).collect();
                }
                status.summary = match (&status.code, &joining.renewal) {
                    (Some(code), None) => {
                        format!(
                            "Waits for approval: an administrator runs muster join approve --code {code}."
                        )
                    }
                    (Some(code), Some(why)) => format!(
                        "Joins again because {why}: an administrator runs muster join approve --code {code}."
                    ),
                    (None, _) if token.is_some() => "Asks to be let in by its join token.".to_owned(),
                    (None, _) => "Has not reached a control plane yet.".to_owned(),
                };
            }
            Some(Stage::Unconfirmed(member) | Stage::Trusted(member)) => {
                let trusted = matches!(credentials.map(Credentials::stage), Some(Stage::Trusted(_)));
                status.state = if trusted { "trusted" } else { "unconfirmed" };
                status.summary = if trusted {
                    "A member of the collective.".to_owned()
                } else {
                    "Approved, but the control plane is not proved: compare the CA fingerprint with the one that \
                     muster-server init printed, then run muster-node confirm."
                        .to_owned()
                };
                status.ca_fingerprints = member.ca_fingerprints();
                status.name = Some(member.name.to_string());
                status.node = Some(member.node.to_string());
                status.collective = Some(member.collective.to_string());
                status.placement = Some(format!("pool {}, site {}", member.pool, member.site));
                status.certificate_until = muster_pki::tls::peer(&member.chain)
                    .ok()
                    .map(|facts| format_rfc3339(facts.validity.not_after_ms()));
                status.control_planes.clone_from(&member.back_ends);
                let link = status.agent.as_ref().map(|live| live.link.as_str());
                if let Some(revoked) = revoked.filter(|_| link != Some("connected")) {
                    status.state = "revoked";
                    status.summary = revoked.sentence();
                } else if link == Some("revoked") {
                    status.state = "revoked";
                    "The collective does not trust this node any more: ask an administrator, or run muster-node leave \
                     and join again."
                        .clone_into(&mut status.summary);
                }
            }
            Some(Stage::Rejected(rejected)) => {
                status.state = "rejected";
                let reason = rejected
                    .reason
                    .as_ref()
                    .map(|reason| format!(" (\"{}\")", reason.escape_debug()))
                    .unwrap_or_default();
                status.summary = format!(
                    "An administrator rejected the join{reason}; ask, then run muster-node join again."
                );
            }
        }
        status
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: &str| {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{name:<18}{value}");
        };
        row("State", self.state);
        row("", &self.summary);
        if let Some(code) = &self.code {
            row("Verification code", code);
        }
        if let Some(fingerprint) = &self.fingerprint {
            row("Key fingerprint", &fingerprint.to_string());
        }
        for fingerprint in &self.ca_fingerprints {
            row("CA fingerprint", &fingerprint.to_string());
        }
        let fields = [
            ("Name", &self.name),
            ("Node", &self.node),
            ("Collective", &self.collective),
            ("Placement", &self.placement),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                row(name, value);
            }
        }
        if let Some(until) = &self.certificate_until {
            // As muster shows times: 2026-11-28 23:51:51Z.
            let seconds = until.split('.').next().unwrap_or(until);
            row("Certificate until", &format!("{}Z", seconds.replace('T', " ")));
        }
        if !self.control_planes.is_empty() {
            row("Control planes", &self.control_planes.join(", "));
        }
        match &self.agent {
            None => match self.process {
                Some(process) => row("Agent", &format!("process {process}, not a member yet")),
                None => row("Agent", "not running"),
            },
            Some(live) => {
                let detail = match (&live.detail, live.link.as_str()) {
                    (Some(detail), "connected") => format!(" to {detail}"),
                    (Some(detail), _) => format!(": {detail}"),
                    (None, _) => String::new(),
                };
                row(
                    "Agent",
                    &format!("process {}, {}{detail}", live.process, live.link),
                );
                let trust = match live.trust_number {
                    None => "none held".to_owned(),
                    Some(number) if live.trust_fresh => format!("number {number}, fresh"),
                    Some(number) => format!("number {number}, stale: trusted code does not run as trusted"),
                };
                row("Trust state", &trust);
                if let Some(renewal) = &live.renewal {
                    row("Renewal", renewal);
                }
                for engine in &live.engines {
                    row("Engine", &engine.description);
                }
                row(
                    "Runs",
                    &format!(
                        "{} at work, {} not acknowledged",
                        live.running, live.unacknowledged
                    ),
                );
                for condition in &live.conditions {
                    row("Condition", condition);
                }
                for notice in &live.notices {
                    row("No effect", notice);
                }
            }
        }
        text
    }
}
