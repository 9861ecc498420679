//! What a certificate of somebody who signs code says, be it ours or another authority's.
//!
//! Invariant: the name of an issuer has one text in which no value of it can pose as another part, so that trust by
//! issuer and serial number means one certificate.

use std::fmt::Write as _;

use muster_ids::{UserId, UserName};
use x509_parser::{
    asn1_rs::ToDer as _,
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
    x509::X509Name,
};

use super::ACCOUNT;
use crate::{Validity, facts::seconds_to_validity};

/// The longest certificate that is looked at, bytes.
const MOST_BYTES: usize = 16 * 1024;

/// The longest serial number, bytes: RFC 5280 4.1.2.2 has at most 20.
const MOST_SERIAL: usize = 32;

/// id-ad-caIssuers.
const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";

/// Why a certificate cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeCertificateError {
    /// Not a certificate, or one far too long.
    #[error("the certificate is not readable as X.509 DER of at most {MOST_BYTES} bytes")]
    Unreadable,
    /// A name that cannot be written down.
    #[error("the names of the certificate have characters that mislead, or are too long")]
    Name,
}

/// The account that a certificate of the collective's own authority is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's name when it was issued.
    pub name: UserName,
    /// The account.
    pub id: UserId,
}

/// What a certificate says of itself. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeCertificate {
    /// The authority that issued it.
    pub issuer: String,
    /// Whose it is.
    pub subject: String,
    /// Its number, lower-case hexadecimal digits without leading zeros.
    pub serial: String,
    /// From when until when.
    pub validity: Validity,
    /// Its key, as a SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// Whether it may sign certificates.
    pub is_authority: bool,
    /// How many authorities may be between this one and a leaf, if it says so.
    pub path_length: Option<u32>,
    /// Whether issuer and holder are the same.
    pub is_self_issued: bool,
    /// Whether it may sign code.
    pub signs_code: bool,
    /// Whether it may stamp times and nothing else.
    pub stamps_times: bool,
    /// The account, where it is of the form that the collective's own authority gives.
    pub account: Option<Account>,
}

impl CodeCertificate {
    /// Reads `certificate` (DER).
    pub fn of(certificate: &[u8]) -> Result<Self, CodeCertificateError> {
        let unreadable = CodeCertificateError::Unreadable;
        if certificate.len() > MOST_BYTES {
            return Err(unreadable);
        }
        let Ok((&[], x509)) = X509Certificate::from_der(certificate) else {
            return Err(unreadable);
        };
        // Of a negative number the digits would be those of another one.
        let number = x509.raw_serial();
        if number.len() > MOST_SERIAL || number.first().is_some_and(|first| *first >= 0x80) {
            return Err(unreadable);
        }
        let authority = x509.basic_constraints().map_err(|_| unreadable)?;
        let usage = x509.key_usage().map_err(|_| unreadable)?;
        let extended = x509.extended_key_usage().map_err(|_| unreadable)?;
        let path_length = authority
            .as_ref()
            .and_then(|found| found.value.path_len_constraint);
        let is_ca = authority.is_some_and(|found| found.value.ca);
        let is_authority = is_ca && usage.as_ref().is_none_or(|found| found.value.key_cert_sign());
        let signs = usage.is_none_or(|found| found.value.digital_signature()) && !is_ca;
        let (code, time, others) = extended.map_or((false, false, true), |found| {
            let value = found.value;
            let others = value.any
                || value.server_auth
                || value.client_auth
                || value.email_protection
                || value.ocsp_signing
                || !value.other.is_empty();
            (value.code_signing, value.time_stamping, others)
        });
        let account = if code { account(&x509) } else { None };
        Ok(Self {
            issuer: text(x509.issuer())?,
            subject: text(x509.subject())?,
            serial: serial(x509.raw_serial()),
            validity: seconds_to_validity(x509.validity()),
            spki: x509.public_key().raw.to_vec(),
            is_authority,
            path_length,
            is_self_issued: x509.issuer().as_raw() == x509.subject().as_raw(),
            signs_code: signs && code,
            stamps_times: signs && time && !code && !others,
            account,
        })
    }
}

/// Where `certificate` (DER) says that the one of its issuer can be had: addresses of authority information access, as
/// they stand there. Nothing may be asked for having been named by a certificate.
pub fn issuer_addresses(certificate: &[u8]) -> Vec<String> {
    let Some((_, x509)) = Some(certificate)
        .filter(|der| der.len() <= MOST_BYTES)
        .and_then(|der| X509Certificate::from_der(der).ok())
    else {
        return Vec::new();
    };
    let mut addresses = Vec::new();
    for extension in x509.extensions() {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else {
            continue;
        };
        for one in access.iter() {
            if let (CA_ISSUERS, GeneralName::URI(address)) =
                (one.access_method.to_id_string().as_str(), &one.access_location)
            {
                addresses.push((*address).to_owned());
            }
        }
    }
    addresses
}

fn account(x509: &X509Certificate<'_>) -> Option<Account> {
    let id = match x509
        .subject_alternative_name()
        .ok()??
        .value
        .general_names
        .as_slice()
    {
        [GeneralName::URI(uri)] => uri.strip_prefix(ACCOUNT)?.parse().ok()?,
        _ => return None,
    };
    let mut names = x509.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.parse().ok()?;
    names.next().is_none().then_some(Account { name, id })
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn serial(raw: &[u8]) -> String {
    let digits = digits(raw);
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        "0".to_owned()
    } else {
        digits.to_owned()
    }
}

/// `CN=Corp CA, O=Corp`, in the order of the certificate. Marks that part a name are written behind a backslash, and
/// what is no text as `#` and its DER.
fn text(name: &X509Name<'_>) -> Result<String, CodeCertificateError> {
    let mut parts = Vec::new();
    for set in name.iter_rdn() {
        let mut values = Vec::new();
        for attribute in set.iter() {
            let kind = attribute.attr_type().to_id_string();
            let kind = match kind.as_str() {
                "2.5.4.3" => "CN",
                "2.5.4.5" => "serialNumber",
                "2.5.4.6" => "C",
                "2.5.4.7" => "L",
                "2.5.4.8" => "ST",
                "2.5.4.10" => "O",
                "2.5.4.11" => "OU",
                "0.9.2342.19200300.100.1.25" => "DC",
                "1.2.840.113549.1.9.1" => "E",
                other => other,
            };
            let value = match (attribute.as_str(), attribute.attr_value().to_der_vec()) {
                (Ok(text), _) => escaped(text),
                (Err(_), Ok(der)) => format!("#{}", digits(&der)),
                (Err(_), Err(_)) => return Err(CodeCertificateError::Name),
            };
            values.push(format!("{kind}={value}"));
        }
        parts.push(values.join("+"));
    }
    let text = parts.join(", ");
    if text.is_empty() || text.len() > 512 || text.chars().any(muster_ids::is_deceptive) {
        return Err(CodeCertificateError::Name);
    }
    Ok(text)
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (at, character) in value.char_indices() {
        let leading = at == 0 && matches!(character, '#' | ' ');
        let trailing = character == ' ' && at + 1 == value.len();
        if leading || trailing || matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}
