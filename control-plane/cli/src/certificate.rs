//! `muster cert`: certificates that the collective issued.

use clap::Subcommand;
use muster_client::{Request, Rest};
use muster_wire::admin::v1::certificate::{
    Certificate, ResetTrust, RevokeCertificate, RevokedCertificates, TrustReset,
};

use crate::{
    context::Context,
    escape::{escaped, escaped_lines},
    failure::Failure,
    list::{self, Extent},
    table, terminal,
};

const PATH: &str = "/api/v1/certificates";

/// Certificates that the collective issued
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List certificates
    #[command(after_help = "Example:\n  muster cert list --state revoked")]
    List {
        /// Only certificates in this state; pending ones are asked for by join requests
        #[arg(long, value_parser = ["valid", "expired", "revoked", "pending"])]
        state: Option<String>,
        /// Only those of this node or control plane
        #[arg(long, value_name = "NAME")]
        of: Option<String>,
        /// How many.
        #[command(flatten)]
        extent: Extent,
    },
    /// Show one certificate
    Show {
        /// Its serial number
        serial: String,
        /// Only the certificate, in PEM
        #[arg(long)]
        pem: bool,
    },
    /// Revoke a certificate; connections that were opened with it are cut
    #[command(
        after_help = "Examples:\n  muster cert revoke 8f00aa… --reason key-compromise\n  \
                  muster cert revoke 8f00aa… --lineage\n\n\
                  A node of which all certificates are revoked must join again. To take the trust from a node, use muster node untrust."
    )]
    Revoke {
        /// Its serial number
        serial: String,
        /// Why; stands in the revocation list
        #[arg(long, default_value = "unspecified", value_parser = ["unspecified", "key-compromise",
            "affiliation-changed", "superseded", "cessation-of-operation", "privilege-withdrawn"])]
        reason: String,
        /// All certificates of its holder for the same key too
        #[arg(long, conflicts_with = "lineage")]
        key: bool,
        /// All certificates of its holder
        #[arg(long)]
        lineage: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Revoke every certificate and untrust every node: all of them must join again
    ResetTrust {
        /// Delete certificates and nodes too, so that nodes can join again under their names
        #[arg(long)]
        delete: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let rest = context.rest()?;
    match command {
        Command::List { state, of, extent } => {
            let certificates = listed(&rest, (state.as_deref(), of.as_deref()), &extent).await?;
            context.show(&certificates, || rows(&certificates, context.colour))
        }
        Command::Show { serial, pem } => {
            let certificate: Certificate = rest.call(Request::get(PATH).segment(&serial)).await?;
            context.show(&certificate, || match &certificate.pem {
                Some(text) if pem => escaped_lines(text.trim_end()),
                _ => fields(&certificate, context.colour),
            })
        }
        Command::Revoke {
            serial,
            reason,
            key,
            lineage,
            yes,
        } => {
            let (extent, what) = match (key, lineage) {
                (true, _) => ("key", "all certificates for the key of"),
                (_, true) => ("lineage", "all certificates of the holder of"),
                _ => ("certificate", "the certificate"),
            };
            let question = format!(
                "Revoke {what} {}? It cannot be undone, and connections that were opened with it are cut.",
                escaped(&serial)
            );
            terminal::confirm(yes, &question, "give --yes")?;
            let request = Request::post(PATH)
                .segment(&serial)
                .segment("revoke")
                .json(&RevokeCertificate {
                    reason: Some(reason),
                    extent: Some(extent.to_owned()),
                });
            let revoked: RevokedCertificates = rest.call(request).await?;
            context.show(&revoked, || {
                format!(
                    "Certificates revoked: {}; valid ones that their holder still has: {}; runs lost: {}.",
                    revoked.serials.len(),
                    revoked.remaining,
                    revoked.runs_lost
                )
            })
        }
        Command::ResetTrust { delete, yes } => reset(context, &rest, delete, (yes, "give --yes")).await,
    }
}

/// The certificates in this state.
pub(crate) async fn listed(
    rest: &Rest,
    (state, of): (Option<&str>, Option<&str>),
    extent: &Extent,
) -> Result<Vec<Certificate>, Failure> {
    let request = || {
        let chosen = [("state", state), ("subject", of)];
        let chosen = chosen.into_iter().filter_map(|(key, value)| Some((key, value?)));
        chosen.fold(Request::get(PATH), |request, (key, value)| {
            request.query(key, value)
        })
    };
    list::all(rest, request, extent).await
}

/// Revokes everything, after a question unless it was answered already.
pub(crate) async fn reset(
    context: &Context,
    rest: &Rest,
    delete: bool,
    (yes, otherwise): (bool, &str),
) -> Result<(), Failure> {
    let question = format!(
        "Revoke {}every certificate of the collective? Every node is cut off, its runs are lost, and it must join again.",
        if delete { "and delete " } else { "" }
    );
    terminal::confirm(yes, &question, otherwise)?;
    let request = Request::post(PATH).segment("reset").json(&ResetTrust { delete });
    let reset: TrustReset = rest.call(request).await?;
    context.show(&reset, || {
        format!(
            "Certificates revoked: {}; nodes cut off: {}; runs lost: {}.\n{}",
            reset.certificates,
            reset.nodes,
            reset.runs_lost,
            if delete {
                "On each node run muster-node leave and muster-node join, then muster join approve here."
            } else {
                "On each node run muster-node leave; here muster node delete; then let it join again under its name."
            }
        )
    })
}

/// The table of certificates.
pub(crate) fn rows(certificates: &[Certificate], colour: bool) -> String {
    table::rows(
        ["serial", "purpose", "subject", "node", "state", "from", "until"],
        certificates.iter().map(|certificate| {
            [
                certificate.serial.clone().unwrap_or_else(table::dash),
                certificate.purpose.clone(),
                certificate.subject.clone(),
                table::or_dash(certificate.node.as_ref()),
                certificate.state.clone(),
                table::time_or_dash(certificate.not_before.as_ref()),
                table::time_or_dash(certificate.not_after.as_ref()),
            ]
        }),
        "No certificates.",
        colour,
    )
}

fn fields(certificate: &Certificate, colour: bool) -> String {
    table::fields(
        [
            ("Serial", certificate.serial.clone().unwrap_or_default()),
            ("Purpose", certificate.purpose.clone()),
            ("Subject", certificate.subject.clone()),
            ("Node", table::or_dash(certificate.node.as_ref())),
            ("State", certificate.state.clone()),
            ("From", table::time_or_dash(certificate.not_before.as_ref())),
            ("Until", table::time_or_dash(certificate.not_after.as_ref())),
            ("Revoked", table::time_or_dash(certificate.revoked.as_ref())),
            ("Reason", certificate.reason.clone().unwrap_or_default()),
            ("Fingerprint", certificate.fingerprint.clone().unwrap_or_default()),
        ],
        colour,
    )
}
