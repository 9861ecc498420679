//! What the unrestricted runs of a function may use: set by administrators, never by who wrote the script.
//!
//! Invariant: a policy is an entry of the trust state, so that nodes obey the signed one and never a message of its own.

use muster_code_trust::{Entry, RunPolicy};
use muster_ids::FunctionId;
use muster_model::{
    audit::Event,
    permission::{Caller, Operation},
};
use muster_store::Draft;
use muster_wire::admin::v1::function::FunctionPolicy;
use serde_json::{Value, json};

use super::no_such_function;
use crate::{App, Error};

impl App {
    /// The policy of a function, if it has one.
    pub async fn function_policy(&self, caller: &Caller, reference: &str) -> Result<FunctionPolicy, Error> {
        self.authorize(caller, Operation::Use).await?;
        let function = self.function_for(caller, reference).await?.function.id;
        let policy = self.trust_state().await?.function_policy(function);
        to_wire(function, policy.as_ref())
    }

    /// Sets what the unrestricted runs of a function may use at the most; the setting `unrestricted_policy` holds as well.
    pub async fn set_function_policy(
        &self,
        caller: &Caller,
        reference: &str,
        policy: &Value,
    ) -> Result<FunctionPolicy, Error> {
        let authorized = self
            .authorize_to(
                caller,
                Operation::ManagePolicies,
                "set the run policy of the function",
                reference,
            )
            .await?;
        let function = self.function_for(caller, reference).await?.function;
        let policy =
            RunPolicy::parse(&policy.to_string()).map_err(|error| Error::invalid(error.to_string()))?;
        let entry = Entry::Policy(function.id, policy.clone());
        let now = self.now();
        let tx = self.store().begin(&authorized).await?;
        // Nobody could clear the policy of a function that was deleted meanwhile.
        let mut tx = self
            .still_readable(tx, &authorized, function.id, || no_such_function(reference))
            .await?;
        tx.trust_change(&[(entry.key(), Some(entry.value()))], now)
            .await?;
        let detail = json!({ "policy": entry.value(), "digest": policy.digest().to_string() });
        let draft = Draft::new(Event::FunctionPolicyChanged, function.name.to_string(), detail);
        tx.commit(draft, now).await?;
        to_wire(function.id, Some(&policy))
    }

    /// Removes the policy of a function, so that the setting `unrestricted_policy` alone holds.
    pub async fn clear_function_policy(&self, caller: &Caller, reference: &str) -> Result<(), Error> {
        let authorized = self
            .authorize_to(
                caller,
                Operation::ManagePolicies,
                "clear the run policy of the function",
                reference,
            )
            .await?;
        let function = self.function_for(caller, reference).await?.function;
        let Some(policy) = self.trust_state().await?.function_policy(function.id) else {
            return Err(Error::not_found(
                "policy of the function",
                function.name.to_string(),
                "muster function policy shows what is set",
            ));
        };
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        tx.trust_change(&[(Entry::Policy(function.id, policy).key(), None)], now)
            .await?;
        let draft = Draft::new(
            Event::FunctionPolicyChanged,
            function.name.to_string(),
            json!({ "policy": null }),
        );
        tx.commit(draft, now).await?;
        Ok(())
    }
}

fn to_wire(function: FunctionId, policy: Option<&RunPolicy>) -> Result<FunctionPolicy, Error> {
    let form = policy.map(serde_json::to_value).transpose().map_err(Error::bug)?;
    Ok(FunctionPolicy {
        function,
        policy: form,
        digest: policy.map(RunPolicy::digest),
    })
}
