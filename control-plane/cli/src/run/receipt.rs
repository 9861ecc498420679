//! `muster run receipt`: the signed receipt of a run, and what it proves without a control plane.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use muster_client::{
    Request,
    receipt::{Anchors, MOST_RECEIPT, Proven, ReceiptError, verify},
};
use muster_daemon::{
    clock::format_rfc3339,
    file::{self, Access},
};
use muster_ids::Digest;
use muster_pki::{Roots, pem};
use muster_wire::node::v1::outcome::{Countersignature, Receipt, Statement};
use serde::Serialize;

use super::{PATH, Which, at};
use crate::{
    context::Context,
    escape::escaped,
    failure::{Failure, chain},
    output,
    profile::Trust,
    table,
};

/// Larger than any list of roots.
const LARGEST_ROOTS: u64 = 1024 * 1024;

/// Signed receipts of runs
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print the signed receipt of a run with its countersignature and roots, as JSON
    #[command(after_help = "Example:\n  muster run receipt show ID --save receipt.json")]
    Show {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Write it to this file instead
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
        /// Replace it if it is there
        #[arg(long, requires = "save")]
        force: bool,
    },
    /// Say what a receipt proves, from its file alone; exit 1 unless it proves something
    #[command(
        after_help = "No control plane is asked and no session is needed. What was revoked later is not known here.\n\n\
                      Without --roots, --ca-fingerprint or --ca-file the roots count by which the session knows its control plane; \
                      without a session those in the file. Then compare the root that is shown with the one of the \
                      control plane (muster ca show): whoever forges a receipt can forge a root.\n\nExamples:\n  \
                      muster run receipt verify receipt.json\n  \
                      muster run receipt verify receipt.json --ca-fingerprint sha256:…\n  \
                      muster run receipt verify receipt.json --roots roots.pem"
    )]
    Verify {
        /// What muster run receipt show has written
        file: PathBuf,
        /// Trust these roots, in PEM, as muster ca show --pem prints them [default: those of the session, else of FILE]
        #[arg(long, value_name = "FILE")]
        roots: Option<PathBuf>,
    },
}

/// What a receipt proves, for programs.
#[derive(Serialize)]
struct Shown<'a> {
    receipt: &'a Statement,
    countersignature: &'a Countersignature,
    control_plane: String,
    /// On which it rests.
    roots: &'a [Digest],
    /// Who named them.
    roots_from: &'static str,
    /// What is left to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    compare: Option<&'a str>,
}

/// Who names the roots that count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Options,
    Session,
    File,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Options => "options",
            Self::Session => "session",
            Self::File => "file",
        }
    }
}

/// Does `command`.
pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Show { which, save, force } => {
            if let Some(path) = &save {
                output::refuse_overwriting(path, force, "--force")?;
            }
            show(context, &which, save.as_deref()).await
        }
        Command::Verify { file, roots } => proof(context, &file, roots.as_deref()),
    }
}

async fn show(context: &Context, which: &Which, save: Option<&Path>) -> Result<(), Failure> {
    let request = at(Request::get(PATH), which.run).segment("receipt");
    let receipt: Receipt = context.rest()?.call(request).await?;
    let Some(path) = save else {
        return output::json(&receipt);
    };
    let text =
        serde_json::to_string_pretty(&receipt).map_err(|error| Failure::failed("file", error.to_string()))?;
    file::write(path, (text + "\n").as_bytes(), 0o644, "receipt")?;
    context.done(&escaped(&format!(
        "The receipt of the run {} is in {}.",
        which.run,
        path.display()
    )))
}

fn proof(context: &Context, path: &Path, roots: Option<&Path>) -> Result<(), Failure> {
    let (anchors, source) = anchors(context, roots)?;
    let limit = u64::try_from(MOST_RECEIPT).unwrap_or(u64::MAX);
    let bytes = file::read(path, Access::Any, limit).map_err(|error| Failure::usage(chain(&error)))?;
    let proven = verify(&bytes, &anchors).map_err(|error| {
        let mut detail = format!("{} proves nothing: {}", path.display(), chain(&error));
        if source == Source::Session && matches!(error, ReceiptError::Unknown(_) | ReceiptError::Signed(..)) {
            detail +=
                "; what counts are the roots of the session, unless --ca-fingerprint or --roots names others";
        }
        Failure::failed("receipt-not-proven", detail)
    })?;
    let compare = (source == Source::File).then(|| {
        let roots: Vec<_> = proven.roots.iter().map(ToString::to_string).collect();
        format!(
            "this rests on the root {} of the file itself; compare it with the control plane's (muster ca show): whoever \
             forges a receipt can forge a root",
            roots.join(", ")
        )
    });
    if let Some(sentence) = &compare {
        output::complain(sentence);
    }
    let shown = Shown {
        receipt: &proven.statement,
        countersignature: &proven.countersignature,
        control_plane: proven.control_plane.to_string(),
        roots: &proven.roots,
        roots_from: source.name(),
        compare: compare.as_deref(),
    };
    context.show(&shown, || text(&proven, source, context.colour))
}

/// Whom to trust: what the options say, else what the session has pinned, else the file itself (decision 56).
fn anchors(context: &Context, roots: Option<&Path>) -> Result<(Anchors, Source), Failure> {
    let of_pem = |pem: &[u8], from: &str| {
        let certificates =
            pem::certificates(pem).map_err(|error| Failure::usage(format!("{from}: {}", chain(&error))))?;
        let roots =
            Roots::new(certificates).map_err(|error| Failure::usage(format!("{from}: {}", chain(&error))))?;
        Ok((Anchors::Roots(roots), Source::Options))
    };
    match (roots, context.trust()?) {
        (Some(path), None) => {
            let pem = file::read(path, Access::Any, LARGEST_ROOTS)
                .map_err(|error| Failure::usage(chain(&error)))?;
            of_pem(&pem, &format!("--roots {}", path.display()))
        }
        (None, Some(Trust::Fingerprints(pins))) => Ok((Anchors::Pins(pins), Source::Options)),
        (None, Some(Trust::Authorities(pem))) => of_pem(pem.as_bytes(), "--ca-file"),
        (None, None) => Ok(
            of_session(context)?.map_or((Anchors::Bundle, Source::File), |anchors| {
                (anchors, Source::Session)
            }),
        ),
        (Some(_), Some(_)) => Err(Failure::usage(
            "give either --roots, or --ca-fingerprint or --ca-file",
        )),
    }
}

/// By what the session knows roots of a collective. Other authorities, of a front end with a certificate of its own, say
/// nothing about receipts.
fn of_session(context: &Context) -> Result<Option<Anchors>, Failure> {
    Ok(match context.store.load()?.map(|profile| profile.trust) {
        None => None,
        Some(Trust::Fingerprints(pins)) => Some(Anchors::Pins(pins)),
        Some(Trust::Authorities(pem)) => pem::certificates(pem.as_bytes())
            .ok()
            .and_then(|certificates| Roots::new(certificates).ok())
            .map(Anchors::Roots),
    })
}

fn text(proven: &Proven, source: Source, colour: bool) -> String {
    let (statement, taken) = (&proven.statement, &proven.countersignature);
    let said = &statement.predicate;
    let digest = |digest: Option<&Digest>| digest.map(ToString::to_string).unwrap_or_default();
    let time = |ms: i64| table::time(&format_rfc3339(ms));
    let outputs: Vec<_> = statement
        .subject
        .iter()
        .map(|output| {
            let digests = output
                .digest
                .iter()
                .map(|(kind, digest)| format!("{kind}:{digest}"));
            format!("{}: {}", output.name, digests.collect::<Vec<_>>().join(", "))
        })
        .collect();
    let inputs: Vec<_> = said
        .inputs
        .iter()
        .map(|(name, digest)| format!("{name}: {digest}"))
        .collect();
    let trust = said.trust.as_ref().map_or_else(
        || format!("number {} of an epoch that it does not name", said.trust_number),
        |trust| {
            format!(
                "number {} of epoch {}, incarnation {}\n{}",
                trust.number, trust.epoch, trust.incarnation, trust.digest
            )
        },
    );
    let roots: Vec<_> = proven.roots.iter().map(ToString::to_string).collect();
    table::fields(
        [
            ("Run", said.run.to_string()),
            ("State", said.state.clone()),
            ("User", said.user.to_string()),
            ("Digest", said.item.to_string()),
            (
                "Mode",
                said.mode
                    .clone()
                    .unwrap_or_else(|| "nothing was started".to_owned()),
            ),
            ("Rule", said.rule.clone()),
            ("Entry", said.entry.clone().unwrap_or_default()),
            ("Trust state", trust),
            ("Grant", said.grant.to_string()),
            ("Policy", digest(said.policy.as_ref())),
            ("Package set", digest(said.packages.as_ref())),
            ("Inputs", inputs.join("\n")),
            ("Outputs", outputs.join("\n")),
            ("Limits", said.limits.join("\n")),
            ("Node", said.node.to_string()),
            ("Started", time(said.started)),
            ("Finished", time(said.finished)),
            ("Taken", time(taken.time)),
            ("Taken by", format!("control plane {}", proven.control_plane)),
            (
                "Audit",
                format!("record {} of {}", taken.audit_sequence, taken.audit_writer),
            ),
            (
                match source {
                    Source::File => "Root to compare",
                    Source::Options | Source::Session => "Trusted roots",
                },
                roots.join("\n"),
            ),
        ],
        colour,
    )
}
