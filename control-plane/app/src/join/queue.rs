//! The queue as administrators see it.

use muster_ids::{JoinId, Name};
use muster_model::{
    join::{JoinRequest, JoinState, REQUEST_LIFETIME_MS},
    permission::{Caller, Operation},
};
use muster_store::JoinFilter;
use muster_wire::admin::v1::{Page, PageQuery, join::Join};

use crate::{App, Error, page, text::rfc3339};

impl App {
    /// The requests, oldest first.
    pub async fn list_joins(&self, caller: &Caller, query: &PageQuery) -> Result<Page<Join>, Error> {
        self.authorize(caller, Operation::ReadAdministration).await?;
        let limit = page::limit(query)?;
        let state = query
            .state
            .as_deref()
            .map(str::parse::<JoinState>)
            .transpose()
            .map_err(Error::invalid)?;
        let after = page::after::<(i64, JoinId)>(query)?;
        let now = self.now();
        let rows = self
            .store()
            .join_list(&JoinFilter { state }, after, limit + 1)
            .await?;
        Ok(page::of(
            rows,
            limit,
            |row| (row.created_at, row.id),
            |row| to_wire(row.at(now), now),
        ))
    }

    /// One request.
    pub async fn show_join(&self, caller: &Caller, id: JoinId) -> Result<Join, Error> {
        self.authorize(caller, Operation::ReadAdministration).await?;
        let now = self.now();
        let row = self.store().join_by_id(id).await?;
        row.map(|row| to_wire(row.at(now), now))
            .ok_or_else(|| super::no_such_join(id))
    }
}

pub(super) fn to_wire(join: JoinRequest, now: i64) -> Join {
    Join {
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

/// What an approver should know of a name that could pass for another on a screen.
fn name_warning(name: &Name) -> Option<String> {
    let (first, other) = name.mixed_alphabets()?;
    Some(format!(
        "the name mixes {first} and {other} letters, which look alike; compare the key, not the name"
    ))
}
