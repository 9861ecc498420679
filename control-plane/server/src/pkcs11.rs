//! The issuing key in a PKCS#11 token: a hardware security module, or a program that stands in for one.
//!
//! Invariant: the key never leaves the token, and signs certificates only. Calls into the module block, so they run
//! apart from the asynchronous threads, one at a time.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
};
use muster_daemon::secret::SecretFile;
use muster_ids::Digest;
use muster_pki::{KeyUse, PublicKey, Purpose, SignError, SignFuture, Signer, SoftwareSigner};
use secrecy::SecretString;

/// The DER of the object identifier of P-256, as tokens name the curve.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// What comes before the point in the DER of a public key on P-256.
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Where the private number is in the DER that keys are stored as.
const SCALAR: std::ops::Range<usize> = 36..68;
/// Bytes of each half of a signature.
const HALF: usize = 32;

/// Which key in which token.
#[derive(Debug, Clone)]
pub struct TokenKey {
    /// The module, a shared library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The file with its PIN.
    pub pin: SecretFile,
    /// The key's label.
    pub label: String,
}

/// A key on P-256 in a token.
pub struct Pkcs11Signer {
    device: Arc<Mutex<Device>>,
    public: PublicKey,
}

/// The token, with the session that signs.
struct Device {
    context: Pkcs11,
    slot: Slot,
    pin: SecretString,
    label: String,
    open: Option<(Session, ObjectHandle)>,
}

impl Pkcs11Signer {
    /// The key that `key` names.
    pub fn open(key: &TokenKey) -> anyhow::Result<Self> {
        let mut device = Device::find(key)?;
        let session = device.session(false)?;
        let private = device
            .object(&session, ObjectClass::PRIVATE_KEY)?
            .with_context(|| missing(key))?;
        let public = device
            .object(&session, ObjectClass::PUBLIC_KEY)?
            .with_context(|| missing(key))?;
        let attributes = session.get_attributes(public, &[AttributeType::EcPoint])?;
        let point = attributes.into_iter().find_map(|attribute| match attribute {
            Attribute::EcPoint(point) => Some(point),
            _ => None,
        });
        let point = point.context("the token does not say the public half of the key")?;
        let public = public_key(&point).with_context(|| {
            format!(
                "the key \"{}\" in the token \"{}\" cannot be used",
                key.label, key.token
            )
        })?;
        device.open = Some((session, private));
        Ok(Self {
            device: Arc::new(Mutex::new(device)),
            public,
        })
    }

    /// Puts `software` into the token under the label of `key`: it can sign there and cannot be read again.
    pub fn import(key: &TokenKey, software: &SoftwareSigner) -> anyhow::Result<()> {
        let device = Device::find(key)?;
        let session = device.session(true)?;
        anyhow::ensure!(
            device.object(&session, ObjectClass::PRIVATE_KEY)?.is_none(),
            "the token \"{}\" holds a key \"{}\" already; nothing was changed",
            key.token,
            key.label
        );
        let label = || Attribute::Label(key.label.clone().into_bytes());
        let pkcs8 = software.to_pkcs8()?;
        let scalar = pkcs8.get(SCALAR).context("the key is too short")?;
        let point = &software.public_key().spki()[SPKI_HEAD.len()..];
        let length = u8::try_from(point.len())?;
        session.create_object(&[
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::Token(true),
            Attribute::Verify(true),
            label(),
            Attribute::EcParams(P256.to_vec()),
            // An OCTET STRING, as the standard has it.
            Attribute::EcPoint([&[0x04, length], point].concat()),
        ])?;
        session.create_object(&[
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            label(),
            Attribute::EcParams(P256.to_vec()),
            Attribute::Value(scalar.to_vec()),
        ])?;
        Ok(())
    }
}

impl Signer for Pkcs11Signer {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign<'a>(&'a self, purpose: Purpose, message: &'a [u8]) -> SignFuture<'a> {
        let (device, digest) = (self.device.clone(), Digest::of(message));
        Box::pin(async move {
            if !KeyUse::Authority.allows(purpose) {
                return Err(SignError::Purpose { purpose });
            }
            let failed = |source: Box<dyn std::error::Error + Send + Sync>| SignError::Failed {
                purpose,
                source: Some(source),
            };
            let signed = tokio::task::spawn_blocking(move || {
                device
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .sign(&digest)
            });
            let raw = signed
                .await
                .map_err(|error| failed(error.into()))?
                .map_err(|error| failed(error.into()))?;
            asn1(&raw).ok_or(SignError::Failed {
                purpose,
                source: None,
            })
        })
    }
}

impl std::fmt::Debug for Pkcs11Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pkcs11Signer")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

impl Device {
    fn find(key: &TokenKey) -> anyhow::Result<Self> {
        let module = key.module.display();
        let context = Pkcs11::new(&key.module)
            .with_context(|| format!("the PKCS#11 module {module} cannot be loaded"))?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("the PKCS#11 module {module} does not start"));
            }
        }
        let slots = context.get_slots_with_token()?;
        let named = |slot: &&Slot| {
            context
                .get_token_info(**slot)
                .is_ok_and(|token| token.label() == key.token)
        };
        let slot = slots.iter().find(named).copied().with_context(|| {
            format!(
                "the PKCS#11 module {module} shows no token \"{}\"; check [authority] pkcs11_token",
                key.token
            )
        })?;
        Ok(Self {
            context,
            slot,
            pin: key.pin.read_text()?,
            label: key.label.clone(),
            open: None,
        })
    }

    /// A session that has logged in.
    fn session(&self, writes: bool) -> Result<Session, Error> {
        let session = if writes {
            self.context.open_rw_session(self.slot)?
        } else {
            self.context.open_ro_session(self.slot)?
        };
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(error),
        }
    }

    fn object(&self, session: &Session, class: ObjectClass) -> Result<Option<ObjectHandle>, Error> {
        let label = Attribute::Label(self.label.clone().into_bytes());
        let found = session.find_objects(&[Attribute::Class(class), label])?;
        Ok(found.first().copied())
    }

    /// The two halves of a signature over `digest`. A session that the token has ended is opened once more.
    fn sign(&mut self, digest: &Digest) -> Result<Vec<u8>, Error> {
        if let Some((session, key)) = &self.open
            && let Ok(signature) = session.sign(&Mechanism::Ecdsa, *key, digest.as_bytes())
        {
            return Ok(signature);
        }
        self.open = None;
        let session = self.session(false)?;
        let key = self
            .object(&session, ObjectClass::PRIVATE_KEY)?
            .ok_or(Error::InvalidValue)?;
        let signature = session.sign(&Mechanism::Ecdsa, key, digest.as_bytes())?;
        self.open = Some((session, key));
        Ok(signature)
    }
}

fn missing(key: &TokenKey) -> String {
    format!(
        "the token \"{}\" holds no key pair \"{}\"; put it there with muster-server import-issuing-key",
        key.token, key.label
    )
}

/// The key of a point as tokens say it: an OCTET STRING, or, of some, the point itself.
fn public_key(point: &[u8]) -> anyhow::Result<PublicKey> {
    let point = match point {
        [0x04, length, point @ ..] if usize::from(*length) == point.len() && point.len() == 65 => point,
        point => point,
    };
    Ok(PublicKey::from_spki(&[&SPKI_HEAD[..], point].concat())?)
}

/// A signature as certificates have it: a sequence of two numbers.
fn asn1(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.len() != 2 * HALF {
        return None;
    }
    let mut content = Vec::new();
    for half in raw.chunks(HALF) {
        let start = half.iter().position(|byte| *byte != 0).unwrap_or(HALF - 1);
        let number = &half[start..];
        let zero = usize::from(number.first().is_some_and(|first| first & 0x80 != 0));
        content.extend([0x02, u8::try_from(number.len() + zero).ok()?]);
        content.extend(std::iter::repeat_n(0, zero));
        content.extend(number);
    }
    let mut signature = vec![0x30, u8::try_from(content.len()).ok()?];
    signature.extend(content);
    Some(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_two_halves_becomes_two_numbers() {
        let mut raw = [0; 64];
        (raw[0], raw[31], raw[63]) = (0x80, 1, 5);
        let signature = asn1(&raw).expect("two halves");
        assert_eq!(signature[..5], [0x30, 38, 0x02, 33, 0]);
        assert_eq!(signature[signature.len() - 3..], [0x02, 1, 5]);
        assert_eq!(asn1(&raw[1..]), None);
    }
}
