//! One session on a control connection, from the welcome to whatever ends it. A node has two of them only while the
//! one with its renewed certificate takes over.

use std::{sync::Arc, time::Duration};

use muster_client::{ClientError, Connection, Lines, Request};
use muster_daemon::{Backoff, fault::is_lost};
use muster_pki::PayloadType;
use muster_wire::node::v1::{
    PROTOCOLS,
    control::{
        CONTROL_PATH, ControlMessage, HEARTBEAT_PATH, HEARTBEATS_PATH, Heartbeat, HeartbeatReply, Inventory,
        OpenControl,
    },
    epoch::{KNOWN_PATH, Known, MAX_KNOWN},
    trust_state::{TRUST_STATE_PATH, TrustStateReply},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Control, LinkError, LinkState};
use crate::{
    agent::{Agent, Placement, lock},
    membership::Membership,
    revoked,
    run::{Why, claim, live, report},
    sentence,
    trust::{Heard, wire_version},
};

/// How long the first line of the control stream may take.
const WELCOME: Duration = Duration::from_secs(15);
/// Heartbeats are never further apart than this, whatever the control plane says.
const SLOWEST_HEARTBEAT: u64 = 60;
/// How old what a node has said of its load and its free memory and disk may become.
const MEASURES: Duration = Duration::from_mins(1);
/// Between two tries to fetch a trust state that was refused.
const REFETCH: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));
/// A difference of the clocks that people should hear of.
const CLOCK_DIFFERENCE_MS: i64 = 5 * 60 * 1000;

/// A control connection that was welcomed.
pub(super) struct Session {
    pub(super) member: Arc<Membership>,
    control: Control,
    lines: Lines,
    pulse: Pulse,
}

/// How the node shows that it lives.
#[derive(Clone, Copy)]
struct Pulse {
    period: Duration,
    /// Heartbeats are lines of one request.
    streamed: bool,
}

/// Opens a control connection with the certificate of `member`.
pub(super) async fn begin(agent: &Arc<Agent>, member: Arc<Membership>) -> Result<Session, LinkError> {
    let start = agent.random.below(member.back_ends.len());
    let connection = member
        .transport
        .connect_any(&member.back_ends, start)
        .await
        .map_err(LinkError::of_request)?;
    let open = OpenControl {
        protocols: PROTOCOLS.to_vec(),
        boot_nonce: agent.boot_nonce.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        trust: agent.trust.held().map(|held| wire_version(&held.version)),
        challenge: challenge(agent),
    };
    let mut lines = connection
        .lines(Request::post(CONTROL_PATH).json(&open))
        .await
        .map_err(LinkError::of_member)?;
    let welcome = tokio::time::timeout(WELCOME, lines.next_json::<ControlMessage>())
        .await
        .map_err(|_| LinkError::Protocol("it did not welcome this node in time".to_owned()))?
        .map_err(LinkError::of_request)?;
    let Some(ControlMessage::Welcome {
        protocol,
        heartbeat_seconds,
        report_known,
    }) = welcome
    else {
        return Err(LinkError::Protocol("its first line is no welcome".to_owned()));
    };
    if !PROTOCOLS.contains(&protocol) {
        return Err(LinkError::Protocol(format!("it speaks version {protocol}")));
    }
    if report_known {
        hand_in(agent, &connection).await?;
    }
    agent.receipts.are_read_with(protocol);
    agent
        .receipts
        .ensure(&connection, &member.roots, member.holder(), agent.clock.unix_ms())
        .await?;
    Ok(Session {
        member,
        control: Control { connection, protocol },
        lines,
        pulse: Pulse {
            period: Duration::from_secs(heartbeat_seconds.clamp(1, SLOWEST_HEARTBEAT)),
            streamed: protocol >= 2,
        },
    })
}

/// Works on a session until it fails, or, once it is `leaving`, until nothing is under way on it that would be lost.
pub(super) async fn run(
    agent: &Arc<Agent>,
    session: Session,
    leaving: &CancellationToken,
) -> Result<(), LinkError> {
    let Session {
        member,
        control,
        lines,
        pulse,
    } = session;
    let ended = Box::pin(parts(agent, &member, &control, (lines, pulse), leaving)).await;
    control.connection.close();
    ended
}

/// Hands in what this node knows of earlier epochs. Nothing is granted to it before.
async fn hand_in(agent: &Agent, connection: &Connection) -> Result<(), LinkError> {
    let known = agent.trust.known();
    require_room(&known)?;
    let nothing = known.state.is_none();
    connection
        .send(Request::post(KNOWN_PATH).json(&known))
        .await
        .map_err(LinkError::of_member)?;
    tracing::info!(nothing, "handed in what this node knows of earlier epochs");
    Ok(())
}

/// Whether `known` can be handed in. To hand in nothing instead would count as a report, and with the next trust state
/// this node would forget what it alone may know; and of a part nobody could tell that it was signed.
fn require_room(known: &Known) -> Result<(), LinkError> {
    let size = serde_json::to_vec(known)
        .map_err(|error| LinkError::Protocol(format!("what this node knows cannot be written ({error})")))?
        .len();
    if size > MAX_KNOWN {
        return Err(LinkError::TooMuchKnown { size });
    }
    Ok(())
}

async fn parts(
    agent: &Arc<Agent>,
    member: &Arc<Membership>,
    control: &Control,
    (lines, pulse): (Lines, Pulse),
    leaving: &CancellationToken,
) -> Result<(), LinkError> {
    let connection = &control.connection;
    revoked::clear(agent);
    tracing::info!(control_plane = %connection.endpoint(), "connected");
    muster_daemon::systemd::status(&format!("connected to {}", connection.endpoint()));
    agent.conditions.clear("link");
    agent.link.send_replace(LinkState::Connected(control.clone()));
    if agent.trust.held().is_none() {
        agent.trust_wanted.notify_one();
    }
    let work = async {
        tokio::try_join!(
            claim::run(agent, control, leaving),
            report::run(agent, control, leaving),
            live::run(agent, connection, leaving)
        )
    };
    tokio::select! {
        end = listen(agent, member, lines) => end,
        end = heartbeats(agent, member, connection, pulse) => end,
        end = trust(agent, member, connection) => end,
        end = work => end.map(drop).map_err(LinkError::of_request),
        end = receipts(agent, member, connection) => end,
        () = over(agent, member) => Err(LinkError::Expired),
        () = connection.closed() => Err(LinkError::Ended),
    }
}

/// Waits until the certificate of the session is over.
async fn over(agent: &Agent, member: &Membership) {
    while !member.has_expired(agent.clock.unix_ms()) {
        let left = member
            .facts
            .validity
            .not_after_ms()
            .saturating_sub(agent.clock.unix_ms());
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        tokio::time::sleep(left.clamp(Duration::from_millis(100), Duration::from_mins(1))).await;
    }
}

async fn listen(agent: &Arc<Agent>, member: &Membership, mut lines: Lines) -> Result<(), LinkError> {
    while let Some(message) = lines
        .next_json::<ControlMessage>()
        .await
        .map_err(LinkError::of_request)?
    {
        match message {
            ControlMessage::Beacon { .. } | ControlMessage::Trust { .. } if is_lost("trust") => {}
            ControlMessage::Welcome { .. } => {
                return Err(LinkError::Protocol("it welcomed this node twice".to_owned()));
            }
            ControlMessage::Beacon { envelope } => beacon(agent, member, &envelope)?,
            ControlMessage::Trust { number, reply } => {
                if agent.trust.held().is_none_or(|held| held.version.number < number)
                    && !take(agent, member, reply.as_deref())?
                {
                    agent.trust_wanted.notify_one();
                }
            }
            ControlMessage::RunAvailable => agent.available.notify_one(),
            ControlMessage::Cancel { run, fence } => {
                tracing::info!(%run, fence, "a run is cancelled");
                agent.running.stop(run, Some(fence), Why::Cancelled);
            }
            ControlMessage::Placement { pool, site } => {
                *lock(&agent.placement) = Placement {
                    pool: pool.parse().ok(),
                    site: site.parse().ok(),
                };
            }
        }
    }
    Err(LinkError::Ended)
}

/// Takes the changes that came with a hint. False where there are none, or none that fit what is held: then all that is
/// missing must be fetched.
fn take(agent: &Agent, member: &Membership, reply: Option<&TrustStateReply>) -> Result<bool, LinkError> {
    let Some(reply) = reply else {
        return Ok(false);
    };
    match install(agent, member, reply)? {
        Ok(()) => {
            agent.conditions.clear("trust state");
            agent.note_freshness();
            Ok(true)
        }
        Err(error) => {
            tracing::debug!(error, "the changes that came with a hint do not fit");
            Ok(false)
        }
    }
}

fn beacon(
    agent: &Agent,
    member: &Membership,
    wire: &muster_wire::node::v1::Envelope,
) -> Result<(), LinkError> {
    let now = agent.clock.unix_ms();
    let heard = crate::envelope::read(wire, PayloadType::Beacon)
        .map_err(Into::into)
        .and_then(|envelope| agent.trust.hear(envelope, &member.roots, now));
    match heard {
        Ok((heard, beacon)) => {
            agent.conditions.clear("beacon");
            agent.note_freshness();
            note_clock(agent, beacon.issued.saturating_sub(agent.clock.machine_ms()));
            agent.clock.prove(beacon.issued);
            if heard == Heard::Behind {
                agent.trust_wanted.notify_one();
            }
        }
        // One that answers an old question is no harm: the next one will answer a new question.
        Err(error @ crate::trust::TrustError::Challenge(_)) => {
            tracing::debug!(error = %sentence(&error), "a beacon does not count");
        }
        Err(error) if error.is_of_another_database() => {
            return Err(LinkError::Database(sentence(&error)));
        }
        Err(error) => {
            tracing::error!(error = %sentence(&error), "a beacon is refused");
            agent
                .conditions
                .set("beacon", format!("degraded: {}", sentence(&error)));
        }
    }
    Ok(())
}

fn note_clock(agent: &Agent, difference_ms: i64) {
    if difference_ms.abs() > CLOCK_DIFFERENCE_MS {
        agent.conditions.set(
            "clock",
            format!(
                "degraded: the clock of this node differs from the control plane's by {} s; set up a time service",
                difference_ms / 1000
            ),
        );
    } else {
        agent.conditions.clear("clock");
    }
}

async fn heartbeats(
    agent: &Arc<Agent>,
    member: &Membership,
    connection: &Connection,
    Pulse { period, streamed }: Pulse,
) -> Result<(), LinkError> {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    if streamed {
        return heartbeat_lines(agent, member, connection, ticks).await;
    }
    loop {
        ticks.tick().await;
        let heartbeat = heartbeat(agent, Some(inventory(agent)));
        let sent = connection
            .send(Request::post(HEARTBEAT_PATH).json(&heartbeat))
            .await;
        match sent {
            Ok(answer) => heed(agent, member, answer.json().map_err(LinkError::of_member)?),
            // It is busy, and a new connection would make it busier.
            Err(error) if error.retry_after().is_some() => {
                tracing::debug!(error = %sentence(&error), "a heartbeat was put off");
                let told = error.retry_after().unwrap_or_default().min(period);
                tokio::time::sleep(told.mul_f64(agent.random.fraction())).await;
            }
            Err(error) => return Err(LinkError::of_member(error)),
        }
    }
}

/// Heartbeats as lines of one request, and what comes back as lines of its answer.
async fn heartbeat_lines(
    agent: &Arc<Agent>,
    member: &Membership,
    connection: &Connection,
    mut ticks: tokio::time::Interval,
) -> Result<(), LinkError> {
    let (beats, content) = mpsc::channel(1);
    let request = Request::post(HEARTBEATS_PATH).stream("application/x-ndjson", content);
    let mut replies = connection.lines(request).await.map_err(LinkError::of_member)?;
    let mut told: Option<(Inventory, Instant)> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let now = inventory(agent);
                let known = told
                    .as_ref()
                    .is_some_and(|(last, at)| at.elapsed() < MEASURES && last.differs_in_measures_only(&now));
                let news = (!known).then_some(now);
                let mut line = serde_json::to_vec(&heartbeat(agent, news.clone()))
                    .map_err(|error| LinkError::Protocol(format!("a heartbeat cannot be written ({error})")))?;
                line.push(b'\n');
                // While the last one has not gone out, a newer one would not either; a stream that broke says so below.
                if beats.try_send(line.into()).is_ok()
                    && let Some(news) = news
                {
                    told = Some((news, Instant::now()));
                }
            }
            reply = replies.next_json::<HeartbeatReply>() => match reply.map_err(LinkError::of_member)? {
                Some(reply) => heed(agent, member, reply),
                None => return Err(LinkError::Ended),
            },
        }
    }
}

/// A sign of life.
fn heartbeat(agent: &Agent, inventory: Option<Inventory>) -> Heartbeat {
    Heartbeat {
        boot_nonce: agent.boot_nonce.clone(),
        challenge: challenge(agent),
        inventory,
        running: agent.spool.claims(),
    }
}

/// What the node is like now.
fn inventory(agent: &Agent) -> Inventory {
    agent.note_freshness();
    let number = agent.trust.held().map(|held| held.version.number);
    let mut inventory =
        lock(&agent.machine).inventory(agent.home.root(), &agent.probe(), agent.conditions.list(), number);
    let roots = agent.member().roots.fingerprints();
    inventory.roots = roots.iter().map(ToString::to_string).collect();
    inventory
}

/// Does what the reply to a heartbeat says.
fn heed(agent: &Agent, member: &Membership, reply: HeartbeatReply) {
    for run in reply.stop {
        agent.running.stop(run, None, Why::Cancelled);
    }
    if let Some(within) = reply.renew_within {
        let (generation, within) = (member.member.generation, Duration::from_secs(within));
        let (now, fraction) = (agent.clock.unix_ms(), agent.random.fraction());
        agent.renewal.tell(generation, within, now, fraction);
    }
}

async fn trust(agent: &Agent, member: &Membership, connection: &Connection) -> Result<(), LinkError> {
    loop {
        agent.trust_wanted.notified().await;
        let mut backoff = Backoff::new(REFETCH.0, REFETCH.1);
        let mut whole = false;
        while let Err(error) = fetch(agent, member, connection, whole).await? {
            // Changes that do not fit may be replaced by the whole.
            if !std::mem::replace(&mut whole, true) {
                continue;
            }
            tracing::error!(error, "the trust state is refused");
            agent.conditions.set("trust state", format!("degraded: {error}"));
            tokio::time::sleep(backoff.next(agent.random.fraction(), None)).await;
        }
        agent.conditions.clear("trust state");
        agent.note_freshness();
    }
}

/// Fetches and installs; the inner error is one that another answer may mend.
async fn fetch(
    agent: &Agent,
    member: &Membership,
    connection: &Connection,
    whole: bool,
) -> Result<Result<(), String>, LinkError> {
    let mut request = Request::get(TRUST_STATE_PATH);
    if let Some(held) = agent.trust.held().filter(|_| !whole) {
        request = request
            .query("since", &held.version.number.to_string())
            .query("incarnation", &held.version.incarnation.to_string());
    }
    let reply: TrustStateReply = match connection.send(request).await {
        Ok(answer) => answer.json().map_err(LinkError::of_request)?,
        Err(error) => match LinkError::of_request(error) {
            LinkError::Client(error @ ClientError::Refused { .. }) => return Ok(Err(error.to_string())),
            error => return Err(error),
        },
    };
    install(agent, member, &reply)
}

/// Puts a state in force; the inner error is one that another answer may mend.
fn install(
    agent: &Agent,
    member: &Membership,
    reply: &TrustStateReply,
) -> Result<Result<(), String>, LinkError> {
    let installed = agent.trust.install(reply, &member.roots, agent.clock.unix_ms());
    if installed.is_ok() {
        let number = agent.trust.held().map(|held| held.version.number);
        tracing::info!(number, "took a trust state");
    }
    match installed {
        Err(error) if error.is_of_another_database() => Err(LinkError::Database(sentence(&error))),
        installed => Ok(installed.map_err(|error| sentence(&error))),
    }
}

/// Has the receipt key certified anew before its certificate is over.
async fn receipts(agent: &Agent, member: &Membership, connection: &Connection) -> Result<(), LinkError> {
    loop {
        tokio::time::sleep(Duration::from_hours(1)).await;
        agent
            .receipts
            .ensure(connection, &member.roots, member.holder(), agent.clock.unix_ms())
            .await?;
    }
}

fn challenge(agent: &Agent) -> String {
    agent.trust.challenge(agent.random.bytes(), agent.clock.boot())
}

#[cfg(test)]
mod tests;
