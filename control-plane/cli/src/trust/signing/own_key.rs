//! Signing with a key that no control plane has, certified by another authority.
//!
//! Invariant: the key is read where nobody else can read it, and does not leave this process.

use std::path::Path;

use muster_code_trust::{ItemHash, ItemStatement, ItemType, SignatureBundle};
use muster_daemon::file::{self, Access};
use muster_pki::{
    CertificateDer,
    code_signing::{CodeCertificate, CodeMessage, CodeSigned, ExternalKey, MOST_CHAIN},
    pem,
};
use zeroize::Zeroizing;

use crate::failure::{Failure, chain};

/// Larger than any key or list of certificates.
const LARGEST: u64 = 256 * 1024;

/// A signature of the item by the key in one file, whose certificate and what leads on from it are in the other.
pub(super) fn sign(
    (r#type, hash): (ItemType, ItemHash),
    key: &Path,
    certificates: &Path,
) -> Result<SignatureBundle, Failure> {
    let wrong = |path: &Path, error: &dyn std::error::Error| {
        Failure::usage(format!("{}: {}", path.display(), chain(error)))
    };
    let text = file::read(key, Access::Private, LARGEST).map_err(|error| Failure::usage(chain(&error)))?;
    let text = Zeroizing::new(text);
    let der = pem::private_key(&text).map_err(|error| wrong(key, &error))?;
    let signer = ExternalKey::from_pkcs8(der.secret_der()).map_err(|error| wrong(key, &error))?;
    let text =
        file::read(certificates, Access::Any, LARGEST).map_err(|error| Failure::usage(chain(&error)))?;
    let chain = without_roots(pem::certificates(&text).map_err(|error| wrong(certificates, &error))?);
    let fits = chain
        .first()
        .is_some_and(|leaf| CodeCertificate::of(leaf).is_ok_and(|facts| facts.signs_code));
    if !fits || chain.len() > MOST_CHAIN {
        return Err(Failure::usage(format!(
            "{} must hold the certificate of the signer first, one that may sign code, then what leads on from it: at \
             most {MOST_CHAIN}",
            certificates.display()
        )));
    }
    let payload = serde_json::to_vec(&ItemStatement { r#type, hash })
        .map_err(|error| Failure::failed("file", error.to_string()))?;
    let signature = CodeSigned::sign_externally(CodeMessage::ItemSignature, payload, &signer, &chain)
        .map_err(|error| wrong(key, &error))?;
    Ok(SignatureBundle {
        signature,
        time_stamp: None,
    })
}

/// Roots are known where a signature counts, and are left out of it.
fn without_roots(certificates: Vec<CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    let is_root = |der: &CertificateDer<'_>| CodeCertificate::of(der).is_ok_and(|facts| facts.is_self_issued);
    let (mut first, mut kept) = (true, certificates);
    kept.retain(|der| std::mem::take(&mut first) || !is_root(der));
    kept
}
