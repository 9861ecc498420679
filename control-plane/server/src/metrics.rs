//! Every metric of the control plane; names follow `muster_<area>_<noun>_<unit>`.

use muster_app::alarm::Alarms;
use muster_daemon::metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Which listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

/// What one listener counts.
#[derive(Clone)]
pub struct ListenerMetrics {
    /// Open connections.
    pub(crate) open: Gauge,
    /// Connections that were cut because others needed the room.
    pub(crate) displaced: Counter,
    /// Connections for which there was no room.
    pub(crate) refused: Counter,
}

/// The metrics.
pub(crate) struct Metrics {
    registry: Registry,
    /// Nodes with an open control connection.
    pub(crate) nodes_connected: Gauge,
    /// Runs declared lost.
    pub(crate) runs_lost: Counter,
    /// Messages that were refused on the registration listener.
    pub(crate) joins_refused: Counter,
    /// Back-end requests of nodes that may not speak.
    pub(crate) node_requests_refused: Counter,
    /// Number of the trust state.
    pub(crate) trust_number: Gauge,
    connections: Family<ListenerLabel, Gauge>,
    connections_displaced: Family<ListenerLabel, Counter>,
    connections_refused: Family<ListenerLabel, Counter>,
    nodes_cloned: Counter,
    nodes_duplicated: Counter,
    /// When certificates end, by what they are.
    pub(crate) certificate_expiry: Family<[(&'static str, &'static str); 1], Gauge>,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let mut registry = metrics::registry("server", env!("CARGO_PKG_VERSION"));
        let nodes_connected = Gauge::default();
        registry.register(
            "nodes_connected",
            "Nodes with an open control connection",
            nodes_connected.clone(),
        );
        let runs_lost = Counter::default();
        registry.register("runs_lost", "Runs declared lost", runs_lost.clone());
        let joins_refused = Counter::default();
        registry.register(
            "joins_refused",
            "Messages refused on the registration listener, counted once a minute",
            joins_refused.clone(),
        );
        let node_requests_refused = Counter::default();
        registry.register(
            "node_requests_refused",
            "Back-end requests of nodes that may not speak",
            node_requests_refused.clone(),
        );
        let certificate_expiry = Family::default();
        registry.register(
            "certificate_expiry_seconds",
            "When a certificate or the revocation list ends, seconds since 1970; of the nodes the first one",
            certificate_expiry.clone(),
        );
        let trust_number = Gauge::default();
        registry.register("trust_number", "Number of the trust state", trust_number.clone());
        let connections = Family::default();
        registry.register("connections", "Open connections", connections.clone());
        let connections_displaced = Family::default();
        registry.register(
            "connections_displaced",
            "Connections that were cut because others needed the room",
            connections_displaced.clone(),
        );
        let connections_refused = Family::default();
        registry.register(
            "connections_refused",
            "Connections for which there was no room",
            connections_refused.clone(),
        );
        let nodes_cloned = Counter::default();
        registry.register(
            "nodes_cloned",
            "Nodes that were locked because their identity had two holders",
            nodes_cloned.clone(),
        );
        let nodes_duplicated = Counter::default();
        registry.register(
            "nodes_duplicated",
            "Agents that were refused beside another agent of the same identity",
            nodes_duplicated.clone(),
        );
        Self {
            registry,
            nodes_connected,
            runs_lost,
            joins_refused,
            node_requests_refused,
            trust_number,
            connections,
            connections_displaced,
            connections_refused,
            nodes_cloned,
            nodes_duplicated,
            certificate_expiry,
        }
    }

    /// Those of the listener of this name.
    pub(crate) fn listener(&self, listener: &'static str) -> ListenerMetrics {
        let label = ListenerLabel { listener };
        ListenerMetrics {
            open: self.connections.get_or_create(&label).clone(),
            displaced: self.connections_displaced.get_or_create(&label).clone(),
            refused: self.connections_refused.get_or_create(&label).clone(),
        }
    }

    /// Takes over what the use cases have counted.
    pub(crate) fn note_alarms(&self, alarms: &Alarms) {
        self.nodes_cloned
            .inc_by(alarms.clones().saturating_sub(self.nodes_cloned.get()));
        self.nodes_duplicated
            .inc_by(alarms.duplicates().saturating_sub(self.nodes_duplicated.get()));
    }

    /// OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        metrics::text(&self.registry)
    }
}
