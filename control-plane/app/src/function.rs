//! Data functions of the library.
//!
//! Invariant: a function that the caller may not read in the library is one that is not there.

use std::collections::BTreeSet;

use muster_code_trust::{CodeType, FunctionContent, ItemHash, Language, Parameter};
use muster_ids::{Digest, FunctionId, Name, PackageList};
use muster_model::{
    audit::Event,
    library::{self, Right},
    permission::{Caller, Operation, UserCaller},
};
use muster_store::{Draft, Function};
use muster_wire::{
    admin::v1::{Page, PageQuery, function::Function as WireFunction},
    function::{FunctionDefinition, Parameter as WireParameter},
};
use serde_json::json;

use crate::{
    App, Error,
    library::{Held, person},
    page,
    text::rfc3339,
    trust::may_read_stamped,
};

mod policy;

/// The largest script, in bytes; it travels in one frame to the jail.
const MAX_SCRIPT: usize = 8 * 1024 * 1024;
/// The most inputs, outputs or packages.
const MOST: usize = 256;

/// A function with the version that is current.
pub(crate) struct Current {
    pub(crate) function: Function,
    pub(crate) definition: FunctionDefinition,
}

impl App {
    /// The library's functions, by name.
    pub async fn list_functions(
        &self,
        caller: &Caller,
        query: &PageQuery,
    ) -> Result<Page<WireFunction>, Error> {
        self.authorize(caller, Operation::Use).await?;
        let user = person(caller)?;
        let limit = page::limit(query)?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
        let state = self.trust_state().await?;
        // The library may hold far more than they can read.
        let tree = self.store().library_tree().await?;
        let mut after = page::after::<Name>(query)?;
        let mut functions = Vec::new();
        loop {
            let rows = self.store().function_list(after.as_ref(), limit + 1).await?;
            let last = rows.len() < wanted;
            after = rows.last().map(|row| row.name.clone());
            for row in rows {
                if functions.len() < wanted && tree.right(user, row.id.into()).is_some() {
                    let hash = item_hash(&row.current)?;
                    let trusted = state
                        .stamps_of(CodeType::DataFunction, &hash)
                        .any(|stamp| may_read_stamped(&tree, user, stamp));
                    functions.push(self.function_to_wire(self.current(row).await?, trusted).await?);
                }
            }
            if last || functions.len() >= wanted {
                break;
            }
        }
        Ok(page::of(
            functions,
            limit,
            |function| function.definition.name.clone(),
            |function| function,
        ))
    }

    /// One function, by name or identifier.
    pub async fn show_function(&self, caller: &Caller, reference: &str) -> Result<WireFunction, Error> {
        self.authorize(caller, Operation::Use).await?;
        let current = self.function_for(caller, reference).await?;
        let trusted = self.is_trusted_for(person(caller)?, &current).await?;
        self.function_to_wire(current, trusted).await
    }

    /// Saves a function: a new one in a folder of the library, or a new version of the one of this name, which stays where
    /// it is. Saving never trusts.
    pub async fn register_function(
        &self,
        caller: &Caller,
        definition: FunctionDefinition,
        folder: Option<&str>,
    ) -> Result<WireFunction, Error> {
        let authorized = self.authorize(caller, Operation::RegisterFunctions).await?;
        let user = person(caller)?;
        let digest = check(&definition)?;
        let now = self.now();
        let text = serde_json::to_string(&definition).map_err(Error::bug)?;
        let existing = self.store().function_by_name(&definition.name).await?;
        let folder = match &existing {
            Some(_) => None,
            None => Some(self.library_folder(caller, folder.unwrap_or("/")).await?),
        };
        let mut tx = self.store().begin(&authorized).await?;
        let function = if let Some(function) = existing {
            let (chain, user);
            (tx, chain, user) = self.library_asked(tx, &authorized, function.id.into()).await?;
            if library::right(&user, &chain) != Some(Right::Write) {
                drop(tx);
                let tried = ("register another version of the function", &definition.name);
                self.record_denial(caller, tried).await;
                return Err(Error::denied(format!(
                    "a function named \"{}\" exists, and user {} may not change it; ask an administrator for the right to write it in the library, or choose another name",
                    definition.name, user.name
                )));
            }
            let function = Function {
                current: digest,
                updated_at: now,
                updated_by: user.id,
                version: function.version + 1,
                ..function
            };
            tx.function_new_version(&function, &text).await?;
            function
        } else {
            let folder = folder.ok_or_else(|| Error::bug("a new function without a folder"))?;
            Held { tx, .. } = self.library_write_folder(tx, &authorized, folder).await?;
            let function = Function {
                id: self.random().id(now, FunctionId::new),
                name: definition.name.clone(),
                current: digest,
                created_at: now,
                created_by: user.id,
                updated_at: now,
                updated_by: user.id,
                version: 1,
            };
            tx.function_insert(&function, &text, folder).await?;
            function
        };
        let detail = json!({ "function": function.id.to_string(), "digest": digest.to_string() });
        tx.commit(
            Draft::new(Event::FunctionRegistered, function.name.to_string(), detail),
            now,
        )
        .await?;
        let current = self.current(function).await?;
        let trusted = self.is_trusted_for(user, &current).await?;
        self.function_to_wire(current, trusted).await
    }

    /// Whether a stamp that the user can read counts for the current version.
    async fn is_trusted_for(&self, user: &UserCaller, current: &Current) -> Result<bool, Error> {
        let state = self.trust_state().await?;
        let hash = item_hash(&current.function.current)?;
        let stamps = self
            .readable_stamps(user, &state, (CodeType::DataFunction, &hash), None)
            .await?;
        Ok(!stamps.is_empty())
    }

    /// The function that a caller means, who may read it.
    pub(crate) async fn function_for(&self, caller: &Caller, reference: &str) -> Result<Current, Error> {
        let current = self.function_of(reference).await?;
        self.require_readable(caller, current.function.id, || no_such_function(reference))
            .await?;
        Ok(current)
    }

    pub(crate) async fn function_of(&self, reference: &str) -> Result<Current, Error> {
        let found = match (reference.parse::<FunctionId>(), reference.parse::<Name>()) {
            (Ok(id), _) => self.store().function(id).await?,
            (_, Ok(name)) => self.store().function_by_name(&name).await?,
            _ => None,
        };
        let function = found.ok_or_else(|| no_such_function(reference))?;
        self.current(function).await
    }

    async fn function_to_wire(&self, current: Current, trusted: bool) -> Result<WireFunction, Error> {
        let Current {
            function, definition, ..
        } = current;
        let updated_by = self.name_of(Some(function.updated_by)).await?;
        Ok(WireFunction {
            id: function.id,
            digest: function.current,
            definition,
            trusted,
            updated_by,
            updated: rfc3339(function.updated_at),
        })
    }

    async fn current(&self, function: Function) -> Result<Current, Error> {
        let version = self
            .store()
            .function_version(function.id, &function.current)
            .await?;
        let version = version.ok_or_else(|| Error::bug("a function without its current version"))?;
        let definition = serde_json::from_str(&version.definition).map_err(Error::bug)?;
        Ok(Current { function, definition })
    }
}

pub(crate) fn no_such_function(reference: &str) -> Error {
    let shown: String = reference
        .chars()
        .take(128)
        .flat_map(char::escape_default)
        .collect();
    Error::not_found("function", shown, "muster function list shows all of them")
}

/// The digest of a definition that is whole and sensible.
pub(crate) fn check(definition: &FunctionDefinition) -> Result<Digest, Error> {
    let invalid = |detail: String| Error::Invalid {
        kind: "invalid-function",
        detail,
    };
    let name = &definition.name;
    if name.as_str().parse::<FunctionId>().is_ok() {
        return Err(invalid(format!(
            "\"{name}\" has the form of an identifier, and could be taken for another function; choose another name"
        )));
    }
    let language: Language = definition.language.parse().map_err(|_| {
        invalid(format!(
            "the language of function \"{name}\" must be r, python or terr"
        ))
    })?;
    if definition.script.trim().is_empty() || definition.script.len() > MAX_SCRIPT {
        return Err(invalid(format!(
            "the script of function \"{name}\" must have 1 byte to 8 MiB"
        )));
    }
    if definition.script.contains('\0') {
        return Err(invalid(format!(
            "the script of function \"{name}\" must not contain a zero byte"
        )));
    }
    if definition.inputs.len() > MOST || definition.outputs.len() > MOST || definition.packages.len() > MOST {
        return Err(invalid(format!(
            "function \"{name}\" has more than {MOST} inputs, outputs or packages"
        )));
    }
    let mut names = BTreeSet::new();
    for parameter in definition.inputs.iter().chain(&definition.outputs) {
        if !is_variable(&parameter.name) {
            return Err(invalid(format!(
                "\"{}\" is no name of an input or output: use letters, digits, _ and ., beginning with a letter",
                parameter
                    .name
                    .chars()
                    .take(64)
                    .flat_map(char::escape_default)
                    .collect::<String>()
            )));
        }
    }
    for (list, what) in [(&definition.inputs, "input"), (&definition.outputs, "output")] {
        names.clear();
        for parameter in list {
            if !names.insert(parameter.name.as_str()) {
                return Err(invalid(format!(
                    "function \"{name}\" has two {what}s named {}",
                    parameter.name
                )));
            }
        }
    }
    let lines = definition.packages.iter().map(String::as_str);
    PackageList::of_lines(language.packages(), lines)
        .map_err(|error| invalid(format!("function \"{name}\": {error}")))?;
    if definition.description.chars().count() > 4000 {
        return Err(invalid(format!(
            "the description of function \"{name}\" has at most 4000 characters"
        )));
    }
    let limits = &definition.limits;
    if limits.wall_seconds == Some(0) || limits.memory_mib == Some(0) {
        return Err(invalid(format!(
            "the limits of function \"{name}\" must be above 0"
        )));
    }
    let inputs = parameters(&definition.inputs).map_err(invalid)?;
    let outputs = parameters(&definition.outputs).map_err(invalid)?;
    let packages = definition.packages.iter().cloned().collect();
    let content = FunctionContent {
        language,
        script: definition.script.as_bytes(),
        inputs: &inputs,
        outputs: &outputs,
        packages: &packages,
    };
    Ok(content.digest())
}

/// The hash under which stamps name a content.
pub(crate) fn item_hash(digest: &Digest) -> Result<ItemHash, Error> {
    digest.to_string().parse().map_err(Error::bug)
}

fn parameters(list: &[WireParameter]) -> Result<Vec<Parameter>, String> {
    list.iter()
        .map(|parameter| {
            let name = &parameter.name;
            Ok(Parameter {
                name: name.clone(),
                kind: parameter.kind.parse().map_err(|_| format!("the kind of {name} must be value, column or table"))?,
                optional: parameter.optional,
                types: parameter
                    .types
                    .iter()
                    .map(|text| text.parse().map_err(|_| format!("{name} allows a type that does not exist; see docs/reference/data-function.md")))
                    .collect::<Result<_, String>>()?,
            })
        })
        .collect()
}

fn is_variable(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> FunctionDefinition {
        serde_json::from_value(json!({
            "name": "double", "language": "terr", "script": "y <- 2 * x",
            "inputs": [{ "name": "x", "kind": "value", "types": ["Real"] }],
            "outputs": [{ "name": "y", "kind": "value" }]
        }))
        .expect("definition")
    }

    #[test]
    fn one_changed_byte_is_another_content() {
        let digest = check(&definition()).expect("whole");
        let changed = FunctionDefinition {
            script: "y <- 3 * x".into(),
            ..definition()
        };
        assert_ne!(check(&changed).expect("whole"), digest);
        let described = FunctionDefinition {
            description: "doubles".into(),
            ..definition()
        };
        assert_eq!(check(&described).expect("whole"), digest);
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        let cases = [
            (
                FunctionDefinition {
                    name: FunctionId::new(1, [1; 10]).to_string().parse().expect("name"),
                    ..definition()
                },
                "form of an identifier",
            ),
            (
                FunctionDefinition {
                    language: "sas".into(),
                    ..definition()
                },
                "language",
            ),
            (
                FunctionDefinition {
                    script: " ".into(),
                    ..definition()
                },
                "script",
            ),
            (
                FunctionDefinition {
                    inputs: [definition().inputs, definition().inputs].concat(),
                    ..definition()
                },
                "two inputs",
            ),
            (
                FunctionDefinition {
                    packages: vec!["jsonlite".into()],
                    ..definition()
                },
                "line 1 of the list of packages cannot be used: jsonlite is not pinned",
            ),
        ];
        for (case, word) in cases {
            let error = check(&case).expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
