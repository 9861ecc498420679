//! What `node.toml` says of all engines, below the files of each service.
//!
//! Invariant: the documented settings of trust only tighten here, too; the looser value is an error.

use std::collections::BTreeMap;

use muster_daemon::config::{Reader, format_duration, parse_duration};

use super::{MAX_TIME, MOST_WAITING, PRUNE, SPANS, Service, Services, THRESHOLD, loosens};
use crate::config::{Config, small};

/// `node.toml` for all engines, then the files of each service.
pub(in crate::config) fn services(
    r: &mut Reader,
    config: &Config,
    environment: &BTreeMap<String, String>,
) -> Services {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let processors = u64::try_from(processors).unwrap_or(1);
    let plain = Service {
        // One processor is left to everything else.
        sessions: small(r.number("slots", "per_engine", (processors - 1).clamp(1, 64), 1..=64)),
        queue: small(r.number(
            "engines",
            "queue",
            (processors / 4).clamp(1, 10),
            0..=MOST_WAITING,
        )),
        session_seconds: session_seconds(r),
        prune_seconds: r.duration("engines", "prune", PRUNE, SPANS).as_secs(),
        prune_threshold: small(r.number("engines", "prune_threshold", THRESHOLD, 0..=100)),
        wall_seconds: config.limits.wall_seconds,
        memory_mib: config.limits.memory_mib,
        package_path: r.optional_path("engines", "package_path"),
        r_home: None,
        startup_hook: r.optional_path("engines", "startup_hook"),
        keeps_checks: tightened(
            r,
            "disable_spotfire_trust_checks",
            "disable.spotfire.trust.checks",
            false,
        ),
        keeps_restricted_mode: tightened(
            r,
            "terr_restricted_execution_mode",
            "terr.restricted.execution.mode",
            true,
        ),
    };
    let folder = config.engines.services.as_deref();
    Services::read(&plain, folder, environment).unwrap_or_else(|errors| {
        for error in errors {
            r.refuse("engines", "services", error);
        }
        Services::default()
    })
}

/// A documented setting of trust, which a file of a node may only tighten: where this one does.
fn tightened(r: &mut Reader, key: &str, documented: &str, tight: bool) -> Option<String> {
    let value = r.optional_bool("trust", key)?;
    if value == tight {
        return Some(format!("trust.{key} in node.toml"));
    }
    r.refuse("trust", key, loosens(documented, &tight.to_string()));
    None
}

/// The age at which a session takes no further run; nothing where it may be of any age.
fn session_seconds(r: &mut Reader) -> Option<u64> {
    let text = r.text("engines", "session_time", &format_duration(MAX_TIME));
    if text == "never" {
        return None;
    }
    let span = parse_duration(&text).filter(|span| SPANS.contains(span));
    if span.is_none() {
        r.refuse(
            "engines",
            "session_time",
            "write a time span in quotes such as \"30m\", from 1s to 7d, or \"never\"",
        );
    }
    span.map(|span| span.as_secs())
}
