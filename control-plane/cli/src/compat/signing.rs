//! The documented commands about certificates that sign, and the roots that they lead to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Parser;
use muster_client::Request;
use muster_daemon::file::{self, Access};
use muster_ids::UserName;
use muster_pki::{CertificateDer, code_signing::CodeCertificate, pem};
use muster_wire::admin::v1::signing::{
    AllowedIssuers, CodeTrustReset, ImportCertificate, ImportedCertificate, SigningCertificate, SigningRoot,
};

use super::{
    Common,
    fetch::{self, Fetched},
    group::user,
    options,
};
use crate::{
    context::Context,
    escape::escaped,
    failure::{Failure, chain},
    list::{self, Extent},
    output, table, terminal,
};

const ROOTS: &str = "/api/v1/trust/roots";
const CERTIFICATES: &str = "/api/v1/trust/certificates";
/// The documented name of the file with the exported root.
const EXPORTED: &str = "root-ca.cer";
/// Larger than any certificate.
const LARGEST: u64 = 64 * 1024;

/// Lists certificates of those who sign
#[derive(Debug, Parser)]
#[command(name = "list-code-signing-certificates")]
struct ListCertificates {
    /// Only those of this user
    #[arg(short = 'u', long, value_parser = user, conflicts_with = "external_certificates")]
    username: Option<UserName>,
    /// Those of other authorities instead: imported ones, and those by which kept signatures were made
    #[arg(short = 'e', long)]
    external_certificates: bool,
    #[command(flatten)]
    common: Common,
}

/// Lists the roots that signatures may lead to, the own one and imported ones
#[derive(Debug, Parser)]
#[command(name = "list-code-signing-root-certificates")]
struct ListRoots {
    #[command(flatten)]
    common: Common,
}

/// Writes the own root to root-ca.cer in a folder
#[derive(Debug, Parser)]
#[command(name = "export-code-signing-root-certificate")]
struct ExportRoot {
    /// The folder
    #[arg(short = 'd', long)]
    directory: PathBuf,
    /// Replace a file that is there
    #[arg(short = 'f', long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// Imports a root, or the certificate of a signer, of another authority
#[derive(Debug, Parser)]
#[command(name = "import-code-signing-certificate")]
struct Import {
    /// A file with the certificate, PEM or DER
    #[arg(
        short = 'p',
        long,
        conflicts_with = "base64_certificate",
        required_unless_present = "base64_certificate"
    )]
    path: Option<PathBuf>,
    /// The certificate itself, DER in base64
    #[arg(long)]
    base64_certificate: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Removes an imported root: signatures that lead to it are no longer valid
#[derive(Debug, Parser)]
#[command(name = "remove-code-signing-root-certificate")]
struct RemoveRoot {
    /// Serial number of the root
    #[arg(short = 'n', long)]
    serial_number: String,
    /// Issuer of the root, which is also its name
    #[arg(short = 'i', long)]
    issuer: String,
    #[command(flatten)]
    common: Common,
}

/// Makes the own root anew and deletes all certificates that it has issued
#[derive(Debug, Parser)]
#[command(name = "reset-code-trust")]
struct Reset {
    /// Do not ask
    #[arg(short = 'f', long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// `list-code-signing-certificates [-u USER | -e]`.
pub(super) async fn certificates(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ListCertificates>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let request = || {
        let mut request = Request::get(CERTIFICATES);
        if let Some(user) = &options.username {
            request = request.query("user", user.as_str());
        }
        if options.external_certificates {
            request = request.query("external", "true");
        }
        request
    };
    let listed: Vec<SigningCertificate> = list::all(&context.rest()?, request, &Extent::default()).await?;
    context.show(&listed, || {
        let rows = listed.iter().map(|one| {
            [
                one.serial.clone(),
                one.issuer.clone(),
                one.subject.clone(),
                one.state.clone(),
                table::time(&one.not_before),
                table::time(&one.not_after),
            ]
        });
        let headers = ["serial", "issuer", "subject", "state", "from", "until"];
        table::rows(headers, rows, "There are no such certificates that you may see: people see their own, administrators those of all.", context.colour)
    })
}

/// `list-code-signing-root-certificates`.
pub(super) async fn roots(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ListRoots>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let roots: Vec<SigningRoot> = list::every(&context.rest()?, ROOTS).await?;
    context.show(&roots, || {
        let rows = roots.iter().map(|root| {
            [
                root.origin.clone(),
                root.subject.clone(),
                root.serial.clone(),
                table::time(&root.not_after),
                root.fingerprint.to_string(),
            ]
        });
        let headers = ["origin", "subject and issuer", "serial", "until", "fingerprint"];
        table::rows(
            headers,
            rows,
            "There are no roots yet; the own one is made when it is needed.",
            context.colour,
        )
    })
}

/// `export-code-signing-root-certificate -d FOLDER [-f]`.
pub(super) async fn export(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ExportRoot>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let path = options.directory.join(EXPORTED);
    if !options.directory.is_dir() {
        return Err(Failure::usage(format!(
            "{} is no folder",
            options.directory.display()
        )));
    }
    output::refuse_overwriting(&path, options.force, "-f")?;
    let root: SigningRoot = context
        .rest()?
        .call(Request::post("/api/v1/trust/roots/internal"))
        .await?;
    let certificates =
        pem::certificates(root.pem.as_bytes()).map_err(|error| Failure::failed("file", chain(&error)))?;
    let der = certificates.first().map_or(&[][..], |certificate| certificate);
    fs::write(&path, der)
        .map_err(|error| Failure::failed("file", format!("{} cannot be written: {error}", path.display())))?;
    context.show(&root, || {
        escaped(&format!("Wrote {} to {}.", root.subject, path.display()))
    })
}

/// `import-code-signing-certificate -p FILE | --base64-certificate TEXT`.
pub(super) async fn import(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<Import>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let pem = match (&options.path, &options.base64_certificate) {
        (Some(path), _) => certificate_text(path)?,
        (None, Some(text)) => {
            let der = STANDARD
                .decode(text.trim())
                .map_err(|_| Failure::usage("--base64-certificate is not base64"))?;
            pem::write_certificates([&CertificateDer::from(der)])
        }
        (None, None) => return Err(Failure::usage("name a certificate: -p, or --base64-certificate")),
    };
    let (pem, fetched) = with_issuers(context, pem).await?;
    let new = ImportCertificate { pem };
    let made: ImportedCertificate = context
        .rest()?
        .call(Request::post(CERTIFICATES).json(&new))
        .await?;
    context.show(&made, || {
        let between: Vec<String> = fetched
            .iter()
            .map(|one| format!(" That of its issuer was fetched from {}.", one.address))
            .collect();
        let said = match (&made.root, &made.certificate) {
            (Some(root), _) => format!("Signatures may lead to {} now.", root.subject),
            (None, Some(leaf)) => format!(
                "{} can be trusted or blocked now, by its issuer {} and serial number {}.",
                leaf.subject, leaf.issuer, leaf.serial
            ),
            (None, None) => "It was imported.".to_owned(),
        };
        escaped(&(said + &between.concat()))
    })
}

/// The certificate of a signer with those of its issuers, where the configuration allows to fetch them; else what it was.
async fn with_issuers(context: &Context, text: String) -> Result<(String, Vec<Fetched>), Failure> {
    let certificates = pem::certificates(text.as_bytes()).map_err(|error| Failure::usage(chain(&error)))?;
    let [leaf] = certificates.as_slice() else {
        return Ok((text, Vec::new()));
    };
    let signs = CodeCertificate::of(leaf).is_ok_and(|facts| facts.signs_code);
    let rest = context.rest()?;
    let allowed: AllowedIssuers = rest.call(Request::get("/api/v1/trust/allowed-issuers")).await?;
    if !signs || allowed.addresses.is_empty() {
        return Ok((text, Vec::new()));
    }
    let roots: Vec<SigningRoot> = list::every(&rest, ROOTS).await?;
    let roots: Vec<String> = roots.into_iter().map(|root| root.subject).collect();
    let fetched = fetch::between(leaf, &roots, &allowed.addresses).await?;
    let others = fetched.iter().map(|one| &one.certificate);
    Ok((pem::write_certificates([leaf].into_iter().chain(others)), fetched))
}

/// `remove-code-signing-root-certificate -n SERIAL -i ISSUER`.
pub(super) async fn remove_root(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<RemoveRoot>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let rest = context.rest()?;
    let roots: Vec<SigningRoot> = list::every(&rest, ROOTS).await?;
    let serial = options.serial_number.trim_start_matches('0').to_ascii_lowercase();
    let named = |root: &&SigningRoot| root.serial == serial && root.subject == options.issuer;
    let root = roots.iter().find(named).ok_or_else(|| {
        Failure::failed("not-found", "there is no root of this issuer and serial number; list-code-signing-root-certificates shows all of them")
    })?;
    let request = Request::delete(ROOTS).segment(&root.fingerprint.to_string());
    rest.call::<()>(request).await?;
    context.done(&escaped(&format!(
        "Signatures that lead to {} are no longer valid.",
        root.subject
    )))
}

/// `reset-code-trust [-f]`.
pub(super) async fn reset(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<Reset>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let rest = context.rest()?;
    let question = "Make the code-signing root anew? All that users have signed must be signed again.";
    terminal::confirm(options.force, question, "give -f")?;
    let done: CodeTrustReset = rest.call(Request::post("/api/v1/trust/reset")).await?;
    context.show(&done, || {
        escaped(&format!(
            "The root is {} now; {} certificates of users were deleted. Sign again with re-sign-mod.",
            done.root.fingerprint, done.deleted
        ))
    })
}

/// The issuer and the serial number of the certificate in a file.
pub(super) fn named_by(path: &Path) -> Result<(String, String), Failure> {
    let wrong =
        |error: &dyn std::error::Error| Failure::usage(format!("{}: {}", path.display(), chain(error)));
    let certificates =
        pem::certificates(certificate_text(path)?.as_bytes()).map_err(|error| wrong(&error))?;
    let facts = certificates
        .first()
        .map(|der| CodeCertificate::of(der))
        .transpose();
    match facts.map_err(|error| wrong(&error))? {
        Some(facts) => Ok((facts.issuer, facts.serial)),
        None => Err(Failure::usage(format!("{} is no certificate", path.display()))),
    }
}

/// The certificate in a file, as PEM.
fn certificate_text(path: &Path) -> Result<String, Failure> {
    let bytes = file::read(path, Access::Any, LARGEST).map_err(|error| Failure::usage(chain(&error)))?;
    if bytes.starts_with(b"0") || !bytes.is_ascii() {
        return Ok(pem::write_certificates([&CertificateDer::from(bytes)]));
    }
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is no certificate", path.display())))
}
