//! `join` and `confirm`: the two moments at which a person is part of the join.

use std::{path::PathBuf, process::ExitCode};

use muster_agent::{
    applicant::applicant,
    cli::{JoinArguments, Output},
    config::{self, Given, sample},
    credentials::{Credentials, Joining, Member, Stage},
    home::Home,
    join::{Joined, Joiner, News},
    status::Status,
};
use muster_daemon::{file, secret::SecretFile, shutdown};
use muster_ids::Digest;

use super::{Context, Failure, absolute, ask, is_terminal, note, say};

pub(super) async fn join(
    mut context: Context,
    arguments: JoinArguments,
    state_dir: Option<PathBuf>,
) -> Result<ExitCode, Failure> {
    let given = merge(&mut context, arguments, state_dir);
    let home = Home::create(&context.state_dir).map_err(|error| Failure::of("state-folder", &error))?;
    let _lock = home.lock().map_err(|error| Failure::of("in-use", &error))?;
    let credentials = begin(&context, &home, &given).await?;
    let token = context.config.join.token_file.clone();
    let mut joiner = Joiner::new(credentials, token, context.clock.clone(), context.random.clone());
    let signals = shutdown::listen().map_err(|error| Failure::of("system", &error))?;
    let ended = signals.stop.run_until_cancelled(joiner.run(tell)).await;
    let joined = match ended {
        None => {
            let asked = match joiner.into_credentials().stage() {
                Stage::Joining(joining) => joining.exchange.is_some(),
                _ => true,
            };
            let request = if asked {
                "The request stays pending"
            } else {
                "No control plane has the request yet"
            };
            note(&format!(
                "{request}; the service (muster-node run) or muster-node join goes on with it."
            ));
            return Ok(ExitCode::from(1));
        }
        Some(ended) => ended.map_err(|error| Failure::of("join", &error))?,
    };
    let mut credentials = joiner.into_credentials();
    if joined == Joined::Unconfirmed {
        note("The request was approved.");
        if !is_terminal() {
            show(&context, &credentials);
            note(
                "Compare the CA fingerprint with the one that muster-server init printed, then run muster-node confirm.",
            );
            return Ok(ExitCode::SUCCESS);
        }
        compare(&mut credentials)?;
    }
    show(&context, &credentials);
    if let Some(file) = &context.config.join.token_file {
        note(&format!(
            "The join token in {} is not needed here any more.",
            file.path().display()
        ));
    }
    note(
        "This node is a member now; start its service, for example with systemctl enable --now muster-node.",
    );
    Ok(ExitCode::SUCCESS)
}

/// What the command line gives goes before what the file says.
fn merge(context: &mut Context, arguments: JoinArguments, state_dir: Option<PathBuf>) -> Given {
    let given = Given {
        registration: arguments.registration,
        name: arguments.name,
        capabilities: arguments.capability,
        pool: arguments.pool,
        site: arguments.site,
        ca_fingerprint: arguments.ca_fingerprint,
        // The file that is written may be read from another folder.
        token_file: arguments.token_file.map(absolute),
        state_dir,
    };
    let config = &mut context.config;
    if !given.registration.is_empty() {
        let addresses = given.registration.iter();
        config.registration = addresses
            .filter_map(|url| config::registration_address(url).ok())
            .collect();
    }
    if !given.capabilities.is_empty() {
        config.capabilities.clone_from(&given.capabilities);
    }
    if !given.ca_fingerprint.is_empty() {
        config.join.ca_fingerprint.clone_from(&given.ca_fingerprint);
    }
    config.name = given.name.clone().or(config.name.take());
    config.pool = given.pool.clone().or(config.pool.take());
    config.site = given.site.clone().or(config.site.take());
    if let Some(file) = &given.token_file {
        config.join.token_file = Some(SecretFile::at(file));
    }
    given
}

/// The join to continue, or a new one.
async fn begin(context: &Context, home: &Home, given: &Given) -> Result<Credentials, Failure> {
    let failed = |error: muster_agent::credentials::CredentialsError| Failure::of("identity", &error);
    let loaded = Credentials::load(home, context.clock.unix_ms()).map_err(failed)?;
    let wanted = applicant(&context.config, home)
        .await
        .map_err(|error| Failure::of("join", &error));
    match loaded {
        None => {
            let wanted = wanted?;
            // First, so that whatever is interrupted later is found with the same settings.
            write_config(context, given)?;
            Credentials::create(home, wanted).map_err(failed)
        }
        // A rejected key stays rejected: another one asks anew.
        Some(credentials) if matches!(credentials.stage(), Stage::Rejected(_)) => {
            let wanted = wanted?;
            Credentials::create(home, wanted).map_err(failed)
        }
        Some(mut credentials) => match credentials.stage().clone() {
            Stage::Joining(stored) => {
                let wanted = wanted?;
                if !asks_the_same(&stored, &wanted) {
                    note("This node asks for something else than before: its old request is given up.");
                    tell_kept(context, given);
                    credentials
                        .advance(Stage::Joining(wanted), "join.changed")
                        .map_err(failed)?;
                }
                Ok(credentials)
            }
            Stage::Unconfirmed(_) => Err(Failure::new(
                "unconfirmed",
                "this node is approved already; compare the CA fingerprint that muster-node status shows, then run muster-node confirm",
            )),
            Stage::Trusted(member) => Err(Failure::new(
                "member",
                format!(
                    "this node is a member already, as {} ({}); run muster-node leave first",
                    member.name, member.node
                ),
            )),
            Stage::Rejected(_) => Err(Failure::new("rejected", "the join of this node was rejected")),
        },
    }
}

fn asks_the_same(stored: &Joining, wanted: &Joining) -> bool {
    let question = |joining: &Joining| Joining {
        exchange: None,
        previous: None,
        renewal: None,
        former: None,
        ..joining.clone()
    };
    question(stored) == question(wanted)
}

/// An existing node.toml is the administrator's; says so where the command line may differ from it.
fn tell_kept(context: &Context, given: &Given) {
    let only_folder = Given {
        state_dir: given.state_dir.clone(),
        ..Given::default()
    };
    if *given != only_folder && context.config_file.exists() {
        note(&format!(
            "{} exists and stays as it is; this join goes by the command line where the two differ.",
            context.config_file.display()
        ));
    }
}

/// Writes node.toml where there is none, so that the service asks for the same.
fn write_config(context: &Context, given: &Given) -> Result<(), Failure> {
    let path = &context.config_file;
    if path.exists() {
        tell_kept(context, given);
        return Ok(());
    }
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .map_err(|error| error.to_string())
        .and_then(|()| {
            file::write(path, sample(given).as_bytes(), 0o644, "join.config")
                .map_err(|error| muster_agent::sentence(&error))
        });
    match written {
        Ok(()) => {
            note(&format!("Wrote {}.", path.display()));
            Ok(())
        }
        Err(error) => Err(Failure::new(
            "configuration",
            format!(
                "cannot write {}: {error}; run this as root, or name another file with --config",
                path.display()
            ),
        )),
    }
}

fn tell(news: News) {
    match news {
        News::Code {
            code,
            fingerprint,
            roots,
            pinned,
        } => {
            note(&format!("Verification code: {code}"));
            note(&format!("Key fingerprint:   {fingerprint}"));
            for root in roots {
                let remark = if pinned {
                    "as pinned"
                } else {
                    "shown by the control plane, not yet compared"
                };
                note(&format!("CA fingerprint:    {root} ({remark})"));
            }
            note(&format!(
                "Have an administrator approve it within an hour: muster join approve --code {code}"
            ));
            note("Waiting; Ctrl-C leaves the request pending.");
        }
        News::Token { token, fingerprint } => {
            note(&format!("Asks to be let in by the join token {token}."));
            note(&format!("Key fingerprint: {fingerprint}"));
        }
        News::Approved => note("Approved; the certificate is on its way."),
        News::Clock(difference_ms) => note(&format!(
            "The clock of this node differs from the control plane's by {} s; set up a time service.",
            difference_ms / 1000
        )),
        News::Again { why, wait } => note(&format!("{why}; trying again in {} s", wait.as_secs())),
    }
}

pub(super) fn confirm(context: &Context, fingerprint: Option<Digest>) -> Result<ExitCode, Failure> {
    let home = Home::open(&context.state_dir).map_err(|error| Failure::of("state-folder", &error))?;
    let _lock = home.lock().map_err(|error| Failure::of("in-use", &error))?;
    let loaded = Credentials::load(&home, context.clock.unix_ms());
    let loaded = loaded.map_err(|error| Failure::of("identity", &error))?;
    let Some(mut credentials) = loaded else {
        return Err(Failure::new(
            "not-joined",
            "this node has not joined; run muster-node join http://HOST:9080",
        ));
    };
    match (credentials.stage().clone(), fingerprint) {
        (Stage::Unconfirmed(member), Some(fingerprint)) => {
            if !member.ca_fingerprints().contains(&fingerprint) {
                return Err(Failure::new(
                    "other-ca",
                    format!(
                        "the control plane shows the CA fingerprint {}, not {fingerprint}; somebody may stand between: \
                         run muster-node leave, check the address, and join again",
                        shown(&member)
                    ),
                ));
            }
            trust(&mut credentials, member)?;
        }
        (Stage::Unconfirmed(_), None) if is_terminal() => compare(&mut credentials)?,
        (Stage::Unconfirmed(member), None) => {
            return Err(Failure::new(
                "unconfirmed",
                format!(
                    "there is no terminal to ask on; compare {} with what muster-server init printed, then run \
                     muster-node confirm --ca-fingerprint with it",
                    shown(&member)
                ),
            ));
        }
        (Stage::Trusted(_), _) => note("This node is confirmed already."),
        (Stage::Joining(_) | Stage::Rejected(_), _) => {
            return Err(Failure::new(
                "not-approved",
                "there is nothing to confirm: this node is not approved; see muster-node status",
            ));
        }
    }
    show(context, &credentials);
    Ok(ExitCode::SUCCESS)
}

/// Has a person at a terminal compare, and trusts if it matches.
fn compare(credentials: &mut Credentials) -> Result<(), Failure> {
    let Stage::Unconfirmed(member) = credentials.stage().clone() else {
        return Ok(());
    };
    let question = format!(
        "The control plane shows the CA fingerprint {}; does it match?",
        shown(&member)
    );
    if ask(&question) {
        return trust(credentials, member);
    }
    Err(Failure::new(
        "unconfirmed",
        "the node stays unconfirmed and dials nobody; if the fingerprint is another, run muster-node leave, check the \
         address, and join again",
    ))
}

fn trust(credentials: &mut Credentials, member: Member) -> Result<(), Failure> {
    credentials
        .advance(Stage::Trusted(member), "join.confirmed")
        .map_err(|error| Failure::of("identity", &error))
}

fn shown(member: &Member) -> String {
    let list: Vec<String> = member.ca_fingerprints().iter().map(ToString::to_string).collect();
    list.join(" and ")
}

fn show(context: &Context, credentials: &Credentials) {
    let status = Status::of(Some(credentials), None, None);
    say(&match context.output {
        Output::Json => format!("{}\n", serde_json::json!(status)),
        Output::Table => status.table(),
    });
}
