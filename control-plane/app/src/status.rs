//! One line each: what an administrator should know now.

use muster_model::{
    join::REQUEST_LIFETIME_MS,
    node::{Health, Node, Trust},
    permission::{ADMINISTRATOR, Caller, Operation},
    run::RunState,
};
use muster_store::{NodeFilter, QueueLength, RunFilter};
use muster_wire::admin::v1::status::{NodeCounts, Status};

use crate::{App, Error, expiry::Expiry, node::ALL, renewal::TWO_HOLDERS, text::rfc3339};

/// More of one kind would bury the rest.
const MOST_AILING: usize = 20;

impl App {
    /// The present state of everything, as far as the caller may know.
    pub async fn status(&self, caller: &Caller) -> Result<Status, Error> {
        self.authorize(caller, Operation::Use).await?;
        let now = self.now();
        let administrator = matches!(caller, Caller::User(user) if user.is_in(ADMINISTRATOR));
        let mut problems = Vec::new();
        let queued: u64 = self
            .store()
            .queued_counts()
            .await?
            .iter()
            .map(|queue| queue.waiting)
            .sum();
        let running = RunFilter {
            state: Some(RunState::Running),
            ..RunFilter::default()
        };
        let running = self.store().run_list(&running, None, ALL).await?.len() as u64;
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: rfc3339(now),
            joins_waiting: None,
            nodes: None,
            runs_queued: queued,
            runs_running: running,
            trust_number: self.trust_number().await?,
            expiries: Vec::new(),
            problems: Vec::new(),
        };
        if !administrator {
            return Ok(status);
        }
        let since = now - REQUEST_LIFETIME_MS;
        status.joins_waiting = Some(self.store().joins_waiting_count(since).await?);
        let trusted = NodeFilter {
            trust: Some(Trust::Trusted),
            ..NodeFilter::default()
        };
        let mut counts = NodeCounts::default();
        let mut ailing = Vec::new();
        let nodes = self.store().node_list(&trusted, None, ALL).await?;
        for node in &nodes {
            match self.health(node) {
                Health::Online => {
                    counts.online += 1;
                    ailing.extend(self.ailing(node));
                }
                Health::Suspect => counts.suspect += 1,
                Health::Offline => {
                    counts.offline += 1;
                    problems.push(format!(
                        "the node \"{}\" is offline; see muster-node status on it, or untrust it with muster node untrust",
                        node.name
                    ));
                }
            }
        }
        let more = ailing.len().saturating_sub(MOST_AILING);
        problems.extend(ailing.into_iter().take(MOST_AILING));
        if more > 0 {
            problems.push(format!(
                "{more} more nodes are online and not as they should be; see muster node list"
            ));
        }
        problems.extend(self.doubtful_identities(now).await?);
        for queue in self.store().queued_counts().await? {
            let takes = |node: &&Node| {
                node.takes_runs()
                    && node.capabilities.contains(&queue.capability)
                    && (node.pool, node.site) == (queue.pool, queue.site)
                    && self.health(node) != Health::Offline
                    && !self
                        .inventory_of(node)
                        .is_some_and(|inventory| inventory.takes_no_run())
            };
            if !nodes.iter().any(|node| takes(&node)) {
                problems.push(self.nobody_takes(&queue).await?);
            }
        }
        let revoked = NodeFilter {
            trust: Some(Trust::Revoked),
            ..NodeFilter::default()
        };
        counts.revoked = self.store().node_list(&revoked, None, ALL).await?.len() as u64;
        let mut expiries = self.expiries().await?;
        expiries.sort_by_key(|expiry| expiry.validity.not_after_ms());
        problems.extend(expiries.iter().filter_map(|expiry| expiry.warning(now)));
        status.expiries = expiries.iter().map(Expiry::to_wire).collect();
        problems.extend(self.epoch_problems(nodes.len()).await?);
        status.nodes = Some(counts);
        status.problems = problems;
        Ok(status)
    }

    /// What an online node says is not as it should be with it.
    fn ailing(&self, node: &Node) -> Option<String> {
        let conditions = self.inventory_of(node)?.conditions;
        (!conditions.is_empty()).then(|| {
            format!(
                "the node \"{}\" is {}; see muster-node status on it",
                node.name,
                conditions.join("; ")
            )
        })
    }

    /// Identities that more than one machine holds or has held.
    async fn doubtful_identities(&self, now: i64) -> Result<Vec<String>, Error> {
        let revoked = NodeFilter {
            trust: Some(Trust::Revoked),
            ..NodeFilter::default()
        };
        let mut problems: Vec<String> = self
            .store()
            .node_list(&revoked, None, ALL)
            .await?
            .into_iter()
            .filter(|node| node.reason.as_deref() == Some(TWO_HOLDERS))
            .map(|node| {
                format!(
                    "the node \"{0}\" is locked: {TWO_HOLDERS}; find the copy, run muster-node leave on both, and delete it with muster node delete {0}",
                    node.name
                )
            })
            .collect();
        for id in self.alarms().duplicated(now) {
            if let Some(node) = self
                .store()
                .node(id)
                .await?
                .filter(|node| node.trust == Trust::Trusted)
            {
                problems.push(format!(
                    "a second machine used the identity of the node \"{0}\" and was refused; find the copy and run muster-node leave on it, see muster audit list",
                    node.name
                ));
            }
        }
        Ok(problems)
    }

    async fn nobody_takes(&self, queue: &QueueLength) -> Result<String, Error> {
        let pool = self.store().pool(queue.pool).await?;
        let site = self.store().site(queue.site).await?;
        let named = |name: Option<muster_ids::Name>| {
            name.map_or_else(|| "deleted".to_owned(), |name| name.to_string())
        };
        let wait = match queue.waiting {
            1 => "1 run waits".to_owned(),
            many => format!("{many} runs wait"),
        };
        Ok(format!(
            "{wait} for {} in the pool \"{}\" of the site \"{}\", and no active node there is online and takes runs for it; see muster node list",
            queue.capability,
            named(pool.map(|pool| pool.name)),
            named(site.map(|site| site.name)),
        ))
    }
}
