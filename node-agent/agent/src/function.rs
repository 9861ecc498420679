//! The digest of a function as it travels: what a stamp trusts and a grant names.

use std::collections::BTreeSet;

use muster_code_trust::{DataType, FunctionContent, Language, Parameter, UnknownWord};
use muster_ids::Digest;
use muster_wire::function::{FunctionDefinition, Parameter as WireParameter};

/// The digest of `definition`'s canonical form.
pub fn digest(definition: &FunctionDefinition) -> Result<Digest, UnknownWord> {
    let language: Language = definition.language.parse()?;
    let inputs = parameters(&definition.inputs)?;
    let outputs = parameters(&definition.outputs)?;
    let packages: BTreeSet<String> = definition.packages.iter().cloned().collect();
    let content = FunctionContent {
        language,
        script: definition.script.as_bytes(),
        inputs: &inputs,
        outputs: &outputs,
        packages: &packages,
    };
    Ok(content.digest())
}

fn parameters(list: &[WireParameter]) -> Result<Vec<Parameter>, UnknownWord> {
    list.iter().map(parameter).collect()
}

fn parameter(wire: &WireParameter) -> Result<Parameter, UnknownWord> {
    let types: Result<BTreeSet<DataType>, UnknownWord> = wire.types.iter().map(|text| text.parse()).collect();
    Ok(Parameter {
        name: wire.name.clone(),
        kind: wire.kind.parse()?,
        types: types?,
        optional: wire.optional,
    })
}
