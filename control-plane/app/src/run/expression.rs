//! Inline expressions: what a person types where no function of the library is, in the language of TERR.
//!
//! Invariant: an expression is a run of its own kind. It is no library item, nobody can trust it, and the rule
//! `terr-inline` decides about it, which knows no other mode than restricted.

use muster_ids::{PoolId, SiteId};
use muster_model::{
    join::Capability,
    node::Trust,
    permission::{Caller, Operation},
};
use muster_store::{BlobWriter, NodeFilter};
use muster_wire::{
    admin::v1::run::{EvaluateExpression, Run as WireRun, SubmitRun},
    function::{Blobs, FunctionDefinition, Limits, Parameter},
};

use super::submit::{Asked, Submission};
use crate::{App, Error, function};

/// What runs of expressions are called.
const NAME: &str = "expression";
/// The variable that holds the result.
const OUTPUT: &str = "output";
/// Nodes that are looked at in one step.
const PAGE: u32 = 256;

impl App {
    /// Queues the evaluation of an expression with the values of `request` and the columns of `files`.
    pub async fn evaluate_expression(
        &self,
        caller: &Caller,
        request: EvaluateExpression,
        files: Blobs,
        idempotency_key: Option<String>,
    ) -> Result<WireRun, Error> {
        let authorized = self.authorize(caller, Operation::Run).await?;
        let definition = definition(&request, &files)?;
        let digest = function::check(&definition)?;
        let pool = self.pool_or_default(request.pool.as_ref()).await?;
        let site = self.site_or_default(request.site.as_ref()).await?;
        if !self.has_terr(pool.id, site.id).await? {
            return Err(Error::conflict(
                "no-engine",
                format!(
                    "no node of the pool {} at the site {} has the engine terr, which evaluates expressions; \
                     see muster node list",
                    pool.name, site.name
                ),
            ));
        }
        let asked = Asked {
            function: None,
            name: definition.name.clone(),
            digest,
            definition,
        };
        let submission = Submission {
            request: SubmitRun {
                inputs: request.inputs,
                outputs: request
                    .format
                    .map(|format| (OUTPUT.to_owned(), format))
                    .into_iter()
                    .collect(),
                pool: Some(pool.name),
                site: Some(site.name),
                limits: request.limits,
                trace: false,
                analysis: None,
            },
            files,
            idempotency_key,
        };
        self.queue(&authorized, asked, submission).await
    }

    /// A place for an input of an expression that a person is about to send.
    pub async fn expression_writer(&self, caller: &Caller) -> Result<BlobWriter, Error> {
        self.authorize(caller, Operation::Run).await?;
        Ok(self.blobs().writer(self.options().max_input, None))
    }

    /// Whether a trusted node of this place offers TERR, the original or what stands in for it.
    async fn has_terr(&self, pool: PoolId, site: SiteId) -> Result<bool, Error> {
        let filter = NodeFilter {
            trust: Some(Trust::Trusted),
            pool: Some(pool),
            site: Some(site),
            ..NodeFilter::default()
        };
        let mut after = None;
        loop {
            let nodes = self.store().node_list(&filter, after.as_ref(), PAGE).await?;
            if nodes
                .iter()
                .any(|node| node.capabilities.contains(&Capability::Terr))
            {
                return Ok(true);
            }
            match nodes.last() {
                Some(last) if nodes.len() == PAGE as usize => after = Some(last.name.clone()),
                _ => return Ok(false),
            }
        }
    }
}

/// The expression as engines take it: its inputs are what was given.
fn definition(request: &EvaluateExpression, files: &Blobs) -> Result<FunctionDefinition, Error> {
    let parameter = |name: &str, kind: &str| Parameter {
        name: name.to_owned(),
        kind: kind.to_owned(),
        types: Vec::new(),
        optional: false,
    };
    let values = request.inputs.keys().map(|name| parameter(name, "value"));
    let columns = files.keys().map(|name| parameter(name, "column"));
    let output = parameter(OUTPUT, request.output.as_deref().unwrap_or("value"));
    Ok(FunctionDefinition {
        name: NAME.parse().map_err(Error::bug)?,
        language: "terr".to_owned(),
        script: request.expression.clone(),
        inputs: values.chain(columns).collect(),
        outputs: vec![output],
        packages: Vec::new(),
        description: String::new(),
        limits: Limits::default(),
    })
}

#[cfg(test)]
mod tests {
    use muster_ids::Digest;
    use muster_wire::function::BlobRef;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_given_is_what_the_expression_takes() {
        let request: EvaluateExpression = serde_json::from_value(json!({
            "expression": "output <- input1 * input2", "inputs": { "input2": 3 }, "output": "column"
        }))
        .expect("whole");
        let blob = BlobRef {
            digest: Digest::of(b""),
            size: 0,
            format: "csv".to_owned(),
        };
        let files = Blobs::from([("input1".to_owned(), blob)]);
        let definition = definition(&request, &files).expect("whole");
        let kinds: Vec<_> = definition
            .inputs
            .iter()
            .chain(&definition.outputs)
            .map(|parameter| (parameter.name.as_str(), parameter.kind.as_str()))
            .collect();
        assert_eq!(
            kinds,
            [("input2", "value"), ("input1", "column"), ("output", "column")]
        );
        assert_eq!(definition.language, "terr");
        function::check(&definition).expect("sensible");
    }

    #[test]
    fn an_input_that_is_given_twice_is_refused() {
        let request: EvaluateExpression = serde_json::from_value(json!({
            "expression": "output <- x", "inputs": { "x": 3 }
        }))
        .expect("whole");
        let blob = BlobRef {
            digest: Digest::of(b""),
            size: 0,
            format: "csv".to_owned(),
        };
        let files = Blobs::from([("x".to_owned(), blob)]);
        let definition = definition(&request, &files).expect("whole");
        let error = function::check(&definition).expect_err("twice").to_string();
        assert!(error.contains("two inputs named x"), "{error}");
    }
}
