//! The configuration of the control plane, `/etc/muster/server.toml`: every key, its default and its range.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use muster_app::{Certificates, ExpiredRenewal, Queues, Quotas, join::auto_trust::AutoTrust};
use muster_daemon::{
    config::{ConfigErrors, Reader, Setting},
    log::{LogFormat, LogLevels},
    secret::SecretFile,
};
use muster_model::join::approval::{ApprovalRule, MOST_PEOPLE};
use muster_pki::ServerName;
use muster_store::StoreConfig;
use secrecy::{ExposeSecret as _, SecretString};

use crate::pkcs11::TokenKey;

/// Where the configuration is looked for when `--config` names no other place.
pub const DEFAULT_FILE: &str = "/etc/muster/server.toml";
/// Where the state is kept when neither `--state-dir` nor the file names another place.
pub const DEFAULT_STATE: &str = "/var/lib/muster/server";

/// Shorter ones end while they are being renewed; below an hour is for tests.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(10);
/// Longer ones are not renewed while anybody remembers how.
const LONGEST_LIFETIME: Duration = Duration::from_hours(397 * 24);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Keys, certificates and, with SQLite, the database.
    pub state_dir: PathBuf,
    /// `sqlite://…` or `postgres://…`.
    pub database_url: SecretString,
    /// Plain HTTP, join messages only.
    pub registration: SocketAddr,
    /// How many connections it holds at once.
    pub registration_connections: usize,
    /// Mutual TLS, nodes only.
    pub back_end: SocketAddr,
    /// How many connections it holds at once.
    pub back_end_connections: usize,
    /// `host:port` where nodes find the back end.
    pub back_end_advertised: Vec<String>,
    /// TLS, people and programs.
    pub front_end: SocketAddr,
    /// How many connections it holds at once.
    pub front_end_connections: usize,
    /// The front end's own certificate, in place of one of the collective.
    pub front_end_certificate: Option<PathBuf>,
    /// Its key.
    pub front_end_key: Option<PathBuf>,
    /// Names and addresses in the certificate that the collective issues for the front end.
    pub front_end_names: Vec<ServerName<'static>>,
    /// Plain HTTP, health and metrics.
    pub operations: SocketAddr,
    /// Where the key lies that seals the others, if not in the state directory.
    pub master_key: Option<SecretFile>,
    /// Join offers in all, a second.
    pub offers_per_second: u64,
    /// Join offers to nodes that name a live token, a second.
    pub token_offers_per_second: u64,
    /// How long certificates of nodes are valid, and what may come after them.
    pub certificates: Certificates,
    /// Joins that several people must approve.
    pub approvals: Vec<ApprovalRule>,
    /// Requests that may wait at once.
    pub quotas: Quotas,
    /// Nodes that are trusted without a person.
    pub auto_trust: Option<AutoTrust>,
    /// How long a session lasts.
    pub session_lifetime: Duration,
    /// Largest single input of a run, bytes.
    pub max_input: u64,
    /// From where certificates of other authorities may be fetched.
    pub allowed_issuers: Vec<String>,
    /// Runs that may wait at once.
    pub queues: Queues,
    /// `auto`, `human` or `json`.
    pub log_format: LogFormat,
    /// What is logged, for example `info,muster_app=debug`.
    pub log_levels: LogLevels,
    /// The issuing key in a PKCS#11 token, in place of a file.
    pub issuing_key: Option<TokenKey>,
    /// What `config show` prints.
    pub settings: Vec<Setting>,
}

impl Config {
    /// Reads the file and the environment; all errors at once.
    pub fn read(
        file: Option<&Path>,
        state_dir: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let reader = Reader::open(
            file.unwrap_or(Path::new(DEFAULT_FILE)),
            file.is_some(),
            environment,
        )?;
        Self::of(reader, state_dir)
    }

    fn of(mut reader: Reader, state_dir: Option<&Path>) -> Result<Self, ConfigErrors> {
        let configured = reader.path("server", "state_dir", DEFAULT_STATE);
        // Of the command line it may be relative.
        let state_dir = state_dir.map_or(configured, |given| {
            std::path::absolute(given).unwrap_or_else(|_| given.to_owned())
        });
        let sqlite = format!("sqlite://{}", state_dir.join("muster.db").display());
        let url = reader.secret_text("database", "url", &sqlite);
        let (key, database_url) = match reader.optional_secret_file("database", "url_file") {
            None => ("url", url),
            Some(file) => match file.read_text() {
                Ok(text) => ("url_file", text),
                Err(error) => {
                    reader.refuse("database", "url_file", error.to_string());
                    ("url", url)
                }
            },
        };
        if let Err(error) = StoreConfig::new(database_url.expose_secret()).check() {
            reader.refuse("database", key, error.to_string());
        }
        let back_end = reader.address("back_end", "listen", ([0, 0, 0, 0], 9443));
        let master_key = reader.optional_secret_file("keys", "master_key_file");
        let master_key = master_key.or_else(|| reader.credential("muster-master-key"));
        let config = Self {
            database_url,
            master_key,
            registration: reader.address("registration", "listen", ([0, 0, 0, 0], 9080)),
            registration_connections: connections(&mut reader, "registration", 1_024),
            back_end,
            back_end_connections: connections(&mut reader, "back_end", 16_384),
            back_end_advertised: reader.list("back_end", "advertise", &[]),
            front_end: reader.address("front_end", "listen", ([0, 0, 0, 0], 8443)),
            front_end_connections: connections(&mut reader, "front_end", 2_048),
            front_end_certificate: reader.optional_path("front_end", "certificate"),
            front_end_key: reader.optional_path("front_end", "key"),
            front_end_names: front_end_names(&mut reader),
            operations: reader.address("operations", "listen", ([127, 0, 0, 1], 9090)),
            offers_per_second: reader.number("join", "offers_per_second", 200, 1..=100_000),
            token_offers_per_second: reader.number("join", "token_offers_per_second", 1_000, 1..=100_000),
            certificates: certificates(&mut reader),
            approvals: approvals(&mut reader),
            quotas: Quotas {
                per_address: reader.number("join", "pending_per_address", 100, 1..=100_000),
                per_prefix: reader.number("join", "pending_per_prefix", 1_000, 1..=100_000),
                total: reader.number("join", "pending_total", 10_000, 1..=100_000),
            },
            auto_trust: auto_trust(&mut reader),
            session_lifetime: reader.duration(
                "front_end",
                "session_lifetime",
                Duration::from_hours(12),
                Duration::from_mins(1)..=Duration::from_hours(30 * 24),
            ),
            max_input: reader.number("runs", "max_input_mib", 256, 1..=65_536) * 1024 * 1024,
            queues: queues(&mut reader),
            allowed_issuers: allowed_issuers(&mut reader),
            issuing_key: token_key(&mut reader),
            log_format: reader.choice("log", "format", &LogFormat::NAMES, "auto"),
            log_levels: reader.log_levels("log", "levels", "info"),
            settings: Vec::new(),
            state_dir,
        };
        if config.front_end_certificate.is_some() != config.front_end_key.is_some() {
            reader.refuse(
                "front_end",
                "key",
                "the front end's certificate and key are set together or not at all",
            );
        }
        for address in &config.back_end_advertised {
            if address
                .rsplit_once(':')
                .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
            {
                reader.refuse("back_end", "advertise", format!("\"{address}\" is not host:port"));
            }
        }
        let settings = reader.finish()?;
        Ok(Self { settings, ..config })
    }

    /// Where nodes are told to find the back end: what is advertised, else the listening address if it is one
    /// that others could reach, else `fallback` (the address that the node spoke to) with the back end's port.
    pub fn back_ends(&self) -> Vec<String> {
        if !self.back_end_advertised.is_empty() {
            return self.back_end_advertised.clone();
        }
        let ip: IpAddr = self.back_end.ip();
        if ip.is_unspecified() {
            vec![format!(":{}", self.back_end.port())]
        } else {
            vec![self.back_end.to_string()]
        }
    }

    /// Descriptors that all listeners together need when they are full, and the rest of the program beside them.
    pub fn descriptors(&self) -> usize {
        const REST: usize = 320;
        self.registration_connections + self.back_end_connections + self.front_end_connections + REST
    }

    /// Whether every address of the back end that nodes are told is one of this machine alone.
    pub fn back_end_is_loopback(&self) -> bool {
        let told = self.back_ends();
        told.iter().all(|address| is_loopback(address))
    }

    /// A configuration file with every key at its default, for `init` and the documentation.
    pub fn sample() -> &'static str {
        include_str!("../../../packaging/server.toml")
    }
}

fn connections(reader: &mut Reader, section: &str, default: u64) -> usize {
    let number = reader.number(section, "connections", default, 16..=1_000_000);
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What people call the front end by; a certificate without any name is of no use.
fn front_end_names(reader: &mut Reader) -> Vec<ServerName<'static>> {
    let given = reader.list("front_end", "names", &["localhost", "127.0.0.1"]);
    if given.is_empty() {
        reader.refuse(
            "front_end",
            "names",
            "a certificate needs a name; list the host names and addresses that people use, as in [\"control.example.org\", \"10.0.0.5\"]",
        );
    }
    let mut names = Vec::with_capacity(given.len());
    for name in given {
        match ServerName::try_from(name.clone()) {
            Ok(name) => names.push(name),
            Err(_) => reader.refuse(
                "front_end",
                "names",
                format!(
                    "\"{}\" is neither a host name nor an address",
                    name.escape_default()
                ),
            ),
        }
    }
    names
}

/// Addresses of certificates, in `[code_trust]`: without TLS, as certificates name them; what comes is verified.
fn allowed_issuers(reader: &mut Reader) -> Vec<String> {
    let addresses = reader.list("code_trust", "allowed_issuers", &[]);
    for address in &addresses {
        let plain = address.strip_prefix("http://").is_some_and(|rest| {
            rest.contains('/') && !rest.starts_with('/') && !rest.contains(['@', '#', '\\', ' '])
        });
        if !plain || address.len() > 512 {
            reader.refuse(
                "code_trust",
                "allowed_issuers",
                format!(
                    "\"{}\" is no address; write http://HOST/FILE as certificates name it",
                    address.escape_default()
                ),
            );
        }
    }
    addresses
}

/// How many runs may wait, in `[runs]`.
fn queues(reader: &mut Reader) -> Queues {
    let default = Queues::default();
    let mut number = |key, default: u32| {
        let number = reader.number("runs", key, u64::from(default), 1..=1_000_000);
        u32::try_from(number).unwrap_or(u32::MAX)
    };
    Queues {
        per_queue: number("queued_per_queue", default.per_queue),
        per_user: number("queued_per_user", default.per_user),
    }
}

/// `[certificates]`, and in `[join]` what follows them.
fn certificates(reader: &mut Reader) -> Certificates {
    let default = Certificates::default();
    let lifetimes = SHORTEST_LIFETIME..=LONGEST_LIFETIME;
    let policies = [
        ("approve", ExpiredRenewal::Approve),
        ("automatic", ExpiredRenewal::Automatic),
    ];
    let expired_renewal = reader.choice("join", "expired_renewal", &policies, "approve");
    let days = reader.number("join", "expired_renewal_days", 30, 0..=3650);
    Certificates {
        node_lifetime: reader.duration(
            "certificates",
            "node_lifetime",
            default.node_lifetime,
            lifetimes.clone(),
        ),
        receipt_lifetime: reader.duration(
            "certificates",
            "receipt_lifetime",
            default.receipt_lifetime,
            lifetimes,
        ),
        expired_renewal,
        expired_renewal_ms: i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(DAY_MS),
    }
}

/// Automatic trust, where it is switched on with open eyes.
fn auto_trust(reader: &mut Reader) -> Option<AutoTrust> {
    const SECTION: &str = "auto_trust";
    let enabled = reader.bool(SECTION, "enabled", false);
    let accepted = reader.bool(SECTION, "accept_forgeable", false);
    let mut hosts = Vec::new();
    for host in reader.list(SECTION, "allowed_hosts", &[]) {
        match host.parse() {
            Ok(name) => hosts.push(name),
            Err(error) => {
                let error: muster_ids::NameError = error;
                reader.refuse(SECTION, "allowed_hosts", error.to_string());
            }
        }
    }
    let expressions = reader.list(SECTION, "allowed_ip_regexps", &[]);
    let rules = AutoTrust::new(hosts, &expressions);
    if let Err(error) = &rules {
        reader.refuse(SECTION, "allowed_ip_regexps", error.clone());
    }
    if enabled && !accepted {
        reader.refuse(
            SECTION,
            "accept_forgeable",
            "whoever reaches the registration port can give a node any name, and often any address, so that automatic \
             trust lets in whom it does not mean; use join tokens (muster join-token create) and set enabled = false, or \
             set accept_forgeable = true if nobody else can reach that port",
        );
    }
    rules.ok().filter(|_| enabled)
}

/// The sections `[[join.approvals]]`.
fn approvals(reader: &mut Reader) -> Vec<ApprovalRule> {
    let mut rules = Vec::new();
    for section in reader.sections("join", "approvals") {
        let mut rule = ApprovalRule {
            capability: None,
            pool: None,
            count: MOST_PEOPLE,
        };
        if let Some(text) = reader.optional_text(&section, "capability") {
            match text.parse() {
                Ok(capability) => rule.capability = Some(capability),
                Err(error) => {
                    let error: String = error;
                    reader.refuse(&section, "capability", error);
                }
            }
        }
        if let Some(text) = reader.optional_text(&section, "pool") {
            match text.parse::<muster_ids::Name>() {
                Ok(pool) => rule.pool = Some(pool),
                Err(error) => reader.refuse(&section, "pool", error.to_string()),
            }
        }
        let count = reader.number(&section, "count", 2, 1..=u64::from(MOST_PEOPLE));
        rule.count = u32::try_from(count).unwrap_or(MOST_PEOPLE);
        rules.push(rule);
    }
    rules
}

/// Whether `address` (`host:port`) is one of this machine alone. An empty host stands for whatever a node dials.
pub(crate) fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The key in a token; module, token and PIN are set together or not at all.
fn token_key(reader: &mut Reader) -> Option<TokenKey> {
    let module = reader.optional_path("authority", "pkcs11_module");
    let token = reader.text("authority", "pkcs11_token", "");
    let pin = reader.optional_secret_file("authority", "pkcs11_pin_file");
    let label = reader.text("authority", "issuing_key_label", "muster-issuing");
    match (module, token.is_empty(), pin) {
        (Some(module), false, Some(pin)) => Some(TokenKey {
            module,
            token,
            pin,
            label,
        }),
        (None, true, None) => None,
        _ => {
            reader.refuse(
                "authority",
                "pkcs11_module",
                "the module, the token and the file of its PIN are set together or not at all",
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigErrors> {
        Config::of(Reader::of_text(Path::new("server.toml"), text, []), None)
    }

    #[test]
    fn loopback_addresses_are_known_in_every_writing() {
        for address in ["127.0.0.1:9443", "127.1.2.3:1", "[::1]:9443", "localhost:9443"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in [":9443", "10.0.0.5:9443", "server:9443", "[2001:db8::1]:9443"] {
            assert!(!is_loopback(address), "{address}");
        }
    }

    #[test]
    fn an_empty_file_gives_the_documented_ports() {
        let config = read("").expect("defaults");
        assert_eq!(
            [
                config.registration,
                config.back_end,
                config.front_end,
                config.operations
            ]
            .map(|a| a.port()),
            [9080, 9443, 8443, 9090]
        );
        assert!(config.operations.ip().is_loopback());
    }

    #[test]
    fn all_errors_are_reported_at_once_and_unknown_keys_name_the_nearest() {
        let errors = read("[front_end]\nlisten = 1\ncertificat = \"x\"\n[back_end]\nadvertise = [\"x\"]\n")
            .expect_err("three errors")
            .to_string();
        assert!(errors.contains("front_end.listen"), "{errors}");
        assert!(
            errors.contains("certificat") && errors.contains("certificate"),
            "{errors}"
        );
        assert!(errors.contains("host:port"), "{errors}");
    }

    #[test]
    fn what_would_keep_the_program_from_starting_is_an_error_of_the_configuration() {
        let refused = |text: &str| read(text).expect_err("refused").to_string();
        assert_eq!(
            refused("[log]\nlevels = \"wanr\"\n"),
            "server.toml line 2: log.levels is \"wanr\"; wanted: log levels in quotes: error, warn, info, debug, trace \
             or off, and where wanted others for single parts, as in \"info,muster_server=debug\""
        );
        for (url, what) in [
            ("mysql://control:secret@db/muster", "it begins with neither"),
            ("muster.db", "it begins with neither"),
            ("sqlite://muster.db", "the path is not absolute"),
            (
                "postgres://control:secret@db:port/muster",
                "it is not a PostgreSQL address",
            ),
        ] {
            assert_eq!(
                refused(&format!("[database]\nurl = \"{url}\"\n")),
                format!(
                    "server.toml line 2: database.url: the database address must be sqlite:///path or \
                     postgres://user@host/name: {what}"
                )
            );
        }
        assert!(refused("[front_end]\nnames = []\n").starts_with(
            "server.toml line 2: front_end.names: a certificate needs a name; list the host names"
        ));
        assert_eq!(
            refused("[front_end]\nnames = [\"control\", \"\"]\n"),
            "server.toml line 2: front_end.names: \"\" is neither a host name nor an address"
        );
        let errors = refused("[log]\nlevels = \"\"\n[database]\nurl = \"\"\n[front_end]\nnames = []\n");
        assert!(errors.starts_with("the configuration has 3 errors:"), "{errors}");
    }

    #[test]
    fn a_state_directory_of_the_command_line_may_be_relative() {
        let config = Config::of(
            Reader::of_text(Path::new("server.toml"), "", []),
            Some(Path::new("state")),
        )
        .expect("valid");
        assert!(config.state_dir.is_absolute() && config.state_dir.ends_with("state"));
    }

    #[test]
    fn automatic_trust_needs_a_word_that_it_can_be_forged() {
        assert!(read("").expect("defaults").auto_trust.is_none());
        let listed = "allowed_hosts = [\"terr01\"]\nallowed_ip_regexps = [\"10\\\\.1\\\\..*\"]\n";
        let errors = read(&format!("[auto_trust]\nenabled = true\n{listed}")).expect_err("no word");
        let errors = errors.to_string();
        assert!(
            errors.contains("auto_trust.accept_forgeable") && errors.contains("muster join-token create"),
            "{errors}"
        );
        let accepted = format!("[auto_trust]\nenabled = true\naccept_forgeable = true\n{listed}");
        assert!(read(&accepted).expect("valid").auto_trust.is_some());
        assert!(read("[auto_trust]\nallowed_ip_regexps = [\"(\"]\n").is_err());
    }

    #[test]
    fn rules_about_approvals_are_sections_of_their_own() {
        let config =
            read("[[join.approvals]]\ncapability = \"R\"\n[[join.approvals]]\npool = \"prod\"\ncount = 3\n")
                .expect("valid");
        let counts: Vec<_> = config.approvals.iter().map(|rule| rule.count).collect();
        assert_eq!(counts, [2, 3]);
        assert_eq!(
            config.approvals[0].capability,
            Some(muster_model::join::Capability::R)
        );
        let errors =
            read("[[join.approvals]]\ncapability = \"JULIA\"\ncount = 11\n[[join.approvals]]\npol = \"x\"\n")
                .expect_err("three errors")
                .to_string();
        for part in [
            "TERR, R or PYTHON",
            "join.approvals.0.count",
            "did you mean join.approvals.1.pool",
        ] {
            assert!(errors.contains(part), "{part} in {errors}");
        }
        assert!(read("[join]\napprovals = 2\n").is_err());
    }

    #[test]
    fn the_sample_is_valid_and_says_the_defaults() {
        let sample = read(Config::sample()).expect("valid");
        let default = read("").expect("defaults");
        assert_eq!(sample.registration, default.registration);
        assert_eq!(sample.offers_per_second, default.offers_per_second);
    }
}
