//! The permission check of every use case, and the record of every refusal.

use muster_model::{
    audit::Event,
    permission::{self, Authorized, Caller, Operation},
};
use muster_store::{Draft, Tx};
use serde_json::json;

use crate::{App, Error, session::caller_of};

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

    /// Begins a change of what people may do, and proves once more that its author may: from here to the commit nobody's
    /// rights change, and a request may have waited while some were taken away.
    pub(crate) async fn begin_asked(&self, authorized: &Authorized) -> Result<Tx, Error> {
        let mut tx = self.store().begin(authorized).await?;
        tx.change_rights().await?;
        let (tx, _) = self.asked_again(tx, authorized).await?;
        Ok(tx)
    }

    /// Who asks, with the rights that they have for as long as `tx` holds the lock of rights; what was done without it is
    /// refused and recorded.
    pub(crate) async fn asked_again(&self, tx: Tx, authorized: &Authorized) -> Result<(Tx, Caller), Error> {
        let Caller::User(before) = authorized.caller() else {
            return Ok((tx, authorized.caller().clone()));
        };
        let facts = self.known_facts(before.id, &before.name).await?;
        let caller = Caller::User(caller_of(before.id, &facts));
        let denied = if self.known_active(before.id).await? {
            permission::authorize(&caller, authorized.operation())
                .err()
                .map(Error::from)
        } else {
            Some(Error::denied(format!(
                "user {} is disabled or gone; ask an administrator to enable the user",
                before.name
            )))
        };
        let Some(denied) = denied else {
            return Ok((tx, caller));
        };
        drop(tx);
        let what = format!("{:?}", authorized.operation());
        self.record_denial(authorized.caller(), &what).await;
        Err(denied)
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
