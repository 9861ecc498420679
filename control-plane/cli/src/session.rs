//! `muster login`, `logout`, `whoami`.
//!
//! Invariant: before a password is sent, it is known to whom: by options, by an earlier login at the same
//! server, or because a person compared the fingerprint.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use muster_client::{Endpoint, Limits, Request, Transport};
use muster_daemon::secret::SecretFile;
use muster_ids::{Digest, UserName};
use muster_pki::{AuthorityFacts, CertificateDer, tls};
use muster_wire::admin::v1::{
    authority::Authority,
    session::{Login as Credentials, Session, WhoAmI},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    context::Context,
    failure::{Failure, chain},
    output,
    profile::{Profile, Trust},
    table, terminal,
};

/// Log in at a control plane and remember it
#[derive(Args)]
#[command(after_help = "Examples:\n  muster login https://muster.example.com:8443\n  \
                  muster login https://muster.example.com:8443 --user ann@SPOTFIRE \\\n    \
                  --password-file ~/.muster-password --ca-fingerprint sha256:…\n\n\
                  Without --ca-file or --ca-fingerprint the fingerprint of the control plane is shown and you are asked once; \
                  compare it with the one that muster-server init printed.")]
pub(crate) struct Login {
    /// The control plane, https://HOST:8443 [default: the one of the last login]
    #[arg(value_name = "URL")]
    url: Option<Endpoint>,
    /// Who, as name@DOMAIN [default: asked for]
    #[arg(long, value_name = "USER")]
    user: Option<UserName>,
    /// File of mode 0600 with the password [default: asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Logs in and remembers it.
pub(crate) async fn login(context: &Context, arguments: Login) -> Result<(), Failure> {
    // A damaged session file must not keep anybody from logging in anew.
    let known = context.store.load().unwrap_or(None);
    let server = match arguments.url.or_else(|| context.options.server.clone()) {
        Some(server) => server,
        None => known
            .as_ref()
            .and_then(|profile| profile.server.parse().ok())
            .ok_or_else(|| Failure::usage("name the control plane: muster login https://HOST:8443"))?,
    };
    if !server.is_tls() {
        return Err(Failure::usage(format!(
            "{server} is not an https address; a password is never sent in the clear, write https://HOST:8443"
        )));
    }
    let known = known.filter(|profile| profile.server == server.to_string());
    let trust = match (context.trust()?, known) {
        (Some(trust), _) => trust,
        (None, Some(profile)) => profile.trust,
        (None, None) => ask_whether_trusted(context, &server).await?,
    };
    let user = match arguments.user {
        Some(user) => user,
        None => ask_who()?,
    };
    let password = match &arguments.password_file {
        Some(path) => SecretFile::at(path).read_text()?,
        None => terminal::password(&format!("Password of {user}: "), "give --password-file FILE")?,
    };
    let session = open(context, &server, &trust, user, &password).await?;
    let rest = context.untold_rest(server.clone(), &trust)?;
    let rest = rest.with_token(session.token.clone().into());
    // The session is as good without it, and muster ca show follows the roots as well.
    let authority = rest.call::<Authority>(Request::get("/api/v1/authority")).await;
    let trust = authority.map_or_else(|_| trust.clone(), |authority| trust.following(&authority));
    context.store.save(&Profile {
        server: server.to_string(),
        trust,
        user: Some(session.user.clone()),
        token: Some(session.token.clone()),
    })?;
    let shown =
        serde_json::json!({ "server": server.to_string(), "user": session.user, "expires": session.expires });
    context.show(&shown, || {
        format!(
            "Logged in at {server} as {} until {}.",
            session.user,
            table::time(&session.expires)
        )
    })
}

/// Ends the session, here in any case.
pub(crate) async fn logout(context: &Context) -> Result<(), Failure> {
    let Some(profile) = context.store.load()? else {
        return context.done("Nobody is logged in.");
    };
    if profile.token.is_none() {
        return context.done("Nobody is logged in.");
    }
    let ended = match context.rest() {
        Ok(rest) => rest
            .call::<()>(Request::delete("/api/v1/sessions/current"))
            .await
            .map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    context.store.save(&Profile {
        user: None,
        token: None,
        ..profile
    })?;
    match ended {
        Ok(()) => context.done("Logged out."),
        // It had ended already.
        Err(Failure::Call(error)) if error.problem().is_some_and(|problem| problem.status == 401) => {
            context.done("Logged out.")
        }
        Err(failure) => Err(Failure::failed(
            "logout",
            format!(
                "the session is forgotten here, but the control plane could not be told ({}); it ends by itself",
                failure.sentence()
            ),
        )),
    }
}

/// Shows who is logged in.
pub(crate) async fn whoami(context: &Context) -> Result<(), Failure> {
    let me: WhoAmI = context
        .rest()?
        .call(Request::get("/api/v1/sessions/current"))
        .await?;
    context.show(&me, || {
        table::fields(
            [
                ("User", me.user.to_string()),
                ("Groups", table::list(&me.groups)),
                ("Features", table::list(&me.features)),
            ],
            context.colour,
        )
    })
}

async fn open(
    context: &Context,
    server: &Endpoint,
    trust: &Trust,
    user: UserName,
    password: &SecretString,
) -> Result<Session, Failure> {
    let rest = context.untold_rest(server.clone(), trust)?;
    let credentials = Credentials {
        user,
        password: password.expose_secret().to_owned(),
    };
    Ok(rest
        .call(Request::post("/api/v1/sessions").json(&credentials))
        .await?)
}

fn ask_who() -> Result<UserName, Failure> {
    if !terminal::can_ask() {
        return Err(Failure::usage("say who logs in: --user ann@SPOTFIRE"));
    }
    terminal::line("User (name@DOMAIN): ")?
        .trim()
        .parse()
        .map_err(|error| Failure::usage(format!("cannot log in: {error}")))
}

/// Looks at the certificates of `server`, without sending anything, and asks about them.
async fn ask_whether_trusted(context: &Context, server: &Endpoint) -> Result<Trust, Failure> {
    let (config, recorder) =
        tls::front_end_probe(context.now()).map_err(|error| Failure::failed("trust", chain(&error)))?;
    let attempt = Transport::tls(Arc::new(config), Limits::default())
        .connect(server)
        .await;
    let chain = recorder.chain();
    let Some((digest, whose)) = identity(&chain) else {
        return Err(match attempt {
            Err(error) => error.into(),
            Ok(_) => Failure::failed(
                "trust",
                format!("{server} showed no certificate; check the address"),
            ),
        });
    };
    let seen = format!("The {whose} of {server} has the fingerprint\n  {digest}");
    if !terminal::can_ask() {
        return Err(Failure::failed(
            "not-confirmed",
            format!(
                "{server} is not known here and there is no terminal to ask on; compare the fingerprint of its {whose}, {digest}, \
                 with the one that muster-server init printed, and give it with --ca-fingerprint"
            ),
        ));
    }
    output::complain(&format!(
        "{seen}\nCompare it with the one that muster-server init printed."
    ));
    if terminal::ask("Trust this control plane?")? {
        Ok(Trust::Fingerprints(vec![digest]))
    } else {
        Err(Failure::failed(
            "not-confirmed",
            "Not logged in: the control plane is not trusted.",
        ))
    }
}

/// What to compare: the collective's root if it was sent along, else the server's own certificate. That somebody
/// else sends the root along helps them nothing: with it pinned, their own certificate must descend from it.
fn identity(chain: &[CertificateDer<'_>]) -> Option<(Digest, &'static str)> {
    let last = chain.last()?;
    if AuthorityFacts::of(last).is_ok_and(|facts| facts.self_signed) {
        return Some((Digest::of(last), "certificate authority"));
    }
    Some((Digest::of(chain.first()?), "certificate"))
}
