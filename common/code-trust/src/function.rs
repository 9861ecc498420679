//! The content of a data function that a trust decision is about, and its digest.
//!
//! The canonical form, version 1, is a list of parts that are hashed with their lengths ([`Digest::of_framed`]):
//!
//! ```text
//! "muster-data-function/1", language, script,
//! "inputs",  number of inputs,  for each: name, kind, optional, number of types, each type,
//! "outputs", number of outputs, for each: the same,
//! "packages", number of packages, each package
//! ```
//!
//! Numbers are eight big-endian bytes; `optional` is `yes` or `no`; the script is its bytes, unchanged. Inputs and
//! outputs keep their order; types are in the order of [`DataType`], packages sorted, both without repetition. Limits
//! are no part of it: they only tighten what the place allows anyway.

use std::collections::BTreeSet;

use muster_ids::Digest;

use crate::{Engine, words::words};

words! {
    /// The language of a data function.
    pub Language ("language") {
        /// Open-source R.
        R = "r",
        /// Python.
        Python = "python",
        /// TERR.
        Terr = "terr",
    }

    /// The shape of an input or output.
    pub ParameterKind ("kind of parameter") {
        /// A single value.
        Value = "value",
        /// A column.
        Column = "column",
        /// A table.
        Table = "table",
    }

    /// The types of data, by their documented names.
    pub DataType ("data type") {
        /// Truth value.
        Boolean = "Boolean",
        /// 32-bit integer.
        Integer = "Integer",
        /// 64-bit integer.
        LongInteger = "LongInteger",
        /// 32-bit floating point.
        SingleReal = "SingleReal",
        /// 64-bit floating point.
        Real = "Real",
        /// Date and time of day, without zone.
        DateTime = "DateTime",
        /// Date.
        Date = "Date",
        /// Time of day.
        Time = "Time",
        /// Length of time.
        TimeSpan = "TimeSpan",
        /// Text.
        String = "String",
        /// Bytes.
        Binary = "Binary",
        /// Decimal number.
        Currency = "Currency",
    }
}

impl Language {
    /// The engine of nodes that runs it.
    pub fn service(self) -> Engine {
        match self {
            Self::R => Engine::RService,
            Self::Python => Engine::PythonService,
            Self::Terr => Engine::TerrService,
        }
    }
}

/// A declared input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in the script.
    pub name: String,
    /// Its shape.
    pub kind: ParameterKind,
    /// The types that it may have; empty for any.
    pub types: BTreeSet<DataType>,
    /// Whether a caller may leave it out.
    pub optional: bool,
}

/// Everything about a data function that a stamp vouches for.
#[derive(Debug, Clone, Copy)]
pub struct FunctionContent<'a> {
    /// The language.
    pub language: Language,
    /// The script, as stored.
    pub script: &'a [u8],
    /// The inputs, in declared order.
    pub inputs: &'a [Parameter],
    /// The outputs, in declared order.
    pub outputs: &'a [Parameter],
    /// The packages that it asks for.
    pub packages: &'a BTreeSet<String>,
}

impl FunctionContent<'_> {
    /// The digest that names this content in stamps, blocks and grants.
    pub fn digest(&self) -> Digest {
        let mut parts = Parts(Vec::new());
        parts.text("muster-data-function/1");
        parts.text(self.language.as_str());
        parts.bytes(self.script);
        parts.parameters("inputs", self.inputs);
        parts.parameters("outputs", self.outputs);
        parts.list("packages", self.packages.len());
        self.packages.iter().for_each(|package| parts.text(package));
        let parts: Vec<&[u8]> = parts.0.iter().map(Vec::as_slice).collect();
        Digest::of_framed(&parts)
    }
}

struct Parts(Vec<Vec<u8>>);

impl Parts {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.push(bytes.to_vec());
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn list(&mut self, name: &str, length: usize) {
        self.text(name);
        self.number(length);
    }

    fn number(&mut self, number: usize) {
        self.bytes(&(number as u64).to_be_bytes());
    }

    fn parameters(&mut self, name: &str, parameters: &[Parameter]) {
        self.list(name, parameters.len());
        for parameter in parameters {
            self.text(&parameter.name);
            self.text(parameter.kind.as_str());
            self.text(if parameter.optional { "yes" } else { "no" });
            self.number(parameter.types.len());
            parameter
                .types
                .iter()
                .for_each(|data_type| self.text(data_type.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample::select};

    use super::*;

    /// An owned content, to change in one place.
    #[derive(Debug, Clone, PartialEq)]
    struct Owned {
        language: Language,
        script: Vec<u8>,
        inputs: Vec<Parameter>,
        outputs: Vec<Parameter>,
        packages: BTreeSet<String>,
    }

    impl Owned {
        fn digest(&self) -> Digest {
            let Self {
                language,
                script,
                inputs,
                outputs,
                packages,
            } = self;
            FunctionContent {
                language: *language,
                script,
                inputs,
                outputs,
                packages,
            }
            .digest()
        }
    }

    fn parameter() -> impl Strategy<Value = Parameter> {
        let types = collection::btree_set(select(DataType::ALL), 0..3);
        ("[a-c]{0,2}", select(ParameterKind::ALL), types, any::<bool>()).prop_map(
            |(name, kind, types, optional)| Parameter {
                name,
                kind,
                types,
                optional,
            },
        )
    }

    fn content() -> impl Strategy<Value = Owned> {
        let parameters = || collection::vec(parameter(), 0..3);
        let packages = collection::btree_set("[a-c=]{1,3}", 0..3);
        (
            select(Language::ALL),
            collection::vec(any::<u8>(), 0..20),
            parameters(),
            parameters(),
            packages,
        )
            .prop_map(|(language, script, inputs, outputs, packages)| Owned {
                language,
                script,
                inputs,
                outputs,
                packages,
            })
    }

    proptest! {
        #[test]
        fn two_contents_have_one_digest_only_if_they_are_the_same(a in content(), b in content()) {
            prop_assert_eq!(a == b, a.digest() == b.digest());
        }

        #[test]
        fn every_byte_of_the_script_counts(a in content(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
            prop_assume!(!a.script.is_empty());
            let mut b = a.clone();
            let at = at.index(b.script.len());
            b.script[at] ^= flip;
            prop_assert_ne!(a.digest(), b.digest());
            b.script.truncate(at);
            prop_assert_ne!(a.digest(), b.digest());
        }

        #[test]
        fn every_declared_part_counts(a in content(), extra in parameter()) {
            let mut others = Vec::new();
            let mut change = |edit: &dyn Fn(&mut Owned)| {
                let mut b = a.clone();
                edit(&mut b);
                if b != a {
                    others.push(b.digest());
                }
            };
            for language in Language::ALL {
                change(&|b| b.language = *language);
            }
            change(&|b| b.inputs.push(extra.clone()));
            change(&|b| b.outputs.push(extra.clone()));
            change(&|b| b.inputs.reverse());
            change(&|b| std::mem::swap(&mut b.inputs, &mut b.outputs));
            change(&|b| { b.packages.insert("numpy".to_owned()); });
            change(&|b| b.inputs.iter_mut().for_each(|input| input.name.push('x')));
            change(&|b| b.inputs.iter_mut().for_each(|input| input.optional = !input.optional));
            change(&|b| b.outputs.iter_mut().for_each(|output| output.kind = ParameterKind::Table));
            change(&|b| b.outputs.iter_mut().for_each(|output| { output.types.insert(DataType::Currency); }));
            prop_assert!(!others.contains(&a.digest()));
        }
    }

    #[test]
    fn the_digest_of_a_known_function_never_changes() {
        let inputs = [Parameter {
            name: "x".to_owned(),
            kind: ParameterKind::Table,
            types: BTreeSet::from([DataType::Real, DataType::Integer]),
            optional: false,
        }];
        let packages = BTreeSet::from(["numpy".to_owned()]);
        let content = FunctionContent {
            language: Language::Python,
            script: b"y = x\n",
            inputs: &inputs,
            outputs: &[],
            packages: &packages,
        };
        // Computed with Python's hashlib from the description above.
        assert_eq!(
            content.digest().to_string(),
            "sha256:9f6bcf716e64f0d2165603e8553268374bfa0511f34140157b577ad3eeaea1e1"
        );
    }
}
