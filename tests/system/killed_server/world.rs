//! A control plane that is killed at a point, and the people and nodes that were talking to it.

use muster_client::ClientError;
use muster_ids::RunId;
use muster_tests::{Person, Server, Settings, needs_crash_points, within};
use muster_wire::admin::v1::{function::Function, run::Run};
use serde_json::json;

use super::COMMIT;
use crate::real_node::PATIENCE;

/// A control plane that is killed and started again.
pub(super) struct World {
    pub(super) server: Server,
    pub(super) admin: Person,
    pub(super) author: Person,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(&Settings::default()).await
    }

    pub(super) async fn with(settings: &Settings) -> Self {
        needs_crash_points("muster-server");
        let server = Server::start(settings);
        let (admin, author) = (server.admin().await, server.author().await);
        Self {
            server,
            admin,
            author,
        }
    }

    /// A function that a registrar made, with the input `x` and the output `y`.
    pub(super) async fn function(&self) -> Function {
        let definition = json!({
            "name": "f", "language": "terr", "script": "y <- x + 1",
            "inputs": [{ "name": "x", "kind": "value" }],
            "outputs": [{ "name": "y", "kind": "value" }],
        });
        let registrar = self.server.registrar().await;
        registrar.register_definition(&definition).await
    }

    /// The last answer to `attempt`, which is made once more after the kills at both points of the commit `event`.
    pub(super) async fn killed_in<T>(
        &self,
        event: &str,
        attempt: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.killed_after(0, event, attempt).await
    }

    /// As [`Self::killed_in`], but in each process that many commits of `event` are spared before.
    pub(super) async fn killed_after<T>(
        &self,
        spared: u64,
        event: &str,
        attempt: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let points = points_of_commit(event);
        let points: Vec<&str> = points.iter().map(String::as_str).collect();
        self.killed(spared, &points, attempt).await
    }

    /// As [`Self::killed_in`], but at these points.
    pub(super) async fn killed_at<T>(
        &self,
        points: &[&str],
        attempt: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.killed(0, points, attempt).await
    }

    pub(super) async fn killed<T>(
        &self,
        spared: u64,
        points: &[&str],
        mut attempt: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let spared = spared.to_string();
        for point in points {
            let environment = [("MUSTER_CRASH_AT", *point), ("MUSTER_CRASH_SPARED", &spared)];
            self.server.restart_in(&environment);
            let answer = attempt().await;
            let error = answer.err().expect("nobody was answered before that");
            assert!(error.problem().is_none(), "{point} was not reached: {error}");
            self.dead(point).await;
        }
        self.server.restart();
        attempt().await
    }

    /// A run of `function`, during which the control plane is killed at both points of the commit `event`, and
    /// started again.
    pub(super) async fn killed_with_work(&self, event: &str, function: &Function) -> Run {
        let mut run = None;
        for point in points_of_commit(event) {
            // Where work waits, it may be killed before it says that it is ready.
            self.server.begin(&[("MUSTER_CRASH_AT", &point)]);
            if run.is_none() {
                self.server.wait_ready();
                run = Some(self.author.run(function, &json!({})).await);
            }
            self.dead(&point).await;
        }
        self.server.restart();
        run.expect("there is a point")
    }

    /// Waits until it was killed at `point`.
    pub(super) async fn dead(&self, point: &str) {
        let killed = within(PATIENCE, &format!("it is killed at {point}"), async || {
            self.server.process().ended()
        })
        .await;
        assert_eq!(killed.code(), None, "{point}: {}", self.server.log());
    }

    /// Records of `event` about `subject`.
    pub(super) async fn count(&self, event: &str, subject: impl ToString) -> usize {
        let subject = subject.to_string();
        let rows = self.admin.audited(event).await;
        rows.iter()
            .filter(|row| row["subject"] == subject.as_str())
            .count()
    }

    /// The run has ended so, which was written down once.
    pub(super) async fn one_end(&self, run: RunId, state: &str) {
        assert_eq!(self.author.run_now(run).await.state, state);
        assert_eq!(self.count("run.ended", run).await, 1, "{run}");
    }

    /// What always holds once everything has ended.
    pub(super) async fn holds(&self) {
        assert_eq!(self.admin.audit_broken().await, None);
        let number = |sql: &str| self.server.database().number(sql);
        let open = "SELECT COUNT(*) FROM runs WHERE state IN ('queued', 'running')";
        assert_eq!(number(open), 0, "a run that never ends");
        let twice = "SELECT COUNT(*) FROM runs WHERE (SELECT COUNT(*) FROM audit WHERE event = 'run.ended' \
                     AND subject = runs.id) <> 1 OR (SELECT COUNT(*) FROM audit WHERE event = 'run.submitted' \
                     AND subject = runs.id) <> 1";
        assert_eq!(number(twice), 0, "a run that was not submitted and ended once");
        assert_eq!(
            number("SELECT COUNT(*) FROM certificates"),
            number("SELECT COUNT(*) FROM audit WHERE event = 'certificate.issued'"),
            "certificates and their records differ"
        );
        let keys = "SELECT COUNT(*) - COUNT(DISTINCT key) FROM certificates WHERE purpose = 'node'";
        assert_eq!(number(keys), 0, "a key with two certificates");
        let left = std::fs::read_dir(self.server.state_dir().join("blobs/tmp")).expect("a folder");
        assert_eq!(left.count(), 0, "half a blob");
    }
}

/// The points of a commit.
pub(super) fn points_of_commit(event: &str) -> Vec<String> {
    points(event, &COMMIT)
}

/// The points with these ends.
pub(super) fn points(write: &str, steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| format!("{write}.{step}")).collect()
}
