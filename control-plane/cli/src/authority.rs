//! `muster ca`: the certificate authority of the collective, and its rotation.

use clap::{Subcommand, ValueEnum};
use muster_client::Request;
use muster_wire::admin::v1::authority::{Authority, OneAuthority, Rotate};

use crate::{context::Context, escape::escaped_lines, failure::Failure, table};

/// The certificate authority of the collective
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show fingerprints, which nodes and people pin, and how far a rotation is
    #[command(after_help = "Example:\n  muster ca show --pem > ca.pem")]
    Show {
        /// Only the root certificates, in PEM
        #[arg(long)]
        pem: bool,
    },
    /// Exchange the authority: prepare, activate, taint, revoke; or abort
    #[command(
        after_help = "Two roots are accepted from prepare to revoke. muster ca show says how the nodes keep up.\n\nExample:\n  muster ca rotate prepare"
    )]
    Rotate {
        /// The step
        step: Step,
        /// Go on though nodes do not keep up
        #[arg(long)]
        force: bool,
    },
}

/// A step of a rotation.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Step {
    /// Make a new authority and spread its root
    Prepare,
    /// Let the new authority sign
    Activate,
    /// Have everything that the old authority signed replaced
    Taint,
    /// Accept nothing of the old authority any more; final
    Revoke,
    /// Go back to the authority of before
    Abort,
}

impl Step {
    fn word(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Activate => "activate",
            Self::Taint => "taint",
            Self::Revoke => "revoke",
            Self::Abort => "abort",
        }
    }
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let (authority, pem) = match command {
        Command::Show { pem } => {
            let shown: Authority = context.rest()?.call(Request::get("/api/v1/authority")).await?;
            (shown, pem)
        }
        Command::Rotate { step, force } => {
            let rotate = Rotate {
                step: step.word().to_owned(),
                force,
            };
            let request = Request::post("/api/v1/authority/rotation").json(&rotate);
            (context.rest()?.call(request).await?, false)
        }
    };
    context.follow(&authority)?;
    context.show(&authority, || {
        if pem {
            return escaped_lines(authority.roots_pem.trim_end());
        }
        let mut text = table::fields(
            [
                ("Collective", authority.collective.clone()),
                (
                    "Rotation",
                    format!("{}: {}", authority.stage, meaning(&authority.stage)),
                ),
                ("Root fingerprints", authority.root_fingerprints.join("\n")),
                ("Intermediate ends", table::time(&authority.intermediate_expires)),
            ],
            context.colour,
        );
        text.push_str("\n\n");
        text.push_str(&table::rows(
            ["Root", "State", "Root ends", "Policy ends"],
            authority.authorities.iter().map(one),
            "",
            context.colour,
        ));
        if authority.stage != "idle"
            && let Some(nodes) = &authority.nodes
        {
            text.push_str("\n\n");
            let rows = nodes.iter().map(|node| {
                let knows = |root: &&OneAuthority| node.roots.contains(&root.root);
                let accepted = authority.authorities.iter().filter(|one| one.state != "revoked");
                [
                    node.name.to_string(),
                    node.health.clone(),
                    format!(
                        "{} of {}",
                        accepted.clone().filter(knows).count(),
                        accepted.count()
                    ),
                    node.certificate.as_deref().map_or_else(table::dash, short),
                ]
            });
            text.push_str(&table::rows(
                ["Node", "Health", "Roots known", "Certificate of"],
                rows,
                "No node is trusted.",
                context.colour,
            ));
        }
        text
    })
}

/// What a stage means, and which step leads on from it.
fn meaning(stage: &str) -> &'static str {
    match stage {
        "idle" => "no exchange of the authority is under way",
        "prepared" => {
            "the new root is spread and signs nothing yet; when every node knows both roots, muster ca rotate activate"
        }
        "activated" => {
            "the new authority signs, and nodes renew their certificates; next, muster ca rotate taint"
        }
        "tainted" => {
            "what the old authority signed is still accepted; when no node uses a certificate of it, muster ca rotate revoke"
        }
        "aborted" => {
            "the authority of before signs again; the other is revoked by itself when no node uses a certificate of it"
        }
        _ => "a stage that this version of muster does not know; update muster",
    }
}

fn one(authority: &OneAuthority) -> [String; 4] {
    [
        short(&authority.root),
        authority.state.clone(),
        table::time_or_dash(authority.root_expires.as_ref()),
        table::time_or_dash(authority.policy_expires.as_ref()),
    ]
}

/// The first digits of a fingerprint, which tell the few authorities apart.
fn short(root: &str) -> String {
    root.chars().take("sha256:".len() + 16).collect()
}
