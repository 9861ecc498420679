//! Connections for payloads: apart from the control connection, and kept for a while after their use.
//!
//! Invariant: whoever has one has it alone, so that a large payload delays nobody else's; one that was made with an
//! earlier certificate, or on which something went wrong, is not used again.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use muster_client::{ClientError, Connection};
use tokio::time::Instant;

use crate::{
    agent::{Agent, lock},
    membership::Membership,
};

/// How long one is kept unused.
const KEPT: Duration = Duration::from_secs(30);
/// How many are kept unused: a control plane takes 64 of one node in all.
const MOST: usize = 8;

/// The connections that wait for payloads.
#[derive(Debug, Default)]
pub struct Payloads(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    idle: Vec<Idle>,
    /// Whether somebody closes them when nobody uses them.
    watched: bool,
}

struct Idle {
    connection: Connection,
    member: Arc<Membership>,
    since: Instant,
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idle")
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

/// A connection in use. Dropping it closes it; [`Payloads::give_back`] keeps it.
pub struct Payload {
    /// To the control plane.
    pub connection: Connection,
    /// Whether it was used before: then it may have ended without anybody noticing.
    pub used: bool,
    member: Arc<Membership>,
}

impl Payloads {
    /// A connection that waits, or a new one.
    pub async fn take(&self, agent: &Agent) -> Result<Payload, ClientError> {
        let member = agent.member();
        while let Some(idle) = self.pop() {
            if Arc::ptr_eq(&idle.member, &member) && !idle.connection.is_closed() {
                return Ok(Payload {
                    connection: idle.connection,
                    used: true,
                    member,
                });
            }
        }
        Self::connect(agent, member).await
    }

    fn pop(&self) -> Option<Idle> {
        lock(&self.0).idle.pop()
    }

    /// A new connection.
    pub async fn fresh(agent: &Agent) -> Result<Payload, ClientError> {
        Self::connect(agent, agent.member()).await
    }

    /// Has one ready before it is needed. Who needs it hears why there is none.
    pub async fn prepare(&self, agent: &Agent) {
        let none = lock(&self.0).idle.is_empty();
        if none && let Ok(payload) = Self::fresh(agent).await {
            self.give_back(payload);
        }
    }

    /// Keeps a connection on which all went well.
    pub fn give_back(&self, payload: Payload) {
        let mut waiting = lock(&self.0);
        if waiting.idle.len() >= MOST || payload.connection.is_closed() {
            return;
        }
        waiting.idle.push(Idle {
            connection: payload.connection,
            member: payload.member,
            since: Instant::now(),
        });
        if !std::mem::replace(&mut waiting.watched, true) {
            tokio::spawn(close_unused(Arc::clone(&self.0)));
        }
    }

    async fn connect(agent: &Agent, member: Arc<Membership>) -> Result<Payload, ClientError> {
        let start = agent.random.below(member.back_ends.len());
        let connection = member.transport.connect_any(&member.back_ends, start).await?;
        Ok(Payload {
            connection,
            used: false,
            member,
        })
    }
}

/// Closes what nobody has used for a while, until nothing waits any more.
async fn close_unused(waiting: Arc<Mutex<Waiting>>) {
    loop {
        tokio::time::sleep(KEPT / 2).await;
        let mut waiting = lock(&waiting);
        let lasts = |one: &Idle| one.since.elapsed() < KEPT && !one.connection.is_closed();
        waiting.idle.retain(lasts);
        if waiting.idle.is_empty() {
            waiting.watched = false;
            return;
        }
    }
}
