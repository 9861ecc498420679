//! The manifest of a mod, as the original documents it, and what of it decisions are shown by.
//!
//! Invariant: what a reviewer sees of a mod (who it says it is, which files are its, what it may do, which addresses it
//! loads from) is read here once, strictly. Fields that are about looks and data are left to the bytes, which the
//! digest covers.

use std::collections::BTreeSet;

use muster_ids::is_deceptive;
use serde_json::{Map, Value};

use super::{ItemError, ItemPath, MOD_MANIFEST, MOD_SIGNATURE, MOST_FILES, json, path::folded};
use crate::{SignedKind, words::words};

/// The fields of a manifest that are read.
const FIELDS: &[&str] = &[
    "type",
    "apiVersion",
    "version",
    "name",
    "id",
    "icon",
    "files",
    "scripts",
    "capabilities",
    "externalResources",
];
/// Those of a script in it.
const SCRIPT_FIELDS: &[&str] = &["id", "name", "file", "entryPoint"];
/// The longest identifier, name or version, bytes.
const MOST_LINE: usize = 256;
/// The longest address, bytes.
const MOST_ADDRESS: usize = 2048;
/// The most scripts of an action mod, and the most addresses of a visualization.
const MOST_PARTS: usize = 256;

words! {
    /// What an action mod may do outside of the analysis.
    pub Capability ("capability of a mod") {
        /// Read the library.
        LibraryRead = "LibraryRead",
        /// Write to the library.
        LibraryWrite = "LibraryWrite",
    }
}

/// What a mod says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModManifest {
    /// Visualization or action.
    pub kind: SignedKind,
    /// Its identifier, the same in every version.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version, as its developer counts.
    pub version: String,
    /// The version of the interface that it was made for.
    pub api_version: String,
    /// Its picture.
    pub icon: ItemPath,
    /// The files of a visualization.
    pub files: BTreeSet<ItemPath>,
    /// The scripts of an action mod.
    pub scripts: Vec<ModScript>,
    /// What an action mod may do; all or nothing.
    pub capabilities: BTreeSet<Capability>,
    /// Addresses that a visualization loads from.
    pub external_resources: Vec<String>,
}

/// One script of an action mod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModScript {
    /// Its identifier within the mod.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The file that it is in.
    pub file: ItemPath,
    /// The function that is called.
    pub entry_point: String,
}

impl ModManifest {
    /// Reads the bytes of a `mod-manifest.json`. Where older visualizations say no type, there are no scripts.
    pub fn read(bytes: &[u8]) -> Result<Self, ItemError> {
        let object = json::object(bytes)?;
        let fields = Fields::new(&object, FIELDS)?;
        let kind = match fields.0.get("type").map(Value::as_str) {
            Some(Some("visualization")) => SignedKind::VisualizationMod,
            None if !fields.0.contains_key("scripts") => SignedKind::VisualizationMod,
            Some(Some("action")) => SignedKind::ActionMod,
            _ => {
                return Err(refused(
                    "its field \"type\" must be \"visualization\" or \"action\"",
                ));
            }
        };
        let is_action = kind == SignedKind::ActionMod;
        let read = Self {
            kind,
            id: fields.line("id")?,
            name: fields.line("name")?,
            version: fields.line("version")?,
            api_version: fields.line("apiVersion")?,
            icon: fields.path("icon")?,
            files: fields.paths("files", !is_action)?,
            scripts: fields.scripts(is_action)?,
            capabilities: fields.capabilities(is_action)?,
            external_resources: fields.addresses(is_action)?,
        };
        if read
            .declared()
            .iter()
            .any(|path| [MOD_MANIFEST, MOD_SIGNATURE].contains(&path.key().as_str()))
        {
            return Err(refused("it names itself or its signature among its files"));
        }
        Ok(read)
    }

    /// The files that belong to the mod, each once, in the order of their paths.
    pub fn declared(&self) -> Vec<ItemPath> {
        let scripts = self.scripts.iter().map(|script| &script.file);
        let all: BTreeSet<&ItemPath> = self.files.iter().chain(scripts).chain([&self.icon]).collect();
        all.into_iter().cloned().collect()
    }
}

/// The fields of one object.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// The fields of `object`, if none poses as one that is read: some readers do not tell upper from lower case.
    fn new(object: &'a Map<String, Value>, read: &[&str]) -> Result<Self, ItemError> {
        for name in object.keys() {
            let key = folded(name);
            if !read.contains(&name.as_str()) && read.iter().any(|read| folded(read) == key) {
                return Err(ItemError::Manifest(format!(
                    "its field \"{}\" differs from one that is read in nothing but upper and lower case",
                    json::shown(name)
                )));
            }
        }
        Ok(Self(object))
    }

    /// A text of one line.
    fn line(&self, name: &str) -> Result<String, ItemError> {
        let text = self.0.get(name).and_then(Value::as_str);
        let fits = |text: &&str| {
            !text.trim().is_empty() && text.len() <= MOST_LINE && !text.chars().any(is_deceptive)
        };
        text.filter(fits).map(str::to_owned).ok_or_else(|| {
            ItemError::Manifest(format!(
                "its field \"{name}\" must be a text of 1 to {MOST_LINE} bytes without characters that mislead"
            ))
        })
    }

    fn path(&self, name: &str) -> Result<ItemPath, ItemError> {
        match self.0.get(name) {
            Some(Value::String(path)) => Ok(path.parse()?),
            _ => Err(ItemError::Manifest(format!(
                "its field \"{name}\" must be a path"
            ))),
        }
    }

    fn list(&self, name: &str, required: bool, most: usize) -> Result<&[Value], ItemError> {
        match self.0.get(name) {
            Some(Value::Array(list)) if list.len() <= most => Ok(list),
            None if !required => Ok(&[]),
            _ => Err(ItemError::Manifest(format!(
                "its field \"{name}\" must be a list of at most {most}"
            ))),
        }
    }

    fn paths(&self, name: &str, required: bool) -> Result<BTreeSet<ItemPath>, ItemError> {
        let mut paths = BTreeSet::new();
        for value in self.list(name, required, MOST_FILES)? {
            let text = value.as_str().ok_or_else(|| refused("a file of it is no path"))?;
            let path: ItemPath = text.parse()?;
            if !paths.insert(path.clone()) {
                return Err(ItemError::Alike(path.clone(), path));
            }
        }
        Ok(paths)
    }

    fn scripts(&self, is_action: bool) -> Result<Vec<ModScript>, ItemError> {
        let list = self.list("scripts", is_action, MOST_PARTS)?;
        if is_action == list.is_empty() {
            return Err(refused(
                "action mods have at least one script, and visualizations none",
            ));
        }
        let mut ids = BTreeSet::new();
        let script = |value: &Value| {
            let Value::Object(script) = value else {
                return Err(refused("a script of it is no object"));
            };
            let script = Fields::new(script, SCRIPT_FIELDS)?;
            Ok(ModScript {
                id: script.line("id")?,
                name: script.line("name")?,
                file: script.path("file")?,
                entry_point: script.line("entryPoint")?,
            })
        };
        let scripts: Vec<ModScript> = list.iter().map(script).collect::<Result<_, _>>()?;
        if !scripts.iter().all(|script| ids.insert(script.id.clone())) {
            return Err(refused("two scripts have one id"));
        }
        Ok(scripts)
    }

    /// One that nobody here knows could do anything, so it is refused and not overlooked.
    fn capabilities(&self, is_action: bool) -> Result<BTreeSet<Capability>, ItemError> {
        let list = self.list("capabilities", false, MOST_PARTS)?;
        if !is_action && !list.is_empty() {
            return Err(refused("only action mods have capabilities"));
        }
        let capability = |value: &Value| {
            let word = value.as_str().unwrap_or_default().parse::<Capability>();
            word.map_err(|unknown| ItemError::Manifest(unknown.to_string()))
        };
        list.iter().map(capability).collect()
    }

    fn addresses(&self, is_action: bool) -> Result<Vec<String>, ItemError> {
        let list = self.list("externalResources", false, MOST_PARTS)?;
        if is_action && !list.is_empty() {
            return Err(refused("only visualizations load from addresses"));
        }
        let address = |value: &Value| {
            let fits = |text: &&str| {
                text.len() <= MOST_ADDRESS
                    && text.bytes().all(|byte| byte.is_ascii_graphic())
                    && ["https://", "http://"]
                        .iter()
                        .any(|scheme| text.strip_prefix(scheme).is_some_and(names_host))
            };
            let text = value.as_str().filter(fits).map(str::to_owned);
            text.ok_or_else(|| refused("an external resource is not an address http://… or https://…"))
        };
        list.iter().map(address).collect()
    }
}

/// Whether an address after its `//` begins with a host and nothing that poses as one.
fn names_host(rest: &str) -> bool {
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    !host.is_empty() && !host.starts_with(':') && !host.contains(['@', '\\'])
}

fn refused(why: &str) -> ItemError {
    ItemError::Manifest(why.to_owned())
}
