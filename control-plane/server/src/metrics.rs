//! Every metric of the control plane; names follow `muster_<area>_<noun>_<unit>`.

use muster_app::authority::Ends;
use muster_daemon::metrics;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

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
    authority_expires: Family<Vec<(&'static str, &'static str)>, Gauge>,
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
        let trust_number = Gauge::default();
        registry.register("trust_number", "Number of the trust state", trust_number.clone());
        let authority_expires = Family::default();
        registry.register(
            "authority_certificate_expires_seconds",
            "When a certificate of the authority ends, in seconds since 1970",
            authority_expires.clone(),
        );
        Self {
            registry,
            nodes_connected,
            runs_lost,
            joins_refused,
            node_requests_refused,
            trust_number,
            authority_expires,
        }
    }

    /// Notes when the authority's own certificates end.
    pub(crate) fn authority_ends(&self, ends: Ends) {
        for (certificate, end) in [
            ("root", ends.root),
            ("intermediate", ends.intermediate),
            ("policy", ends.policy),
        ] {
            self.authority_expires
                .get_or_create(&vec![("certificate", certificate)])
                .set(end / 1000);
        }
    }

    /// OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        metrics::text(&self.registry)
    }
}
