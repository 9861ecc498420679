//! What a caller asks for, and its description for the runners.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use muster_sandbox::protocol::{Limits, Mode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{EngineKind, Live, RunPolicy};

/// One run.
#[derive(Debug)]
pub struct RunOrder {
    /// The language.
    pub engine: EngineKind,
    /// What the trust decision said.
    pub mode: Mode,
    /// What it may see, reach and start; means nothing to a restricted run.
    pub policy: Arc<RunPolicy>,
    /// The text of the function.
    pub script: String,
    /// Variables that the script finds.
    pub inputs: Vec<Input>,
    /// Variables that are taken from it.
    pub outputs: Vec<OutputSpec>,
    /// Whether what a restricted script may not do is listed instead of ending it; the kernel refuses it all the
    /// same. Means nothing to an unrestricted run.
    pub trace: bool,
    /// Clamped to the configuration's.
    pub limits: Limits,
    /// Whose session it belongs to: runs of equal words, engine, mode, policy, packages and limits share a child, one
    /// after the other, and find what the former ones have left in it. A run that is traced belongs to none.
    pub session: Option<String>,
    /// An existing folder of the caller for this run only; outputs are written here.
    pub folder: PathBuf,
    /// Where it shows what it prints while it goes on.
    pub live: Live,
}

/// A variable before the script.
#[derive(Debug)]
pub struct Input {
    /// The variable.
    pub name: String,
    /// Its shape.
    pub kind: Shape,
    /// How `data` is written.
    pub format: Format,
    /// Column (or, for a value or column, the input's name) to type, in the words of the original
    /// (`Boolean`, `Integer`, …); what is not named is inferred inside the jail.
    pub types: BTreeMap<String, String>,
    /// `None`: an optional input that was not given; the variable is NULL or None.
    pub data: Option<Data>,
}

/// The bytes of an input.
#[derive(Debug)]
pub enum Data {
    /// A file that does not change during the run.
    File(PathBuf),
    /// In memory.
    Bytes(Vec<u8>),
}

/// A variable after the script.
#[derive(Debug, Clone)]
pub struct OutputSpec {
    /// The variable.
    pub name: String,
    /// Its shape.
    pub kind: Shape,
    /// How it is to be written.
    pub format: Format,
}

/// The shape of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One datum.
    Value,
    /// A vector.
    Column,
    /// Columns of equal length.
    Table,
}

/// How data is written; `runners/README.md` describes both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// RFC 4180 with a header line; an empty field is a missing value.
    Csv,
    /// `{"columns": [{"name", "type", "values"}]}`, a column of it, or a scalar.
    Json,
    /// Any bytes: the variable is the path of a file in the scratch folder. Package sets are built with it.
    File,
}

/// `run.json` of the scratch folder.
#[derive(Serialize)]
struct Description<'a> {
    script: &'a str,
    inputs: Vec<Variable<'a>>,
    outputs: Vec<Variable<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    trace: bool,
}

#[derive(Serialize)]
struct Variable<'a> {
    name: &'a str,
    kind: Shape,
    format: Format,
    #[serde(skip_serializing_if = "Option::is_none")]
    types: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

/// Where input number `index` lies below the scratch folder.
pub(crate) fn input_path(index: usize) -> String {
    format!("inputs/{index}")
}

/// Where output number `index` is written.
fn output_path(index: usize) -> String {
    format!("outputs/{index}")
}

/// Where the runner says what the outputs were.
const SCHEMA_PATH: &str = "outputs/schema.json";

impl RunOrder {
    /// Whether oversteps are listed.
    pub(crate) fn traced(&self) -> bool {
        self.trace && self.mode == Mode::Restricted
    }

    /// Where the outputs lie below the scratch folder; the last one is the schema.
    pub(crate) fn output_paths(&self) -> Vec<String> {
        let paths = (0..self.outputs.len()).map(output_path);
        paths.chain([SCHEMA_PATH.to_owned()]).collect()
    }

    /// The description that the runner reads.
    pub(crate) fn describe(&self) -> serde_json::Result<Box<RawValue>> {
        let inputs = self.inputs.iter().enumerate().map(|(index, input)| Variable {
            name: &input.name,
            kind: input.kind,
            format: input.format,
            types: Some(&input.types),
            file: input.data.as_ref().map(|_| input_path(index)),
        });
        let outputs = self.outputs.iter().enumerate().map(|(index, output)| Variable {
            name: &output.name,
            kind: output.kind,
            format: output.format,
            types: None,
            file: Some(output_path(index)),
        });
        serde_json::value::to_raw_value(&Description {
            script: &self.script,
            inputs: inputs.collect(),
            outputs: outputs.collect(),
            trace: self.traced(),
        })
    }
}
