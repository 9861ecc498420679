//! The settings of a node: `node.toml`, the environment, and what the command line overrides.
//!
//! Invariant: a [`Config`] is wholly valid. Nothing in it can loosen trust: `trust.force_restricted` and a
//! shorter `trust.max_staleness` only tighten what the control plane decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::{Component, Path, PathBuf},
    time::Duration,
};

use muster_daemon::{
    config::{ConfigErrors, Reader},
    log::{LogFormat, LogLevels},
    secret::SecretFile,
};
use muster_engines::{Destination, JAILS_OWN};
use muster_ids::{Digest, Name};

use crate::{capability::Capability, home};

pub mod properties;
mod sample;
mod services;

pub use sample::{Given, sample};
pub use services::{Notice, Service, Services};

/// The longest that a trust state may be relied on (protocols.md 3).
const MAX_STALENESS: Duration = Duration::from_mins(15);
/// The port of the registration listener where a URL names none.
const REGISTRATION_PORT: u16 = 9080;

/// Everything that an administrator can set on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it was read.
    pub file: PathBuf,
    /// The name that the node asks for; the host's own when absent.
    pub name: Option<Name>,
    /// What it offers; everything that is installed when empty.
    pub capabilities: Vec<Capability>,
    /// The pool that it asks for.
    pub pool: Option<Name>,
    /// The site that it asks for.
    pub site: Option<Name>,
    /// The state folder.
    pub state_dir: PathBuf,
    /// Addresses that it shows to the approver.
    pub addresses: Vec<IpAddr>,
    /// Registration listeners, `host:port`.
    pub registration: Vec<String>,
    /// Back ends, `host:port`, in place of those that the control plane named.
    pub back_ends: Vec<String>,
    /// How it joins.
    pub join: Join,
    /// How old its trust may be.
    pub trust: Trust,
    /// Where runs happen.
    pub jail: Jail,
    /// The languages.
    pub engines: Engines,
    /// Where package sets come from.
    pub packages: Packages,
    /// What trusted code may use.
    pub unrestricted: Unrestricted,
    /// What a run may use at the most.
    pub limits: Limits,
    /// What holds for each engine: sessions, children that wait, limits, packages.
    pub services: Services,
    /// The log's levels.
    pub log_level: LogLevels,
    /// The log's form.
    pub log_format: LogFormat,
    /// Where to listen for `/healthz`, `/readyz` and `/metrics`.
    pub operations: Option<SocketAddr>,
}

/// How the node joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Fingerprints of root certificates, of which the control plane must have one.
    pub ca_fingerprint: Vec<Digest>,
    /// A join token.
    pub token_file: Option<SecretFile>,
    /// Whether the service may begin a join although nothing proves the control plane.
    pub accept_unverified_ca: bool,
}

/// How old the node's trust may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// For how long a beacon counts.
    pub max_staleness: Duration,
    /// Whether everything runs restricted here, whatever is trusted.
    pub force_restricted: bool,
}

/// The jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jail {
    /// The launcher.
    pub program: PathBuf,
    /// The library that engines load to fork and lock.
    pub lock_library: PathBuf,
    /// First host id for the jail, with the number of ids.
    pub ids: Option<(u32, u32)>,
    /// Whether a run gets a fresh process instead of a forked one.
    pub fresh_process: bool,
}

/// The languages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engines {
    /// R's home, the folder with `bin`.
    pub r_home: PathBuf,
    /// The virtual environment with `bin/python`.
    pub python: PathBuf,
    /// The program of the original TERR engine; GNU R stands in for it when absent.
    pub terr: Option<PathBuf>,
    /// R packages that are loaded before a run comes.
    pub r_packages: Vec<String>,
    /// Python packages that are imported before a run comes.
    pub python_packages: Vec<String>,
    /// Where the agent writes the runners; below the state folder when absent.
    pub runners: Option<PathBuf>,
    /// A folder with the settings of services of the original: `TERR/conf/custom.properties` and so on.
    pub services: Option<PathBuf>,
}

/// Where package sets come from, and how much of them is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packages {
    /// Folders with wheels, source packages of R and packages of Debian.
    pub sources: Vec<PathBuf>,
    /// Addresses of indexes of Python packages, for what the folders lack.
    pub indexes: Vec<String>,
    /// Their hosts, and those that they refer to.
    pub index_hosts: BTreeSet<Destination>,
    /// Where the sets are kept; below the state folder when absent.
    pub folder: Option<PathBuf>,
    /// The most sets.
    pub sets: u32,
    /// The most MiB of all sets.
    pub total_mib: u64,
    /// The most MiB of one set.
    pub set_mib: u64,
    /// How long a build may take.
    pub build_time: Duration,
}

/// What trusted code may use beyond the jail's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrestricted {
    /// What it may read.
    pub readable: Vec<Shown>,
    /// What it may write.
    pub writable: Vec<Shown>,
    /// Whether it may use the host's network.
    pub network_host: bool,
    /// Whether this is also the most that a policy of the control plane can give here.
    pub at_most: bool,
}

/// A file or folder of the host, and where trusted code sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// On the host.
    pub source: PathBuf,
    /// In the jail.
    pub target: PathBuf,
}

/// What a run may use at the most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Processes and threads.
    pub processes: u32,
    /// Scratch space in MiB.
    pub scratch_mib: u64,
    /// Wall time in seconds.
    pub wall_seconds: u64,
    /// Results in MiB.
    pub output_mib: u64,
    /// What is kept of standard output and of standard error each, in KiB.
    pub printed_kib: u64,
}

impl Config {
    /// Reads `file`; one that does not exist is empty unless it `must_exist`.
    pub fn load(
        file: &Path,
        must_exist: bool,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let environment: BTreeMap<String, String> = environment.into_iter().collect();
        let reader = Reader::open(file, must_exist, environment.clone())?;
        let config = Self::read(reader, &environment)?;
        Ok(Self {
            file: file.to_owned(),
            ..config
        })
    }

    /// The folders in which the files of services lie.
    pub fn service_folders(&self) -> Vec<PathBuf> {
        let folder = self.engines.services.iter();
        folder
            .flat_map(|folder| ["TERR", "R", "PYTHON"].map(|service| folder.join(service).join("conf")))
            .collect()
    }

    fn read(mut reader: Reader, environment: &BTreeMap<String, String>) -> Result<Self, ConfigErrors> {
        let r = &mut reader;
        let mut config = Self {
            file: PathBuf::new(),
            name: parsed(r, "node", "name"),
            capabilities: parsed_list(r, "node", "capabilities"),
            pool: parsed(r, "node", "pool"),
            site: parsed(r, "node", "site"),
            state_dir: r.path("node", "state_dir", home::DEFAULT_STATE_DIR),
            addresses: parsed_list(r, "node", "addresses"),
            registration: checked_list(r, "control_plane", "registration", registration_address),
            back_ends: checked_list(r, "control_plane", "back_ends", back_end_address),
            join: Join {
                ca_fingerprint: parsed_list(r, "join", "ca_fingerprint"),
                token_file: r.optional_secret_file("join", "token_file"),
                accept_unverified_ca: r.bool("join", "accept_unverified_ca", false),
            },
            trust: Trust {
                max_staleness: r.duration(
                    "trust",
                    "max_staleness",
                    MAX_STALENESS,
                    Duration::from_mins(1)..=MAX_STALENESS,
                ),
                force_restricted: r.bool("trust", "force_restricted", false),
            },
            jail: jail(r),
            engines: Engines {
                r_home: r.path("engines", "r_home", "/usr/lib/R"),
                python: r.path("engines", "python", "/opt/muster/python"),
                terr: r.optional_path("engines", "terr"),
                r_packages: r.list("engines", "r_packages", &[]),
                python_packages: r.list("engines", "python_packages", &["numpy", "pandas"]),
                runners: r.optional_path("engines", "runners"),
                services: r.optional_path("engines", "services"),
            },
            packages: Packages {
                sources: checked_list(r, "packages", "sources", source),
                indexes: checked_list(r, "packages", "indexes", |text| {
                    index(text).map(|_| text.to_owned())
                }),
                index_hosts: checked_list(r, "packages", "index_hosts", destination)
                    .into_iter()
                    .collect(),
                folder: r.optional_path("packages", "folder"),
                sets: small(r.number("packages", "sets", 16, 1..=1024)),
                total_mib: r.number("packages", "total_mib", 4096, 1..=1024 * 1024),
                set_mib: r.number("packages", "set_mib", 512, 1..=64 * 1024),
                build_time: r.duration(
                    "packages",
                    "build_time",
                    Duration::from_mins(15),
                    Duration::from_secs(10)..=Duration::from_hours(24),
                ),
            },
            unrestricted: Unrestricted {
                readable: checked_list(r, "unrestricted", "readable", shown),
                writable: checked_list(r, "unrestricted", "writable", shown),
                network_host: r.choice(
                    "unrestricted",
                    "network",
                    &[("none", false), ("host", true)],
                    "none",
                ),
                at_most: r.bool("unrestricted", "at_most", false),
            },
            limits: Limits {
                memory_mib: r.number("limits", "memory_mib", 1000, 64..=1024 * 1024),
                processes: small(r.number("limits", "processes", 64, 1..=4096)),
                scratch_mib: r.number("limits", "scratch_mib", 256, 1..=1024 * 1024),
                wall_seconds: r.number("limits", "wall_seconds", 600, 1..=7 * 24 * 3600),
                output_mib: r.number("limits", "output_mib", 100, 1..=16 * 1024),
                printed_kib: r.number("limits", "printed_kib", 1024, 1..=64 * 1024),
            },
            services: Services::default(),
            log_level: r.log_levels("log", "level", "info"),
            log_format: r.choice("log", "format", &LogFormat::NAMES, "auto"),
            operations: r.optional_address("operations", "listen"),
        };
        let own = config.packages.indexes.iter();
        config
            .packages
            .index_hosts
            .extend(own.filter_map(|text| index(text).ok()));
        config.services = services::services(r, &config, environment);
        if let Some(home) = config.services.r.r_home.clone() {
            config.engines.r_home = home;
        }
        if config
            .operations
            .is_some_and(|address| !address.ip().is_loopback())
        {
            r.refuse(
                "operations",
                "listen",
                "metrics and health are for this machine only; name a loopback address such as \"127.0.0.1:9091\"",
            );
        }
        reader.finish().map(|_| config)
    }
}

fn jail(r: &mut Reader) -> Jail {
    let program = r.path("jail", "program", "/usr/lib/muster/muster-jail");
    let lock_library = r.path("jail", "lock_library", "/usr/lib/muster/libmuster_lock.so");
    let first = r.optional_number("jail", "id_first", 65_536..=u64::from(u32::MAX) - 65_536);
    let count = r.number("jail", "id_count", 64, 2..=65_536);
    Jail {
        program,
        lock_library,
        ids: first.map(|first| (small(first), small(count))),
        fresh_process: r.choice("jail", "isolation", &[("fork", false), ("exec", true)], "fork"),
    }
}

/// The reader's ranges keep all of these below 2^32.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn parsed<T>(r: &mut Reader, section: &str, key: &str) -> Option<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let text = r.optional_text(section, key)?;
    text.parse()
        .map_err(|error: T::Err| r.refuse(section, key, error.to_string()))
        .ok()
}

fn parsed_list<T>(r: &mut Reader, section: &str, key: &str) -> Vec<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    checked_list(r, section, key, |text| {
        text.parse().map_err(|error: T::Err| error.to_string())
    })
}

fn checked_list<T>(
    r: &mut Reader,
    section: &str,
    key: &str,
    check: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let mut values = Vec::new();
    for text in r.list(section, key, &[]) {
        match check(&text) {
            Ok(value) => values.push(value),
            Err(reason) => r.refuse(section, key, format!("\"{}\": {reason}", text.escape_default())),
        }
    }
    values
}

/// A folder that packages are taken from.
fn source(text: &str) -> Result<PathBuf, String> {
    if text.contains("://") {
        return Err(
            "name a folder of this node, filled by pip download --require-hashes or apt-get download; an index of Python \
             packages belongs to packages.indexes"
                .to_owned(),
        );
    }
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("name a folder by its absolute path".to_owned())
    }
}

/// The host of an index of Python packages.
fn index(text: &str) -> Result<Destination, String> {
    let wrong = || "an index is written https://HOST/simple, without a name or a password in it".to_owned();
    let (rest, port) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (rest, 443),
        (None, Some(rest)) => (rest, 80),
        (None, None) => return Err(wrong()),
    };
    if text.contains(|one: char| one.is_whitespace() || one.is_control() || "?#".contains(one)) {
        return Err(wrong());
    }
    let authority = rest.split('/').next().unwrap_or_default();
    host_and_port(authority, Some(port))
        .and_then(|address| split(&address))
        .ok_or_else(wrong)
}

/// A host that an index refers to.
fn destination(text: &str) -> Result<Destination, String> {
    host_and_port(text, None)
        .and_then(|address| split(&address))
        .ok_or_else(|| "a host is written HOST:443".to_owned())
}

fn split(address: &str) -> Option<Destination> {
    let (host, port) = address.rsplit_once(':')?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    Some(Destination {
        host: inner.unwrap_or(host).to_owned(),
        port: port.parse().ok()?,
    })
}

/// `/srv/data`, or `/srv/data:/data` to show it under another path.
fn shown(text: &str) -> Result<Shown, String> {
    let (source, target) = text.rsplit_once(':').unwrap_or((text, text));
    let (source, target) = (PathBuf::from(source), PathBuf::from(target));
    let plain = |path: &Path| {
        path.is_absolute()
            && path
                .components()
                .skip(1)
                .all(|part| matches!(part, Component::Normal(_)))
    };
    if !plain(&source) || !plain(&target) {
        return Err("name an absolute path, or two as in /srv/data:/data".to_owned());
    }
    if target == Path::new("/") || JAILS_OWN.iter().any(|own| target.starts_with(own)) {
        return Err(format!(
            "a jail has its own {}; name another path behind a colon, as in {}:/data",
            target.display(),
            source.display()
        ));
    }
    Ok(Shown { source, target })
}

/// The `host:port` of a registration URL. The join proves itself; a path, a query or TLS has no place there.
pub fn registration_address(url: &str) -> Result<String, String> {
    let wrong = || "a registration address is written http://HOST:9080".to_owned();
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    host_and_port(rest, Some(REGISTRATION_PORT)).ok_or_else(wrong)
}

/// The `host:port` of a back end.
pub fn back_end_address(text: &str) -> Result<String, String> {
    host_and_port(text, None).ok_or_else(|| "a back end is written HOST:9443".to_owned())
}

fn host_and_port(text: &str, default_port: Option<u16>) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse::<u16>().ok()?)),
        _ => (text, None),
    };
    let port = port.or(default_port).filter(|port| *port != 0)?;
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => plain(host),
    };
    fits.then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests;
