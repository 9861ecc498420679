//! `muster trust sign|verify|stamp-time`: signatures of items that lie in files.
//!
//! A mod is a folder with `mod-manifest.json`; only the files that the manifest names are read. Its signature lies beside
//! it in `muster-signature.json` unless an option says otherwise.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;
use muster_client::Request;
use muster_code_trust::{
    CodeRoot, INTERNAL_ROOT, Item, ItemHash, ItemType, MOD_MANIFEST, MOD_SIGNATURE, MOST_BUNDLE,
    MOST_MANIFEST, ModManifest, Moment, SignatureBundle, SignatureProblem, SignatureStatus, SignerState,
};
use muster_daemon::file::{self, Access};
use muster_ids::{Digest, Name, Sha512, UserName};
use muster_pki::pem;
use muster_wire::admin::v1::{
    function::Function,
    signing::{ItemContent, SignItem, SignedItem, VerifiedItem, VerifyItem},
    trust::Item as WireItem,
};

use crate::{
    context::Context,
    escape::escaped,
    failure::{Failure, chain},
    table,
};

/// Where a signature is posted.
pub(crate) const SIGNATURES: &str = "/api/v1/trust/signatures";
/// Larger than any file of a mod should be.
const LARGEST_FILE: u64 = 256 * 1024 * 1024;
/// Larger than any list of roots.
const LARGEST_ROOTS: u64 = 1024 * 1024;

/// Which item it is: one of these.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Source {
    /// The folder of a mod, with its mod-manifest.json
    folder: Option<PathBuf>,
    /// The configuration of an external action, a JSON file
    #[arg(long, value_name = "FILE")]
    action: Option<PathBuf>,
    /// A data function of the library, in its current version
    #[arg(long, value_name = "NAME")]
    function: Option<Name>,
}

/// What is signed.
#[derive(Args)]
pub(crate) struct Sign {
    #[command(flatten)]
    source: Source,
    /// Whose signature it becomes; of others for administrators only [default: yours]
    #[arg(long, value_name = "NAME@DOMAIN")]
    user: Option<UserName>,
    /// Where the signature is written [default: muster-signature.json in the folder of a mod; nowhere for others]
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// What is verified.
#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    source: Source,
    /// The signature [default: muster-signature.json in the folder of a mod, else the newest that the control plane has]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Ask no control plane: accept what leads to these roots, in PEM, the collective's own first. Whether the signer's
    /// account still exists, and revocations and blocks, are then left out.
    #[arg(long, value_name = "FILE", conflicts_with = "function")]
    roots: Option<PathBuf>,
}

/// An item as it was read, with where its signature lies.
pub(crate) struct Read {
    pub(crate) content: ItemContent,
    beside: Option<PathBuf>,
    named: Option<(ItemType, ItemHash)>,
}

/// `muster trust sign`.
pub(super) async fn sign(context: &Context, arguments: Sign) -> Result<(), Failure> {
    let read = read(context, &arguments.source).await?;
    let save = arguments.save.or_else(|| read.beside.clone());
    let made = signed(context, read.content, arguments.user, save.as_deref()).await?;
    context.show(&made, || {
        let place = save.map_or_else(String::new, |path| {
            format!("\nThe signature is in {}.", path.display())
        });
        escaped_lines(&format!(
            "{} {}\nSigned by {} at {} with the certificate {}.{place}",
            made.item.kind, made.item.hash, made.user, made.time, made.serial
        ))
    })
}

/// Has an item signed, and writes the signature where it belongs.
pub(crate) async fn signed(
    context: &Context,
    item: ItemContent,
    user: Option<UserName>,
    save: Option<&Path>,
) -> Result<SignedItem, Failure> {
    let new = SignItem { item, user };
    let made: SignedItem = context.rest()?.call(Request::post(SIGNATURES).json(&new)).await?;
    if let Some(path) = save {
        let text = serde_json::to_string_pretty(&made.bundle)
            .map_err(|error| Failure::failed("file", error.to_string()))?;
        // In its place, never through a link that lies there.
        file::write(path, (text + "\n").as_bytes(), 0o644, "signature")
            .map_err(|error| Failure::failed("file", chain(&error)))?;
    }
    Ok(made)
}

/// `muster trust verify`.
pub(super) async fn verify(context: &Context, arguments: Verify) -> Result<(), Failure> {
    let read = read(context, &arguments.source).await?;
    let beside = arguments
        .signature
        .clone()
        .or_else(|| read.beside.clone().filter(|path| path.exists()));
    let bundle = beside.as_deref().map(bytes_of_bundle).transpose()?;
    let found = match &arguments.roots {
        Some(roots) => offline(context, &read, bundle.as_deref(), roots)?,
        None => verified(context, read.content, bundle.as_deref()).await?,
    };
    let colour = context.colour;
    context.show(&found, || {
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
                ("Outcome", shown(&found.outcome)),
                ("Reasons", shown(&why)),
            ],
            colour,
        )
    })?;
    if found.status == SignatureStatus::Valid.as_str() {
        Ok(())
    } else {
        Err(Failure::Said)
    }
}

/// What the control plane says of a signature.
pub(crate) async fn verified(
    context: &Context,
    item: ItemContent,
    bundle: Option<&[u8]>,
) -> Result<VerifiedItem, Failure> {
    // What is no JSON is a signature of somebody else's form: the control plane says what it counts as.
    let bundle = bundle.map(|bytes| {
        serde_json::from_slice(bytes).unwrap_or_else(|_| serde_json::Value::String("not JSON".to_owned()))
    });
    let asked = VerifyItem { item, bundle };
    let path = format!("{SIGNATURES}/verify");
    Ok(context.rest()?.call(Request::post(path).json(&asked)).await?)
}

/// What the files alone say of a signature.
fn offline(
    context: &Context,
    read: &Read,
    bundle: Option<&[u8]>,
    roots: &Path,
) -> Result<VerifiedItem, Failure> {
    let (r#type, hash) = read
        .named
        .as_ref()
        .ok_or_else(|| Failure::usage("a data function is verified by the control plane"))?;
    let pem = file::read(roots, Access::Any, LARGEST_ROOTS).map_err(|error| Failure::usage(chain(&error)))?;
    let certificates =
        pem::certificates(&pem).map_err(|error| Failure::usage(format!("{}: {error}", roots.display())))?;
    let roots: Vec<CodeRoot> = (0..)
        .zip(certificates)
        .map(|(place, certificate)| {
            let label = if place == 0 {
                INTERNAL_ROOT.to_owned()
            } else {
                Digest::of(&certificate).to_string()
            };
            let label = label.parse().map_err(|_| Failure::usage("a root has no name"))?;
            Ok(CodeRoot { label, certificate })
        })
        .collect::<Result<_, Failure>>()?;
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
        outcome: None,
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

fn bytes_of_bundle(path: &Path) -> Result<Vec<u8>, Failure> {
    let limit = u64::try_from(MOST_BUNDLE).unwrap_or(u64::MAX);
    file::read(path, Access::Any, limit).map_err(|error| Failure::usage(chain(&error)))
}

async fn read(context: &Context, source: &Source) -> Result<Read, Failure> {
    match source {
        Source {
            folder: Some(folder), ..
        } => read_mod(folder),
        Source {
            action: Some(path), ..
        } => read_action(path),
        Source {
            function: Some(name), ..
        } => {
            let request = Request::get("/api/v1/functions").segment(name.as_str());
            let function: Function = context.rest()?.call(request).await?;
            Ok(Read {
                content: ItemContent {
                    kind: ItemType::DataFunction.to_string(),
                    manifest: None,
                    files: BTreeMap::new(),
                    hash: Some(function.digest.to_string()),
                },
                beside: None,
                named: None,
            })
        }
        _ => Err(Failure::usage("name the folder of a mod, --action or --function")),
    }
}

/// The mod in `folder`: its manifest and the files that it names.
pub(crate) fn read_mod(folder: &Path) -> Result<Read, Failure> {
    let manifest = bytes(
        &folder.join(MOD_MANIFEST),
        u64::try_from(MOST_MANIFEST).unwrap_or(u64::MAX),
    )?;
    let wrong =
        |error: &dyn std::error::Error| Failure::usage(format!("{}: {}", folder.display(), chain(error)));
    let declared = ModManifest::read(&manifest)
        .map_err(|error| wrong(&error))?
        .declared();
    let mut files = BTreeMap::new();
    for path in declared {
        let content = bytes(&folder.join(path.as_str()), LARGEST_FILE)?;
        files.insert(path.to_string(), Sha512::of(&content));
    }
    let item = Item::of_mod(manifest.clone(), files.clone()).map_err(|error| wrong(&error))?;
    of_item(&item, manifest, &files, Some(folder.join(MOD_SIGNATURE)))
}

fn read_action(path: &Path) -> Result<Read, Failure> {
    let manifest = bytes(path, u64::try_from(MOST_MANIFEST).unwrap_or(u64::MAX))?;
    let item = Item::new::<&str>(muster_code_trust::ItemKind::ExternalAction, manifest.clone(), [])
        .map_err(|error| Failure::usage(format!("{}: {}", path.display(), chain(&error))))?;
    of_item(&item, manifest, &BTreeMap::new(), None)
}

fn of_item(
    item: &Item,
    manifest: Vec<u8>,
    files: &BTreeMap<String, Sha512>,
    beside: Option<PathBuf>,
) -> Result<Read, Failure> {
    let manifest =
        String::from_utf8(manifest).map_err(|_| Failure::usage("the manifest is not UTF-8 text"))?;
    let r#type = item
        .kind()
        .item_type()
        .ok_or_else(|| Failure::usage("nothing of this kind is signed"))?;
    Ok(Read {
        content: ItemContent {
            kind: r#type.to_string(),
            manifest: Some(manifest),
            files: files
                .iter()
                .map(|(path, digest)| (path.clone(), digest.to_string()))
                .collect(),
            hash: Some(item.hash().to_string()),
        },
        beside,
        named: Some((r#type, item.hash())),
    })
}

impl Read {
    /// Where the signature of a mod lies.
    pub(crate) fn beside(&self) -> Option<&Path> {
        self.beside.as_deref()
    }

    /// The signature that lies beside the mod, if one does.
    pub(crate) fn bundle(&self) -> Result<Option<Vec<u8>>, Failure> {
        self.beside
            .as_deref()
            .filter(|path| path.exists())
            .map(bytes_of_bundle)
            .transpose()
    }
}

fn bytes(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    file::read(path, Access::Any, limit).map_err(|error| Failure::usage(chain(&error)))
}

fn escaped_lines(text: &str) -> String {
    text.lines().map(escaped).collect::<Vec<_>>().join("\n")
}
