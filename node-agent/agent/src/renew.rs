//! Renews the certificate of this node while it works.
//!
//! ```text
//!   waits ──half of life, or told──► key on disk ──► asks ──► certificate on disk ──► in use ──► waits
//!                                        ▲            │
//!                                        └── backoff ─┘  always with the same request
//! ```
//!
//! Invariants: the next key is on disk before it is asked for, and its certificate before it is used, so that a crash
//! at any moment goes on with the same key. Nothing here ends a connection or a run: the link opens a connection with
//! the new certificate before it closes the old one. Time is the control plane's, counted on by the boot clock: a
//! wall clock that jumps neither ends a certificate nor renews it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::{ClientError, Request};
use muster_daemon::{Backoff, file::crash_point};
use muster_ids::NodeId;
use muster_pki::{
    CertificateDer, PublicKey, Role, Roots, Signer as _, SpiffeId, Subject, Validity, VerifyError,
};
use muster_wire::node::v1::renew::{RENEW_PATH, Renew, Renewed};
use tokio::sync::Notify;

use crate::{
    agent::{Agent, lock},
    credentials::{Credentials, CredentialsError, Member},
    membership::{Membership, MembershipError},
    roots, sentence,
};

/// A certificate is renewed from this part of its life on, and within this further part, in percent.
const FROM: i64 = 50;
const WITHIN: i64 = 10;
/// Waits between two tries: at first below the first, at the most below the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(15));
/// The boot clock is looked at this often: timers stand still while the machine sleeps.
const LOOK: Duration = Duration::from_mins(1);

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The control plane could not be asked, or refused.
    #[error("the control plane did not renew the certificate of this node")]
    Client(#[from] ClientError),
    /// The key or the certificate could not be stored.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The certificate is not one for this node.
    #[error("the new certificate is not accepted")]
    Certificate(#[from] VerifyError),
    /// It is for somebody or something else.
    #[error("the new certificate is for another key or node")]
    Other,
    /// The new membership cannot be used.
    #[error(transparent)]
    Membership(#[from] MembershipError),
}

/// When the certificate is to be renewed.
#[derive(Debug, Default)]
pub struct Schedule {
    plan: Mutex<Option<Plan>>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    generation: u64,
    due_ms: i64,
    /// Whether the control plane has said so.
    told: bool,
    /// Whether a certificate was asked for, and did not come.
    asked: bool,
}

impl Schedule {
    /// When the certificate of `generation` is to be renewed, if it is the present one.
    pub fn due_ms(&self) -> Option<i64> {
        lock(&self.plan).map(|plan| plan.due_ms)
    }

    /// The plan for people.
    pub fn words(&self) -> Option<String> {
        let plan = (*lock(&self.plan))?;
        let due = muster_daemon::clock::format_rfc3339(plan.due_ms);
        Some(if plan.asked {
            format!("asked for since {due}, not answered yet")
        } else {
            format!("planned for {due}")
        })
    }

    /// A certificate was asked for, and did not come.
    fn failed(&self) {
        if let Some(plan) = lock(&self.plan).as_mut() {
            plan.asked = true;
        }
    }

    /// The control plane wants the certificate of `generation` renewed at a random moment within this span. It says
    /// so again and again; the moment is drawn once.
    pub fn tell(&self, generation: u64, within: Duration, now_ms: i64, fraction: f64) {
        if let Some(plan) = lock(&self.plan)
            .as_mut()
            .filter(|plan| plan.generation == generation && !plan.told)
        {
            plan.told = true;
            let wait = i64::try_from(within.mul_f64(fraction).as_millis()).unwrap_or(i64::MAX);
            plan.due_ms = plan.due_ms.min(now_ms.saturating_add(wait));
            self.changed.notify_one();
        }
    }

    /// Plans the renewal of a certificate that is in use now.
    fn plan(&self, generation: u64, due_ms: i64) {
        let mut plan = lock(&self.plan);
        if plan.is_none_or(|plan| plan.generation != generation) {
            *plan = Some(Plan {
                generation,
                due_ms,
                told: false,
                asked: false,
            });
        }
    }

    /// Waits until the planned moment.
    async fn wait(&self, agent: &Agent) {
        loop {
            let left = self.due_ms().unwrap_or(0).saturating_sub(agent.clock.unix_ms());
            let Ok(left @ 1..) = u64::try_from(left) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(left).min(LOOK)) => {}
                () = self.changed.notified() => {}
            }
        }
    }
}

/// From when on a certificate is renewed.
pub fn from_ms(validity: Validity) -> i64 {
    let (begin, end) = (validity.not_before_ms(), validity.not_after_ms());
    begin.saturating_add(end.saturating_sub(begin).max(0) / 100 * FROM)
}

/// When to renew: a random moment from half of life on. Where that is over, as after a long absence, at a random
/// moment of what would be the same span from now, and of half of what is left: a whole fleet may have been away.
fn due_ms(validity: Validity, now_ms: i64, fraction: f64) -> i64 {
    let (begin, end) = (validity.not_before_ms(), validity.not_after_ms());
    let life = end.saturating_sub(begin).max(0);
    let window = life / 100 * WITHIN;
    let half = from_ms(validity);
    let (from, span) = if now_ms <= half {
        (half, window)
    } else {
        (now_ms, window.min(end.saturating_sub(now_ms).max(0) / 2))
    };
    let span = u64::try_from(span).unwrap_or(0);
    let wait = Duration::from_millis(span).mul_f64(fraction.clamp(0.0, 1.0));
    from.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(0))
}

/// Renews for as long as the agent works. `credentials` are those that it works with.
pub async fn keep(agent: Arc<Agent>, mut credentials: Credentials) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        let member = agent.member();
        let (now, fraction) = (agent.clock.unix_ms(), agent.random.fraction());
        let due = match credentials.next() {
            Some(_) => now,
            None => due_ms(member.facts.validity, now, fraction),
        };
        agent.renewal.plan(member.member.generation, due);
        tokio::select! {
            () = agent.renewal.wait(&agent) => {}
            member = roots::changed(&agent) => {
                exchange_roots(&agent, &mut credentials, member).await;
                continue;
            }
        }
        match renew(&agent, &mut credentials).await {
            Ok(generation) => {
                backoff.reset();
                agent.conditions.clear("certificate");
                tracing::info!(generation, "renewed the certificate of this node");
            }
            Err(error) => {
                agent.renewal.failed();
                let told = match &error {
                    RenewError::Client(error) => error.retry_after(),
                    _ => None,
                };
                let wait = patience(&member, agent.clock.unix_ms())
                    .min(backoff.next(agent.random.fraction(), told))
                    .max(Duration::from_millis(500));
                let error = sentence(&error);
                let until = muster_daemon::clock::format_rfc3339(member.facts.validity.not_after_ms());
                tracing::warn!(
                    error,
                    ?wait,
                    until,
                    "the certificate of this node was not renewed"
                );
                agent.conditions.set(
                    "certificate",
                    format!("degraded: certificate ends {until}: {error}"),
                );
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Takes over the roots that the trust state names: on disk first, then for new connections.
async fn exchange_roots(agent: &Agent, credentials: &mut Credentials, member: Member) {
    let count = member.roots.len();
    let taken = match credentials.exchange_roots(member) {
        Err(error) => Err(sentence(&error)),
        Ok(()) => match Membership::of(credentials, &agent.config(), &agent.clock) {
            Some(Ok(membership)) => Ok(membership),
            Some(Err(error)) => Err(sentence(&error)),
            None => return,
        },
    };
    match taken {
        Ok(membership) => {
            agent.membership.send_replace(Arc::new(membership));
            agent.conditions.clear("roots");
            tracing::info!(count, "took over the roots of the collective");
        }
        Err(error) => {
            tracing::error!(error, "the roots of the collective could not be taken over");
            agent.conditions.set("roots", format!("degraded: {error}"));
            tokio::time::sleep(RETRY.0).await;
        }
    }
}

/// A wait that leaves time for some tries more, however short the life.
fn patience(member: &Membership, now_ms: i64) -> Duration {
    let left = member.facts.validity.not_after_ms().saturating_sub(now_ms);
    Duration::from_millis(u64::try_from(left / 8).unwrap_or(0))
}

/// One try.
async fn renew(agent: &Agent, credentials: &mut Credentials) -> Result<u64, RenewError> {
    credentials.begin_renewal(agent.clock.unix_ms()).await?;
    let member = agent.member();
    let Some(next) = credentials.next() else {
        return Err(RenewError::Other);
    };
    let ask = Renew {
        csr: STANDARD.encode(&next.csr),
        generation: member.member.generation,
    };
    // A connection of its own, with certainly this certificate.
    let start = agent.random.below(member.back_ends.len());
    let connection = member.transport.connect_any(&member.back_ends, start).await?;
    let reply: Renewed = connection
        .send(Request::post(RENEW_PATH).json(&ask))
        .await?
        .json()?;
    connection.close();
    crash_point("renew.answered");
    let (key, now_ms) = (next.key.public_key(), agent.clock.unix_ms());
    let chain = accept(&reply, (member.node(), key), &member.roots, now_ms)?;
    let renewed = Member {
        chain,
        generation: reply.generation,
        ..member.member.clone()
    };
    credentials.finish_renewal(renewed)?;
    match Membership::of(credentials, &agent.config(), &agent.clock) {
        Some(membership) => {
            agent.membership.send_replace(Arc::new(membership?));
            Ok(reply.generation)
        }
        None => Err(RenewError::Other),
    }
}

/// The chain in `reply`, if its certificate is one for this node and this key.
pub fn accept(
    reply: &Renewed,
    (node, key): (NodeId, &PublicKey),
    roots: &Roots,
    now_ms: i64,
) -> Result<Vec<CertificateDer<'static>>, RenewError> {
    let chain: Vec<CertificateDer<'static>> = reply
        .chain
        .iter()
        .map(|text| STANDARD.decode(text).map(CertificateDer::from))
        .collect::<Result<_, _>>()
        .map_err(|_| RenewError::Other)?;
    let facts = roots.verify(&chain, Role::Node, now_ms)?;
    let expected = SpiffeId::new(roots.collective(), Subject::Node(node));
    if facts.public_key != *key || facts.id != expected {
        return Err(RenewError::Other);
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn week() -> Validity {
        Validity::starting(0, Duration::from_hours(7 * 24))
    }

    #[test]
    fn a_certificate_is_renewed_between_half_and_six_tenths_of_its_life() {
        let life = week().not_after_ms() - week().not_before_ms();
        let from = due_ms(week(), 0, 0.0) - week().not_before_ms();
        let to = due_ms(week(), 0, 1.0) - week().not_before_ms();
        assert!(
            (from - life / 2).abs() < 1000 && (to - life * 6 / 10).abs() < 1000,
            "{from} {to}"
        );
    }

    #[test]
    fn a_fleet_that_was_away_does_not_come_back_at_once() {
        let now = 5 * DAY;
        let spread = due_ms(week(), now, 1.0) - due_ms(week(), now, 0.0);
        assert!(due_ms(week(), now, 0.0) == now && spread > DAY / 2, "{spread}");
        let late = 7 * DAY - 60_000;
        assert!(due_ms(week(), late, 1.0) <= late + 30_000);
        assert_eq!(due_ms(week(), 8 * DAY, 1.0), 8 * DAY);
    }

    #[test]
    fn the_moment_is_drawn_once_for_a_certificate_however_often_it_is_told() {
        let schedule = Schedule::default();
        schedule.plan(2, 100_000);
        schedule.tell(1, Duration::from_secs(1), 0, 0.5);
        assert_eq!(schedule.due_ms(), Some(100_000), "another certificate");
        schedule.tell(2, Duration::from_secs(10), 1_000, 0.5);
        schedule.tell(2, Duration::from_secs(10), 2_000, 0.1);
        assert_eq!(schedule.due_ms(), Some(6_000));
        schedule.plan(2, 200_000);
        assert_eq!(schedule.due_ms(), Some(6_000), "planned already");
        schedule.plan(3, 200_000);
        schedule.tell(3, Duration::from_secs(500), 0, 0.9);
        assert_eq!(schedule.due_ms(), Some(200_000), "sooner than it was told");
    }
}
