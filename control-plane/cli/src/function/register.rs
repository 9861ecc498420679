//! `muster function register`: from a file or from options to a definition.

use std::path::{Path, PathBuf};

use clap::Args;
use muster_client::Request;
use muster_code_trust::{FunctionContent, Language, Parameter as Declared, UnknownWord};
use muster_daemon::file::{self, Access};
use muster_ids::{Digest, Name, PackageList};
use muster_wire::{
    admin::v1::function::Function,
    function::{FunctionDefinition, Parameter},
};
use serde_json::{Map, Value, json};

use super::PATH;
use crate::{
    context::Context,
    failure::{Failure, chain},
};

/// Scripts are texts that people read.
const LONGEST: u64 = 16 * 1024 * 1024;
/// The field of a definition that names the file of its packages.
const PACKAGES_FILE: &str = "packages_file";

/// Put a function, or a new version of it, into the library
#[derive(Args)]
#[command(after_help = "Examples:\n  muster function register forecast.toml\n  \
                  muster function register --name mean --language r --script mean.R --input x:column:Real --result y:value:Real\n\n\
                  A file holds name, language, script (or script_file, relative to the file), inputs, outputs, packages (or \
                  packages_file), description and limits; options replace what it says.\n\n\
                  Packages are locked: for Python a requirements file as pip-compile --generate-hashes --strip-extras \
                  writes it, for R and TERR lines of name, version and SHA-256.")]
pub(crate) struct Register {
    /// The definition, .toml or .json
    #[arg(required_unless_present_all = ["name", "language", "script"])]
    file: Option<PathBuf>,
    /// Its name in the library
    #[arg(long)]
    name: Option<Name>,
    /// The language of the script
    #[arg(long, value_parser = ["r", "python", "terr"])]
    language: Option<String>,
    /// File with the script
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// What a caller gives: the variable, value, column or table, and the allowed types; repeat for more.
    /// A question mark after the name makes it optional
    #[arg(long = "input", value_name = "NAME[?]:KIND[:TYPE,…]", value_parser = parameter)]
    inputs: Vec<Parameter>,
    /// What a caller gets; repeat for more
    #[arg(long = "result", value_name = "NAME:KIND[:TYPE,…]", value_parser = parameter)]
    results: Vec<Parameter>,
    /// File with the locked list of packages that the function needs
    #[arg(long, value_name = "FILE")]
    packages: Option<PathBuf>,
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// Folder of the library for a new function; one that exists stays where it is [default: /]
    #[arg(long, value_name = "PATH")]
    folder: Option<String>,
}

/// Registers a function.
pub(super) async fn run(context: &Context, arguments: Register) -> Result<(), Failure> {
    let folder = arguments.folder.clone();
    let definition = definition(arguments)?;
    let mut request = Request::post(PATH).json(&definition);
    if let Some(folder) = &folder {
        request = request.query("folder", folder);
    }
    let function: Function = context.rest()?.call(request).await?;
    context.show(&function, || {
        let trust = if function.trusted {
            "This version is trusted."
        } else {
            "This version is not trusted; a Script Author trusts it with muster function trust."
        };
        format!(
            "Registered \"{}\" as {}. {trust}",
            function.definition.name, function.digest
        )
    })
}

/// The digest of the function that a file defines, as the control plane would name it.
pub(crate) fn digest_of(path: &Path) -> Result<Digest, Failure> {
    let wrong = |error: String| Failure::usage(format!("{}: {error}", path.display()));
    let mut fields = from_file(path)?;
    packages(&mut fields)?;
    let definition: FunctionDefinition = serde_json::from_value(Value::Object(fields))
        .map_err(|error| wrong(format!("this is no definition of a function: {error}")))?;
    let language: Language = definition
        .language
        .parse()
        .map_err(|_| wrong("the language of a function is r, python or terr".to_owned()))?;
    let parameters = |list: &[Parameter]| -> Result<Vec<Declared>, Failure> {
        let declared = |parameter: &Parameter| {
            Ok(Declared {
                name: parameter.name.clone(),
                kind: parameter.kind.parse()?,
                optional: parameter.optional,
                types: (parameter.types.iter())
                    .map(|text| text.parse())
                    .collect::<Result<_, UnknownWord>>()?,
            })
        };
        let all = list.iter().map(declared).collect::<Result<_, UnknownWord>>();
        all.map_err(|error| wrong(error.to_string()))
    };
    let content = FunctionContent {
        language,
        script: definition.script.as_bytes(),
        inputs: &parameters(&definition.inputs)?,
        outputs: &parameters(&definition.outputs)?,
        packages: &definition.packages.iter().cloned().collect(),
    };
    Ok(content.digest())
}

fn definition(arguments: Register) -> Result<FunctionDefinition, Failure> {
    let mut definition = match &arguments.file {
        Some(path) => from_file(path)?,
        None => Map::new(),
    };
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            definition.insert(name.to_owned(), value);
        }
    };
    let script = arguments.script.as_deref().map(text).transpose()?;
    set("name", arguments.name.map(|name| json!(name)));
    set("language", arguments.language.map(Value::String));
    set("script", script.map(Value::String));
    set("description", arguments.description.map(Value::String));
    set(
        "inputs",
        (!arguments.inputs.is_empty()).then(|| json!(arguments.inputs)),
    );
    set(
        "outputs",
        (!arguments.results.is_empty()).then(|| json!(arguments.results)),
    );
    if let Some(path) = &arguments.packages {
        definition.insert(PACKAGES_FILE.to_owned(), json!(path.to_string_lossy()));
        definition.remove("packages");
    }
    packages(&mut definition)?;
    serde_json::from_value(Value::Object(definition)).map_err(|error| {
        let place = arguments
            .file
            .map_or_else(|| "the options".to_owned(), |path| path.display().to_string());
        Failure::usage(format!("{place}: this is no definition of a function: {error}"))
    })
}

/// Reads the locked list in, in the canonical form.
fn packages(definition: &mut Map<String, Value>) -> Result<(), Failure> {
    let Some(file) = definition.remove(PACKAGES_FILE) else {
        return Ok(());
    };
    let path: PathBuf = serde_json::from_value(file)
        .map_err(|_| Failure::usage("packages_file is not the name of a file".to_owned()))?;
    if definition.contains_key("packages") {
        return Err(Failure::usage(
            "the definition has both packages and packages_file; leave one".to_owned(),
        ));
    }
    let language: Language = definition
        .get("language")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .parse()
        .map_err(|_| Failure::usage("the language of a function is r, python or terr".to_owned()))?;
    let list = PackageList::read(language.packages(), &text(&path)?)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    definition.insert("packages".to_owned(), json!(list.lines()));
    Ok(())
}

/// The definition in a file, with the script read in.
fn from_file(path: &Path) -> Result<Map<String, Value>, Failure> {
    let content = text(path)?;
    let wrong = |error: String| Failure::usage(format!("{} cannot be read: {error}", path.display()));
    let mut definition: Map<String, Value> = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => toml::from_str(&content).map_err(|error| wrong(error.to_string()))?,
        Some("json") => serde_json::from_str(&content).map_err(|error| wrong(error.to_string()))?,
        _ => {
            return Err(wrong(
                "the name of a definition ends in .toml or .json".to_owned(),
            ));
        }
    };
    if let Some(file) = definition.remove("script_file") {
        let Value::String(file) = file else {
            return Err(wrong("script_file is not a text".to_owned()));
        };
        if definition.contains_key("script") {
            return Err(wrong("it has both script and script_file; leave one".to_owned()));
        }
        let script = text(&path.with_file_name("").join(file))?;
        definition.insert("script".to_owned(), Value::String(script));
    }
    if let Some(Value::String(file)) = definition.get_mut(PACKAGES_FILE) {
        *file = path.with_file_name("").join(&*file).display().to_string();
    }
    Ok(definition)
}

fn text(path: &Path) -> Result<String, Failure> {
    let bytes = file::read(path, Access::Any, LONGEST).map_err(|error| Failure::usage(chain(&error)))?;
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not UTF-8 text", path.display())))
}

/// `x:column:Integer,Real`
fn parameter(text: &str) -> Result<Parameter, String> {
    let mut parts = text.splitn(3, ':');
    let (name, kind, types) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let (name, optional) = match name.strip_suffix('?') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let kind = kind.filter(|kind| ["value", "column", "table"].contains(kind));
    let (Some(kind), false) = (kind, name.is_empty()) else {
        return Err("write NAME:value, NAME:column or NAME:table, and types if only some are allowed, for example x:column:Integer,Real".to_owned());
    };
    Ok(Parameter {
        name: name.to_owned(),
        kind: kind.to_owned(),
        types: types
            .map(|types| types.split(',').map(|kind| kind.trim().to_owned()).collect())
            .unwrap_or_default(),
        optional,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(file: Option<PathBuf>) -> Register {
        Register {
            file,
            name: None,
            language: None,
            script: None,
            inputs: Vec::new(),
            results: Vec::new(),
            packages: None,
            description: None,
            folder: None,
        }
    }

    #[test]
    fn a_parameter_is_name_kind_and_types() {
        let read = parameter("x:column:Integer, Real").expect("a parameter");
        assert_eq!(
            (read.name.as_str(), read.kind.as_str(), read.optional),
            ("x", "column", false)
        );
        assert_eq!(read.types, ["Integer", "Real"]);
        let read = parameter("n?:value").expect("a parameter");
        assert!(read.optional && read.types.is_empty() && read.name == "n");
        for wrong in ["", "x", ":value", "?:value", "x:list", "x:"] {
            assert!(parameter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_replace_what_the_file_says_and_the_script_may_lie_beside_it() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("f.toml");
        std::fs::write(folder.path().join("f.R"), "y <- x\n").expect("written");
        std::fs::write(
            &path,
            "name = \"f\"\nlanguage = \"r\"\nscript_file = \"f.R\"\n[[inputs]]\nname = \"x\"\nkind = \"value\"\n[limits]\nwall_seconds = 5\n",
        )
        .expect("written");
        let read = definition(Register {
            language: Some("terr".to_owned()),
            ..arguments(Some(path))
        })
        .expect("a definition");
        assert_eq!((read.name.as_str(), read.language.as_str()), ("f", "terr"));
        assert_eq!((read.script.as_str(), read.inputs.len()), ("y <- x\n", 1));
        assert_eq!(read.limits.wall_seconds, Some(5));
    }

    #[test]
    fn the_locked_list_may_lie_beside_the_definition_or_be_an_option() {
        let folder = tempfile::tempdir().expect("folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let hash = Digest::of(b"wheel");
        write(
            "lock.txt",
            &format!("# locked\nSix==1.16.0 \\\n    --hash={hash}\n"),
        );
        let other = write("other.txt", &format!("six==1.17.0 --hash={hash}\n"));
        let open = write("open.txt", "# not locked\nsix>=1\n");
        let head = "name = \"f\"\nlanguage = \"python\"\nscript = \"y = 1\"\n";
        let file = write("f.toml", &format!("{head}packages_file = \"lock.txt\"\n"));
        let with = |packages: Option<PathBuf>| {
            definition(Register {
                packages,
                ..arguments(Some(file.clone()))
            })
        };
        let read = with(None).expect("a definition");
        assert_eq!(read.packages, [format!("six==1.16.0 --hash={hash}")]);
        let read = with(Some(other)).expect("a definition");
        assert_eq!(read.packages, [format!("six==1.17.0 --hash={hash}")]);
        let failure = with(Some(open)).expect_err("not locked").sentence();
        assert!(
            failure.contains("open.txt: line 2 of the list of packages") && failure.contains("not pinned"),
            "{failure}"
        );
    }

    #[test]
    fn a_wrong_file_is_named_with_its_mistake() {
        let folder = tempfile::tempdir().expect("folder");
        for (name, content, expected) in [
            ("f.toml", "name = ", "f.toml cannot be read"),
            (
                "f.json",
                "{\"name\": \"f\", \"language\": \"r\", \"script\": \"\", \"colour\": 1}",
                "unknown field `colour`",
            ),
            (
                "f.json",
                "{\"name\": \"f\", \"language\": \"r\"}",
                "missing field `script`",
            ),
            (
                "f.json",
                "{\"name\": \"a/b\", \"language\": \"r\", \"script\": \"\"}",
                "U+002F",
            ),
            ("f.yaml", "name: f", ".toml or .json"),
            (
                "f.json",
                "{\"script\": \"\", \"script_file\": \"x\"}",
                "leave one",
            ),
            ("f.json", "{\"script_file\": \"missing.R\"}", "missing.R"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("written");
            let failure = definition(arguments(Some(path))).expect_err("wrong").sentence();
            assert!(failure.contains(expected), "{failure}");
        }
    }
}
