//! The queue as administrators see it.

use muster_ids::{Digest, JoinId, Name};
use muster_model::{
    join::{JoinRequest, JoinState, REQUEST_LIFETIME_MS, approval::people_needed},
    node::Node,
    permission::{Caller, Operation},
};
use muster_store::JoinFilter;
use muster_wire::admin::v1::{
    Page, StatePageQuery,
    join::{Approval, EarlierNode, Join},
};

use crate::{App, Error, page, text::rfc3339};

impl App {
    /// The requests, oldest first.
    pub async fn list_joins(&self, caller: &Caller, query: &StatePageQuery) -> Result<Page<Join>, Error> {
        self.authorize_to(caller, Operation::ReadAdministration, "list joins", "")
            .await?;
        let limit = page::limit(&query.page())?;
        let state = query
            .state
            .as_deref()
            .map(str::parse::<JoinState>)
            .transpose()
            .map_err(Error::invalid)?;
        let after = page::after::<(i64, JoinId)>(&query.page())?;
        let now = self.now();
        let filter = JoinFilter {
            state,
            waiting_since: now - REQUEST_LIFETIME_MS,
        };
        let rows = self.store().join_list(&filter, after, limit + 1).await?;
        let rows: Vec<JoinRequest> = rows.into_iter().map(|row| row.at(now)).collect();
        let alike = self.alike(&rows).await?;
        Ok(page::of(
            rows,
            limit,
            |row| (row.created_at, row.id),
            |row| self.to_wire(row, &alike, now),
        ))
    }

    /// One request.
    pub async fn show_join(&self, caller: &Caller, id: JoinId) -> Result<Join, Error> {
        self.authorize_to(caller, Operation::ReadAdministration, "read the join", id)
            .await?;
        let now = self.now();
        let row = self.store().join_by_id(id).await?;
        let row = row.ok_or_else(|| super::no_such_join(id))?;
        self.join_to_wire(row.at(now), now).await
    }

    /// One request as people see it.
    pub(super) async fn join_to_wire(&self, join: JoinRequest, now: i64) -> Result<Join, Error> {
        let alike = self.alike(std::slice::from_ref(&join)).await?;
        Ok(self.to_wire(join, &alike, now))
    }

    /// The nodes that have the name or key of one of those that wait.
    async fn alike(&self, joins: &[JoinRequest]) -> Result<Vec<Node>, Error> {
        let waiting = || joins.iter().filter(|join| join.state == JoinState::Pending);
        let names: Vec<&Name> = waiting().map(|join| &join.applicant.name).collect();
        let keys: Vec<Digest> = waiting().map(|join| join.key).collect();
        Ok(self.store().nodes_alike(&names, &keys).await?)
    }

    fn to_wire(&self, join: JoinRequest, alike: &[Node], now: i64) -> Join {
        let earlier = alike
            .iter()
            .filter(|_| join.state == JoinState::Pending)
            .filter(|node| node.key == join.key || node.name.key() == join.applicant.name.key())
            .map(|node| EarlierNode {
                id: node.id,
                name: node.name.clone(),
                trust: node.trust.to_string(),
                same_key: node.key == join.key,
            })
            .collect();
        let approvals = join.votes.iter().map(|vote| Approval {
            user: vote.name.clone(),
            at: rfc3339(vote.at),
        });
        Join {
            approvals_needed: people_needed(&self.options().approvals, &join.applicant),
            approvals: approvals.collect(),
            void_approvals: Vec::new(),
            earlier,
            token: join.token,
            id: join.id,
            state: join.state.as_str().to_owned(),
            name_warning: name_warning(&join.applicant.name),
            name: join.applicant.name,
            capabilities: join
                .applicant
                .capabilities
                .iter()
                .map(ToString::to_string)
                .collect(),
            pool: join.applicant.pool,
            site: join.applicant.site,
            addresses: join.applicant.addresses,
            source: join.source,
            agent_version: join.applicant.agent_version,
            key_prefix: join.key.hex()[..8].to_owned(),
            created: rfc3339(join.created_at),
            waiting_seconds: (now - join.created_at).max(0) / 1000,
            expires: rfc3339(join.revealed_at + REQUEST_LIFETIME_MS),
            reason: join.reason,
            renewal_of: join.renewal_of,
            node: join.node,
        }
    }
}

/// What an approver should know of a name that could pass for another on a screen.
fn name_warning(name: &Name) -> Option<String> {
    let (first, other) = name.mixed_alphabets()?;
    Some(format!(
        "the name mixes {first} and {other} letters, which look alike; compare the key, not the name"
    ))
}
