//! Looks for what would keep this node from working, and says the cure.

use std::time::Duration;

use muster_client::{Endpoint, Limits, Transport};
use muster_daemon::{
    Clock,
    clock::{format_rfc3339, parse_rfc3339},
    config::format_duration,
};
use muster_engines::{Engines, Mode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    config::Config,
    credentials::{Credentials, Stage},
    engines::engines_config,
    home::{Home, HomeError},
    inventory::little_room,
    membership::Membership,
    renew::from_ms,
    revoked::Revoked,
    sentence,
    status::{Live, holder},
};

/// A certificate with less time left than this is worth a word.
const SOON_MS: i64 = 24 * 60 * 60 * 1000;
/// A difference of clocks that is worth a word, seconds; from five minutes on joins are refused.
const CLOCK_DIFFERENCE: i64 = 30;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Whether all is well.
    pub ok: bool,
    /// One sentence, with the cure where one is needed.
    pub sentence: String,
}

fn well(sentence: impl Into<String>) -> Finding {
    Finding {
        ok: true,
        sentence: sentence.into(),
    }
}

fn ill(sentence: impl Into<String>) -> Finding {
    let mut sentence: String = sentence.into();
    // Errors begin in lower case, because they usually follow something.
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Finding { ok: false, sentence }
}

/// Examines everything, and changes nothing.
pub async fn examine(config: &Config, home: Result<&Home, &HomeError>, clock: &Clock) -> Vec<Finding> {
    let mut findings = Vec::new();
    match home {
        Err(error) => findings.push(ill(sentence(error))),
        Ok(home) => {
            findings.push(well(format!(
                "The state folder {} is private.",
                home.root().display()
            )));
            findings.push(match little_room(home.root()) {
                Some(little) => ill(format!("Only {little}.")),
                None => well("There is room on the disk of the state folder."),
            });
            findings.extend(identity(config, home, clock).await);
            findings.extend(running(home));
            findings.extend(clocks(&config.registration, clock).await);
            findings.extend(engines(config, home).await);
            findings.extend(config.services.notices.iter().map(|notice| {
                let sentence = format!("{}.", notice.sentence);
                if notice.known {
                    well(sentence)
                } else {
                    ill(sentence)
                }
            }));
        }
    }
    findings
}

async fn identity(config: &Config, home: &Home, clock: &Clock) -> Vec<Finding> {
    let mut findings: Vec<Finding> = home
        .quarantined()
        .iter()
        .map(|path| {
            ill(format!(
                "A damaged identity lies in {}; remove it when it is no longer needed.",
                path.display()
            ))
        })
        .collect();
    let credentials = match Credentials::peek(home) {
        Ok(credentials) => credentials,
        Err(error) => {
            findings.push(ill(sentence(&error)));
            return findings;
        }
    };
    match credentials.as_ref().map(Credentials::stage) {
        None => {
            findings.push(ill(
                "This node has not joined; run muster-node join http://HOST:9080.",
            ));
            findings.extend(plain(&config.registration).await);
        }
        Some(Stage::Joining(joining)) => {
            findings.push(ill(
                "The join of this node waits for approval; muster-node status shows the code.",
            ));
            findings.extend(plain(&joining.registration).await);
        }
        Some(Stage::Unconfirmed(_)) => {
            findings.push(ill(
                "This node is approved but not confirmed; run muster-node confirm.",
            ));
        }
        Some(Stage::Rejected(_)) => {
            findings.push(ill(
                "The join of this node was rejected; ask the administrator, then run muster-node join again.",
            ));
        }
        Some(Stage::Trusted(_)) => {}
    }
    if let Some(credentials) = &credentials
        && let Some(membership) = Membership::of(credentials, config, clock)
    {
        match membership {
            Ok(membership) => {
                let live = Live::read(&home.status());
                // What its certificate still promises is of no use to a revoked node.
                findings.push(match Revoked::read(home, membership.node()) {
                    Some(revoked) => ill(revoked.sentence()),
                    None => certificate(&membership, live.as_ref(), clock),
                });
                findings.extend(member(&membership, clock).await);
            }
            Err(error) => findings.push(ill(sentence(&error))),
        }
    }
    findings
}

async fn plain(addresses: &[String]) -> Vec<Finding> {
    let transport = Transport::plain(Limits::default());
    let mut findings = Vec::new();
    for address in addresses {
        match format!("http://{address}").parse::<Endpoint>() {
            Ok(endpoint) => findings.push(reach(&transport, &endpoint).await),
            Err(error) => findings.push(ill(error.to_string())),
        }
    }
    if findings.is_empty() {
        findings.push(ill(
            "No control plane is named; set control_plane.registration in node.toml.",
        ));
    }
    findings
}

/// What the clocks of both sides say: a control plane tells its time with every answer.
async fn clocks(addresses: &[String], clock: &Clock) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in addresses {
        let Some(theirs) = server_time(address).await else {
            continue;
        };
        let difference = (clock.unix_ms() - theirs) / 1000;
        findings.push(if difference.abs() <= CLOCK_DIFFERENCE {
            well(format!("The clocks of this node and of {address} agree."))
        } else {
            let way = if difference > 0 { "ahead of" } else { "behind" };
            ill(format!(
                "The clock of this node is {} s {way} that of the control plane at {address}; set up a time service on both.",
                difference.abs()
            ))
        });
    }
    findings
}

/// The header `Date` of the answer to a question that nobody minds; `None` where there is none.
async fn server_time(address: &str) -> Option<i64> {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await.ok()?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        text.lines()
            .find_map(|line| {
                line.split_once(':')
                    .filter(|(name, _)| name.eq_ignore_ascii_case("date"))
            })
            .and_then(|(_, date)| http_date(date.trim()))
    };
    tokio::time::timeout(Duration::from_secs(3), asked).await.ok()?
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 5.6.7) in milliseconds since 1970.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let parts: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, time, "GMT"] = parts.as_slice() else {
        return None;
    };
    let month = MONTHS.iter().position(|name| name == month)? + 1;
    parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

async fn reach(transport: &Transport, endpoint: &Endpoint) -> Finding {
    match transport.connect(endpoint).await {
        Ok(_) => well(format!("The control plane at {endpoint} can be reached.")),
        Err(error) => ill(format!("{}.", sentence(&error))),
    }
}

/// How long the certificate holds, and when it is renewed.
fn certificate(membership: &Membership, live: Option<&Live>, clock: &Clock) -> Finding {
    let (validity, now) = (membership.facts.validity, clock.unix_ms());
    let (left, life) = (
        validity.not_after_ms() - now,
        validity.not_after_ms() - validity.not_before_ms(),
    );
    let span = format_duration(Duration::from_secs(u64::try_from(left / 1000).unwrap_or(0)));
    if left <= 0 {
        return ill(
            "The certificate of this node is over; the agent joins again by itself, and an administrator approves it.",
        );
    }
    // A life may be shorter than a day.
    if left < SOON_MS.min(life / 4) {
        return ill(format!(
            "The certificate of this node is over in {span} and was not renewed; the agent must reach a back end, see muster-node status."
        ));
    }
    let from = from_ms(validity);
    let renewal = if let Some(planned) = live.and_then(|live| live.renewal.as_ref()) {
        format!("its renewal is {planned}")
    } else if from <= now {
        "the agent renews it as soon as it runs".to_owned()
    } else {
        format!(
            "the agent renews it from {} on, when it runs",
            format_rfc3339(from)
        )
    };
    well(format!(
        "The certificate of this node is valid for {span}; {renewal}."
    ))
}

async fn member(membership: &Membership, clock: &Clock) -> Vec<Finding> {
    let mut findings = Vec::new();
    for root in membership.roots.certificates() {
        let outline = muster_pki::Outline::of(root);
        if let Some(days) = outline.and_then(|outline| outline.validity.days_left_warning(clock.unix_ms())) {
            findings.push(ill(format!(
                "A root certificate that this node believes in ends within {} days; have an administrator rotate the authority with muster ca rotate.",
                days.max(1)
            )));
        }
    }
    for endpoint in &membership.back_ends {
        findings.push(reach(&membership.transport, endpoint).await);
    }
    findings
}

fn running(home: &Home) -> Vec<Finding> {
    let Some(live) = Live::read(&home.status()) else {
        if let Some(process) = holder(home) {
            return vec![well(format!(
                "The process {process} of muster-node works here; it is no connected agent yet."
            ))];
        }
        return vec![ill(
            "The agent does not run; start it with systemctl start muster-node, or muster-node run.",
        )];
    };
    let mut findings = vec![if live.link == "connected" {
        well(format!("The agent runs and is {}.", live.link))
    } else {
        let detail = live.detail.unwrap_or_default();
        ill(format!(
            "The agent runs, but its connection is {}: {detail}",
            live.link
        ))
    }];
    findings.extend(live.conditions.into_iter().map(ill));
    findings
}

async fn engines(config: &Config, home: &Home) -> Vec<Finding> {
    let probe = muster_engines::probe(&engines_config(config, home)).await;
    let wanted = |kind: muster_engines::EngineKind| {
        config.capabilities.is_empty()
            || config
                .capabilities
                .iter()
                .any(|capability| capability.engine() == kind.name())
    };
    let mut findings = Vec::new();
    for missing in probe.missing.iter().filter(|missing| wanted(missing.kind)) {
        // What nobody named is offered where it is installed.
        findings.push(if config.capabilities.is_empty() && !probe.engines.is_empty() {
            well(format!(
                "The engine {} is not offered: {}.",
                missing.kind, missing.why
            ))
        } else {
            ill(format!(
                "The engine {} is missing: {}.",
                missing.kind, missing.why
            ))
        });
    }
    let pools = Engines::new(engines_config(config, home));
    for engine in probe.engines.iter().filter(|engine| wanted(engine.kind)) {
        match pools.warm(engine.kind, Mode::Restricted).await {
            Err(error) => findings.push(ill(format!("{error}."))),
            Ok(standing) => {
                findings.push(well(format!(
                    "The jail stands and {} starts in it (Landlock version {}).",
                    engine.description, standing.landlock_abi
                )));
                if !standing.own_ids {
                    findings.push(ill(
                        "Runs share the agent's user id; set jail.id_first and jail.id_count, and let the jail's unit use them.",
                    ));
                }
                for limit in standing.degraded {
                    findings.push(ill(format!("Limits are degraded: {limit}.")));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the doctor says about a control plane whose clock is at 784 111 777 s, when that of the node is `now`.
    async fn compared(now: i64) -> Vec<Finding> {
        let control_plane = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = control_plane.local_addr().expect("an address").to_string();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = control_plane.accept().await.expect("a connection");
            let _ = stream.read(&mut [0; 1024]).await;
            let answer = b"HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
            stream.write_all(answer).await.expect("answered");
        });
        let (clock, _hand) = Clock::by_hand(now);
        let findings = clocks(&[address], &clock).await;
        answering.await.expect("no panic");
        findings
    }

    #[tokio::test]
    async fn a_clock_that_is_wrong_is_said_with_its_difference_and_the_cure() {
        let theirs = 784_111_777_000;
        for (now, difference) in [
            (theirs + 31_000, Some("31 s ahead of")),
            (theirs - 7_200_000, Some("7200 s behind")),
            (theirs + 30_000, None),
        ] {
            let found = compared(now).await;
            let [finding] = found.as_slice() else {
                panic!("one finding: {found:?}");
            };
            assert_eq!(finding.ok, difference.is_none(), "{finding:?}");
            let said = &finding.sentence;
            assert!(said.contains(difference.unwrap_or("agree")), "{said}");
            assert!(
                finding.ok || said.ends_with("set up a time service on both."),
                "{said}"
            );
        }
    }

    #[tokio::test]
    async fn where_nobody_tells_the_time_nothing_is_said_of_clocks() {
        let (clock, _hand) = Clock::by_hand(0);
        assert_eq!(clocks(&["127.0.0.1:1".to_owned()], &clock).await, []);
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        for text in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
        ] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }
}
