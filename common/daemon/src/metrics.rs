//! The metrics of one process, as its operations listener shows them.

use prometheus_client::{metrics::info::Info, registry::Registry};

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry whose metrics all begin with `muster_` and that holds the program's name and version.
pub fn registry(program: &'static str, version: &'static str) -> Registry {
    let mut registry = Registry::with_prefix("muster");
    let build = Info::new([("program", program), ("version", version)]);
    registry.register("build", "The program that runs", build);
    registry
}

/// The present values in the OpenMetrics text format.
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, registry);
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn the_text_holds_the_build_and_every_registered_metric() {
        let mut registry = registry("muster-node", "0.1.0");
        let runs: Counter = Counter::default();
        registry.register("runs", "Runs taken", runs.clone());
        runs.inc();
        let text = text(&registry);
        assert!(
            text.contains("muster_build_info{program=\"muster-node\",version=\"0.1.0\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("muster_runs_total 1") && text.ends_with("# EOF\n"),
            "{text}"
        );
    }
}
