//! The metrics of a node; all of their names are here.

use std::sync::atomic::Ordering;

use muster_daemon::metrics;
use muster_engines::{EngineKind, Mode};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use crate::{agent::Agent, link::LinkState};

/// The present values.
pub fn text(agent: &Agent) -> String {
    let mut registry = metrics::registry("muster-node", env!("CARGO_PKG_VERSION"));
    let mut gauge = |name: &str, help: &str, value: i64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let connected = matches!(&*agent.link.borrow(), LinkState::Connected(_));
    gauge(
        "node_connected",
        "1 while the control connection works",
        i64::from(connected),
    );
    let fresh = agent.trust.is_fresh(agent.clock.boot());
    gauge(
        "node_trust_fresh",
        "1 while the trust state is current",
        i64::from(fresh),
    );
    let number = agent.trust.held().map_or(0, |held| held.version.number);
    gauge(
        "node_trust_number",
        "Number of the trust state that is held, 0 for none",
        i64::try_from(number).unwrap_or(i64::MAX),
    );
    gauge("node_runs", "Runs at work", count(agent.running.len()));
    let engines = agent.engines();
    let modes = [Mode::Restricted, Mode::Unrestricted];
    let waiting = EngineKind::ALL
        .iter()
        .flat_map(|kind| modes.map(|mode| engines.waiting(*kind, mode).now))
        .sum();
    gauge(
        "node_engines_waiting",
        "Children of engines that wait for a run, forked and locked",
        count(waiting),
    );
    gauge(
        "node_unacknowledged_runs",
        "Claimed runs whose outcome is not acknowledged",
        count(agent.spool.claims().len()),
    );
    gauge(
        "node_conditions",
        "Things that are not as they should be",
        count(agent.conditions.list().len()),
    );
    let member = agent.member();
    gauge(
        "node_certificate_expiry_seconds",
        "When the certificate is over, seconds since 1970",
        member.facts.validity.not_after_ms() / 1000,
    );
    let oversteps = Counter::<u64>::default();
    oversteps.inc_by(agent.oversteps.load(Ordering::Relaxed));
    registry.register(
        "node_oversteps",
        "Restricted calls that runs have tried since the agent began",
        oversteps,
    );
    metrics::text(&registry)
}
