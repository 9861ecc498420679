//! Certificates of other authorities: roots, signers, and what lies between them.
//!
//! Invariant: nothing is fetched here. What lies between a signer and a root is kept only if it leads to a root that is
//! accepted now; later it leads on from signatures beside which it is missing.

use muster_code_trust::{Certificate as Signer, SignatureBundle};
use muster_ids::Digest;
use muster_model::{
    audit::Event,
    permission::{Caller, Operation},
};
use muster_pki::{
    CertificateDer,
    code_signing::{CodeCertificate, CodeUsage, MOST_CHAIN, verify_code_chain},
    pem,
};
use muster_store::{Draft, SignerState, SigningCertificate};
use muster_wire::admin::v1::signing::{AllowedIssuers, ImportCertificate, ImportedCertificate};
use serde_json::json;

use super::{certificate::to_wire, sentence};
use crate::{
    App, Error,
    trust::{author, duplicate, refuse_long},
};

impl App {
    /// From where certificates may be fetched by whoever imports one.
    pub async fn allowed_issuers(&self, caller: &Caller) -> Result<AllowedIssuers, Error> {
        self.authorize(caller, Operation::Use).await?;
        Ok(AllowedIssuers {
            addresses: self.options().allowed_issuers.clone(),
        })
    }

    /// Takes the certificate of another authority: a root that signatures may lead to, or that of a signer, which can
    /// then be trusted or blocked by issuer and number, with what lies between it and a root.
    pub async fn import_signing_certificate(
        &self,
        caller: &Caller,
        new: &ImportCertificate,
    ) -> Result<ImportedCertificate, Error> {
        let authorized = self
            .authorize_to(
                caller,
                Operation::ManageTrust,
                "import a code-signing certificate",
                "",
            )
            .await?;
        let certificates =
            pem::certificates(new.pem.as_bytes()).map_err(|error| Error::invalid(error.to_string()))?;
        let (first, between) = certificates
            .split_first()
            .ok_or_else(|| Error::invalid("the PEM text holds no certificate"))?;
        let facts = read(first)?;
        if facts.is_authority {
            if !between.is_empty() {
                return Err(Error::invalid(
                    "the PEM text begins with an authority and holds several certificates; import one after the other, \
                     or begin with that of the signer",
                ));
            }
            let root = self.import_root(caller, first, facts).await?;
            return Ok(ImportedCertificate {
                root: Some(root),
                certificate: None,
            });
        }
        if !facts.signs_code {
            return Err(Error::invalid(
                "the certificate may not sign code: its extended key usage lacks codeSigning, and it is no root either",
            ));
        }
        let (by, now) = (author(caller)?.to_string(), self.now());
        if !between.is_empty() {
            self.require_path(&certificates, now).await?;
        }
        let leaf = row(first, facts, &by, now);
        let mut tx = self.begin_asked(&authorized).await?;
        let mut added = Vec::new();
        for certificate in between {
            let row = row(certificate, read(certificate)?, &by, now);
            if !self.is_imported(&row).await? {
                tx.signing_certificate_insert(&row).await?;
                added.push(row.subject);
            }
        }
        if !self.is_imported(&leaf).await? {
            tx.signing_certificate_insert(&leaf).await?;
        } else if added.is_empty() {
            return Err(duplicate("this certificate is imported already"));
        }
        let detail = json!({
            "issuer": leaf.issuer, "serial": leaf.serial, "not_after": leaf.not_after, "authorities": added,
        });
        let draft = Draft::new(Event::SigningCertificateImported, leaf.subject.clone(), detail);
        tx.commit(draft, now).await?;
        Ok(ImportedCertificate {
            root: None,
            certificate: Some(to_wire(leaf, now)),
        })
    }

    /// That these lead to a root, all of them authorities but the first.
    async fn require_path(&self, certificates: &[CertificateDer<'static>], now: i64) -> Result<(), Error> {
        let refused = |why: String| {
            Error::invalid(format!(
                "the certificates behind the first are not kept: {why}; import the root first"
            ))
        };
        if certificates.len() > MOST_CHAIN {
            return Err(refused(format!("there are more than {MOST_CHAIN} in all")));
        }
        for certificate in &certificates[1..] {
            let facts = read(certificate)?;
            if !facts.is_authority || facts.is_self_issued {
                return Err(refused(format!(
                    "{} is no authority between a signer and a root",
                    facts.subject
                )));
            }
        }
        let roots: Vec<CertificateDer<'_>> = self
            .code_roots()
            .await?
            .into_iter()
            .map(|root| root.certificate)
            .collect();
        // Each of them: one that leads nowhere is not kept because another does.
        for length in 2..=certificates.len() {
            let mut chain = certificates.to_vec();
            let last = chain.remove(length - 1);
            let without = verify_code_chain(&chain, &roots, CodeUsage::Signing, now);
            if without.is_ok() {
                let name = read(&last)?.subject;
                return Err(refused(format!("{name} leads on from none of them")));
            }
        }
        verify_code_chain(certificates, &roots, CodeUsage::Signing, now)
            .map(drop)
            .map_err(|error| refused(sentence(&error)))
    }

    /// Whether this very certificate is here; another of its issuer and number is refused.
    async fn is_imported(&self, row: &SigningCertificate) -> Result<bool, Error> {
        let known = self
            .store()
            .signing_certificate_imported(&row.issuer, &row.serial)
            .await?;
        match known {
            Some(known) if known.fingerprint != row.fingerprint => Err(duplicate(format!(
                "another certificate with the number {} of {} is imported already",
                row.serial, row.issuer
            ))),
            known => Ok(known.is_some()),
        }
    }

    /// The imported authorities that lead on from the last certificate beside a signature.
    pub(super) async fn known_authorities(
        &self,
        bundle: &SignatureBundle,
    ) -> Result<Vec<CertificateDer<'static>>, Error> {
        let chain = bundle.signature.chain();
        let mut found = Vec::new();
        let mut issuer = chain
            .last()
            .and_then(|last| CodeCertificate::of(last).ok())
            .map(|last| last.issuer);
        while let Some(name) = issuer.take()
            && chain.len() + found.len() < MOST_CHAIN
        {
            for known in self.store().signing_certificates_of(&name).await? {
                let der = CertificateDer::from(known.der);
                if CodeCertificate::of(&der).is_ok_and(|facts| facts.is_authority) && !found.contains(&der) {
                    issuer = Some(known.issuer);
                    found.push(der);
                }
            }
        }
        Ok(found)
    }
}

fn read(certificate: &CertificateDer<'_>) -> Result<CodeCertificate, Error> {
    let facts = CodeCertificate::of(certificate).map_err(|error| Error::invalid(error.to_string()))?;
    let signer = Signer {
        issuer: facts
            .issuer
            .parse()
            .map_err(|_| Error::invalid("the issuer has no usable name"))?,
        serial: facts
            .serial
            .parse()
            .map_err(|_| Error::invalid("the certificate has no usable number"))?,
    };
    refuse_long(&signer)?;
    Ok(facts)
}

fn row(certificate: &CertificateDer<'_>, facts: CodeCertificate, by: &str, now: i64) -> SigningCertificate {
    SigningCertificate {
        fingerprint: Digest::of(certificate),
        issuer: facts.issuer,
        serial: facts.serial,
        subject: facts.subject,
        root: None,
        user: None,
        der: certificate.to_vec(),
        sealed_key: Vec::new(),
        not_before: facts.validity.not_before_ms(),
        not_after: facts.validity.not_after_ms(),
        state: SignerState::Valid,
        added_by: by.to_owned(),
        added_at: now,
    }
}
