//! The permission check of every use case, and the record of every refusal.

use muster_model::{
    audit::Event,
    permission::{self, Authorized, Caller, Operation},
};
use muster_store::Draft;
use serde_json::json;

use crate::{App, Error};

impl App {
    /// Proves that `caller` may do `operation`, or records that they tried.
    pub(crate) async fn authorize(&self, caller: &Caller, operation: Operation) -> Result<Authorized, Error> {
        match permission::authorize(caller, operation) {
            Ok(authorized) => Ok(authorized),
            Err(denied) => {
                self.record_denial(caller, &format!("{operation:?}")).await;
                Err(denied.into())
            }
        }
    }

    /// What the control plane does on its own.
    pub(crate) fn system() -> Authorized {
        permission::authorize(&Caller::System, Operation::Maintain)
            .expect("the table lets the system maintain itself")
    }

    /// Records a refused request. Failing to record must not turn a refusal into something else.
    pub(crate) async fn record_denial(&self, caller: &Caller, what: &str) {
        let draft = Draft {
            event: Event::Denied,
            subject: what.to_owned(),
            detail: json!({ "caller": caller.to_string() }),
        };
        let recorded = async {
            let tx = self.store().begin(&Self::system()).await?;
            tx.commit(draft, self.now()).await
        };
        if let Err(error) = recorded.await {
            tracing::error!(error = %error, operation = what, "a refused request could not be recorded");
        }
    }
}
