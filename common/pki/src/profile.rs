//! Certificate profiles: what each kind of certificate says, decided here and nowhere else.
//!
//! A certificate signing request contributes its public key, nothing more. Every certificate is X.509 version
//! 3 on P-256 with subject and authority key identifiers, explicit basic constraints, a critical key usage
//! and, for leaves, exactly one extended key usage.
//!
//! | profile | usage | names |
//! | --- | --- | --- |
//! | root, cross, issuing | certificates, CRLs; path length 1, 1, 0 | `spiffe://<collective>` |
//! | node | clientAuth | its identity |
//! | control plane | serverAuth | its identity; nodes check no host name |
//! | policy, receipt | documentSigning (RFC 9336) | its identity |
//! | front end | serverAuth | host names and addresses from the configuration |

use muster_ids::{CollectiveId, ControlPlaneId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::ServerName;
use time::OffsetDateTime;
use x509_parser::{der_parser::oid, extensions::ExtendedKeyUsage};

use crate::{Role, Serial, SpiffeId, Subject, Validity, identity::trust_domain};

/// The kind of a certificate that an authority issues, with what its names are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// The key of a root, certified by another root of the same collective: the bridge that a rotation of the
    /// roots leaves for those who know only the older one.
    Cross {
        /// The collective of both roots.
        collective: CollectiveId,
    },
    /// The issuing intermediate of a control plane, signed by the root.
    Issuing {
        /// The collective of the root.
        collective: CollectiveId,
        /// Whose intermediate it is.
        control_plane: ControlPlaneId,
    },
    /// A leaf for this identity, whose role decides the usage.
    Identity(SpiffeId),
    /// The server certificate of a front end, when the administrator gives none.
    FrontEnd {
        /// The collective of the issuing intermediate.
        collective: CollectiveId,
        /// The names and addresses that people use, at least one.
        names: Vec<ServerName<'static>>,
    },
}

impl Profile {
    /// The collective in which such a certificate is issued.
    pub fn collective(&self) -> CollectiveId {
        match self {
            Self::Cross { collective }
            | Self::Issuing { collective, .. }
            | Self::FrontEnd { collective, .. } => *collective,
            Self::Identity(id) => id.collective,
        }
    }

    /// The path length that the issuer of such a certificate has: roots sign intermediates only, and
    /// intermediates sign leaves only.
    pub(crate) fn issuer_path_length(&self) -> u32 {
        match self {
            Self::Cross { .. } | Self::Issuing { .. } => 1,
            Self::Identity(_) | Self::FrontEnd { .. } => 0,
        }
    }

    pub(crate) fn params(
        &self,
        serial: &Serial,
        validity: &Validity,
    ) -> Result<CertificateParams, ProfileError> {
        let base = base(serial, validity)?;
        match self {
            Self::Cross { collective } => {
                authority(base, &format!("Muster root {collective}"), *collective, 1)
            }
            Self::Issuing {
                collective,
                control_plane,
            } => authority(base, &format!("Muster issuing {control_plane}"), *collective, 0),
            Self::Identity(id) => {
                let common_name = match id.subject {
                    Subject::Node(node) => format!("node {node}"),
                    Subject::ControlPlane(control_plane) => format!("control plane {control_plane}"),
                    Subject::Policy(control_plane) => format!("policy {control_plane}"),
                    Subject::Receipt(node) => format!("receipt {node}"),
                };
                let names = vec![uri(&id.to_string())?];
                Ok(leaf(base, &common_name, Usage::of_role(id.role()), names))
            }
            Self::FrontEnd { names, .. } => {
                let names = names.iter().map(host).collect::<Result<Vec<_>, _>>()?;
                if names.is_empty() {
                    return Err(ProfileError::NoNames);
                }
                Ok(leaf(base, "Muster front end", Usage::ServerAuth, names))
            }
        }
    }
}

/// What the root of `collective` says.
pub(crate) fn root_params(
    collective: CollectiveId,
    serial: &Serial,
    validity: &Validity,
) -> Result<CertificateParams, ProfileError> {
    authority(
        base(serial, validity)?,
        &format!("Muster root {collective}"),
        collective,
        1,
    )
}

/// Why a profile gives no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A front end without names.
    #[error("a front end's certificate needs at least one host name or address")]
    NoNames,
    /// A name that a certificate cannot carry.
    #[error("a certificate cannot carry the name {0}; use a DNS name or an IP address")]
    Name(String),
    /// X.509 ends with the year 9999, and nothing ends before it begins.
    #[error("a certificate's validity must end after it begins and before the year 10000")]
    Validity,
}

/// The one extended key usage of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    ClientAuth,
    ServerAuth,
    DocumentSigning,
}

impl Usage {
    /// id-kp-documentSigning, 1.3.6.1.5.5.7.3.36 (RFC 9336 3.1).
    const DOCUMENT_SIGNING: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 36];
    /// The same, as the content of a DER object identifier.
    const DOCUMENT_SIGNING_DER: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 3, 36];

    pub(crate) fn of_role(role: Role) -> Self {
        match role {
            Role::Node => Self::ClientAuth,
            Role::ControlPlane => Self::ServerAuth,
            Role::Policy | Role::Receipt => Self::DocumentSigning,
        }
    }

    /// The usage that `extension` states, if it states exactly one that is known here.
    pub(crate) fn of_extension(extension: &ExtendedKeyUsage<'_>) -> Option<Self> {
        let others = [
            extension.any,
            extension.code_signing,
            extension.email_protection,
            extension.time_stamping,
            extension.ocsp_signing,
        ];
        if others.contains(&true) {
            return None;
        }
        match (
            extension.client_auth,
            extension.server_auth,
            extension.other.as_slice(),
        ) {
            (true, false, []) => Some(Self::ClientAuth),
            (false, true, []) => Some(Self::ServerAuth),
            (false, false, [one]) if *one == oid!(1.3.6.1.5.5.7.3.36) => Some(Self::DocumentSigning),
            _ => None,
        }
    }

    /// For path building, where intermediates without the extension must pass; that the leaf has it is
    /// checked by `Facts`.
    pub(crate) fn path_check(self) -> webpki::KeyUsage {
        match self {
            Self::ClientAuth => webpki::KeyUsage::client_auth(),
            Self::ServerAuth => webpki::KeyUsage::server_auth(),
            Self::DocumentSigning => webpki::KeyUsage::required_if_present(&Self::DOCUMENT_SIGNING_DER),
        }
    }

    fn purpose(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::ClientAuth => ExtendedKeyUsagePurpose::ClientAuth,
            Self::ServerAuth => ExtendedKeyUsagePurpose::ServerAuth,
            Self::DocumentSigning => ExtendedKeyUsagePurpose::Other(Self::DOCUMENT_SIGNING.to_vec()),
        }
    }
}

pub(crate) fn base(serial: &Serial, validity: &Validity) -> Result<CertificateParams, ProfileError> {
    let moment = |ms: i64| {
        OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).map_err(|_| ProfileError::Validity)
    };
    if validity.not_after_ms() <= validity.not_before_ms() {
        return Err(ProfileError::Validity);
    }
    let mut params = CertificateParams::default();
    params.not_before = moment(validity.not_before_ms())?;
    params.not_after = moment(validity.not_after_ms())?;
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn authority(
    mut params: CertificateParams,
    common_name: &str,
    collective: CollectiveId,
    path_length: u8,
) -> Result<CertificateParams, ProfileError> {
    params.distinguished_name = subject(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri(&trust_domain(collective))?];
    Ok(params)
}

fn leaf(
    mut params: CertificateParams,
    common_name: &str,
    usage: Usage,
    names: Vec<SanType>,
) -> CertificateParams {
    params.distinguished_name = subject(common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage.purpose()];
    params.subject_alt_names = names;
    params
}

pub(crate) fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

pub(crate) fn uri(text: &str) -> Result<SanType, ProfileError> {
    text.try_into()
        .map(SanType::URI)
        .map_err(|_| ProfileError::Name(text.to_owned()))
}

fn host(name: &ServerName<'static>) -> Result<SanType, ProfileError> {
    let refused = || ProfileError::Name(name.to_str().into_owned());
    match name {
        ServerName::DnsName(dns) => dns
            .as_ref()
            .try_into()
            .map(SanType::DnsName)
            .map_err(|_| refused()),
        ServerName::IpAddress(address) => Ok(SanType::IpAddress((*address).into())),
        _ => Err(refused()),
    }
}
