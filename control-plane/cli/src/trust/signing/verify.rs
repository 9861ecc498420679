//! `muster trust verify`: what holds of a signature, as the control plane says, or as the files and roots alone do.

use std::path::{Path, PathBuf};

use clap::Args;
use muster_client::Request;
use muster_code_trust::{
    CodeRoot, INTERNAL_ROOT, MOST_BUNDLE, Moment, SignatureBundle, SignatureProblem, SignatureStatus,
    SignedAction, SignerState,
};
use muster_daemon::file::{self, Access};
use muster_ids::{Digest, UserName};
use muster_pki::{CertificateDer, code_signing::CodeCertificate, pem};
use muster_wire::admin::v1::{
    signing::{ItemContent, VerifiedItem, VerifyItem},
    trust::Item as WireItem,
};
use serde_json::Value;

use super::{Read, SIGNATURES, Source, read};
use crate::{
    context::Context,
    failure::{Failure, chain},
    item_file::{self, Declared},
    table,
    trust::{clients, one_of},
};

/// Larger than any list of roots.
const LARGEST_ROOTS: u64 = 1024 * 1024;

/// What is verified.
#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    declared: Declared,
    /// The signature [default: that with the mod, else one that the control plane keeps]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Ask no control plane: accept what leads to these roots, one in DER or several in PEM, the collective's own first, and
    /// behind it those of its name that it followed. Whether the signer's account still exists, and revocations and blocks, are then left out.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["function", "item", "user", "client", "to"])]
    roots: Option<PathBuf>,
    /// Who would open the mod or run the external action; others for administrators only [default: you]
    #[arg(long, value_name = "NAME@DOMAIN")]
    user: Option<UserName>,
    /// Where they work [default: web]
    #[arg(long, value_parser = clients())]
    client: Option<String>,
    /// What they would do [default: open a mod, run an action]
    #[arg(long, value_name = "ACTION", value_parser = one_of(SignedAction::ALL.iter().map(|action| action.as_str())))]
    to: Option<String>,
}

/// `muster trust verify`.
pub(in crate::trust) async fn verify(context: &Context, arguments: Verify) -> Result<(), Failure> {
    let read = read(context, &arguments.source, &arguments.declared).await?;
    read.tell_strangers("not looked at");
    let bundle = match &arguments.signature {
        Some(path) => Some(item_file::bytes(path, MOST_BUNDLE)?),
        None => read.bundle()?,
    };
    let mut found = if let Some(roots) = &arguments.roots {
        offline(context, &read, bundle.as_deref(), roots)?
    } else {
        let asked = VerifyItem {
            user: arguments.user,
            client: arguments.client,
            action: arguments.to,
            ..asked(read.content.clone(), bundle.as_deref())
        };
        answered(context, &asked).await?
    };
    if bundle.is_none() && found.status == "unsigned" {
        found.problem = found.problem.or_else(|| read.foreign());
    }
    let text = || as_text(&found, context.colour);
    if found.status == SignatureStatus::Valid.as_str() {
        return context.show(&found, text);
    }
    Err(context.show_refused(&found, text, &not_valid(&found)))
}

/// Why a signature that is not valid does not count, and what to do.
fn not_valid(found: &VerifiedItem) -> Failure {
    let item = format!("the {} {}", found.item.kind, found.item.hash);
    let problem = found
        .problem
        .as_deref()
        .map(|problem| problem.trim_end_matches('.'));
    if found.status == "unsigned" {
        let why = problem.map_or_else(String::new, |problem| format!(" ({problem})"));
        return Failure::failed(
            "invalid-signature",
            format!(
                "{item} is not signed{why}; sign it with muster trust sign, or name its signature with --signature"
            ),
        );
    }
    let why = problem.unwrap_or("the control plane does not say why");
    let signer = found
        .signer
        .as_ref()
        .map_or_else(String::new, |signer| format!(" of {signer}"));
    let cure = match found.status.as_str() {
        "modified" => {
            "; take the item as it was signed, or look at it and sign it again with muster trust sign"
        }
        "chain" => {
            "; import the root that the signature leads to, or have the item signed again with muster trust sign"
        }
        // What is wrong says itself what to do.
        _ => "",
    };
    Failure::failed(
        "invalid-signature",
        format!(
            "the signature{signer} on {item} is not valid ({}): {why}{cure}",
            found.status
        ),
    )
}

fn as_text(found: &VerifiedItem, colour: bool) -> String {
    let shown = |text: &Option<String>| text.clone().unwrap_or_default();
    let why = found.why.as_ref().map(|why| why.reasons.join("\n"));
    table::fields(
        [
            ("Item", format!("{} {}", found.item.kind, found.item.hash)),
            ("Signature", found.status.clone()),
            ("Problem", shown(&found.problem)),
            ("Signer", shown(&found.signer)),
            ("Issuer", shown(&found.issuer)),
            ("Serial", shown(&found.serial)),
            ("Time", shown(&found.time)),
            ("Root", shown(&found.root)),
            ("May", found.capabilities.join(", ")),
            ("Loads from", found.external_resources.join("\n")),
            ("Outcome", shown(&found.outcome)),
            ("To trust", found.options.join(", ")),
            ("Reasons", shown(&why)),
        ],
        colour,
    )
}

/// What the control plane says of a signature.
pub(crate) async fn verified(
    context: &Context,
    item: ItemContent,
    bundle: Option<&[u8]>,
) -> Result<VerifiedItem, Failure> {
    answered(context, &asked(item, bundle)).await
}

async fn answered(context: &Context, asked: &VerifyItem) -> Result<VerifiedItem, Failure> {
    let path = format!("{SIGNATURES}/verify");
    Ok(context.rest()?.call(Request::post(path).json(asked)).await?)
}

/// The question about an item for whoever asks.
fn asked(item: ItemContent, bundle: Option<&[u8]>) -> VerifyItem {
    VerifyItem {
        item,
        bundle: bundle.map(as_json),
        user: None,
        client: None,
        action: None,
    }
}

/// A signature as it is sent. What is no JSON is one of somebody else's form: the control plane says what it counts as.
pub(in crate::trust) fn as_json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String("not JSON".to_owned()))
}

/// What the files alone say of a signature.
fn offline(
    context: &Context,
    read: &Read,
    bundle: Option<&[u8]>,
    roots: &Path,
) -> Result<VerifiedItem, Failure> {
    let (r#type, hash) = &read.named;
    let pem = file::read(roots, Access::Any, LARGEST_ROOTS).map_err(|error| Failure::usage(chain(&error)))?;
    // In the form in which export-code-signing-root-certificate writes one, or several as text.
    let certificates = match CodeCertificate::of(&pem) {
        Ok(_) => vec![CertificateDer::from(pem)],
        Err(_) => pem::certificates(&pem)
            .map_err(|error| Failure::usage(format!("{}: {error}", roots.display())))?,
    };
    let roots = code_roots(certificates)?;
    let now = Moment::from_unix_ms(context.clock.unix_ms());
    let checked = bundle.map(|bytes| {
        let bundle = SignatureBundle::from_json(bytes)?;
        bundle.check((*r#type, hash), &roots, now, |_| SignerState::Active)
    });
    let item = WireItem {
        kind: r#type.to_string(),
        hash: hash.to_string(),
    };
    let nothing = |problem: Option<String>| VerifiedItem {
        item: item.clone(),
        status: "unsigned".to_owned(),
        problem,
        signer: None,
        issuer: None,
        serial: None,
        time: None,
        root: None,
        capabilities: Vec::new(),
        external_resources: Vec::new(),
        outcome: None,
        options: Vec::new(),
        offered: None,
        why: None,
    };
    Ok(match checked {
        None => nothing(None),
        Some(Err(error)) => nothing(Some(error.to_string())),
        Some(Ok(checked)) => VerifiedItem {
            status: checked
                .problem
                .as_ref()
                .map_or(SignatureStatus::Valid, SignatureProblem::status)
                .to_string(),
            signer: Some(checked.subject),
            issuer: Some(checked.certificate.issuer.to_string()),
            serial: Some(checked.certificate.serial.to_string()),
            time: checked.stamped.map(|time| time.to_string()),
            root: checked.root.map(|root| root.to_string()),
            ..nothing(checked.problem.map(|problem| problem.to_string()))
        },
    })
}

/// The roots of a file: the first is the collective's own, and so are those behind it that issued themselves under its
/// name, which has the collective's identifier in it.
fn code_roots(certificates: Vec<CertificateDer<'static>>) -> Result<Vec<CodeRoot>, Failure> {
    let issued_itself = |certificate: &CertificateDer<'_>| {
        let facts = CodeCertificate::of(certificate).ok();
        facts
            .filter(|facts| facts.is_self_issued)
            .map(|facts| facts.subject)
    };
    let own = certificates.first().and_then(issued_itself);
    let label = |(place, certificate): (usize, CertificateDer<'static>)| {
        let is_own = place == 0 || (own.is_some() && issued_itself(&certificate) == own);
        let label = if is_own {
            INTERNAL_ROOT.to_owned()
        } else {
            Digest::of(&certificate).to_string()
        };
        let label = label.parse().map_err(|_| Failure::usage("a root has no name"))?;
        Ok(CodeRoot { label, certificate })
    };
    certificates.into_iter().enumerate().map(label).collect()
}

#[cfg(test)]
mod tests;
