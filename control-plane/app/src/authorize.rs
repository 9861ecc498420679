//! The permission check of every use case, and the record of every refusal.

use std::fmt::Display;

use muster_ids::UserName;
use muster_model::{
    audit::Event,
    permission::{self, Attempt, Authorized, Caller, Denied, Operation},
};
use muster_store::{Draft, Tx};
use serde_json::json;

use crate::{App, Error, session::caller_of};

impl App {
    /// Proves that `caller` may do `operation`, or records that they tried.
    pub(crate) async fn authorize(&self, caller: &Caller, operation: Operation) -> Result<Authorized, Error> {
        self.proved(caller, permission::authorize(caller, operation))
            .await
    }

    /// The same, of an operation that is for several things: to do `what` with `on`, as a refusal says it.
    pub(crate) async fn authorize_to(
        &self,
        caller: &Caller,
        operation: Operation,
        what: &'static str,
        on: impl Display,
    ) -> Result<Authorized, Error> {
        let attempt = Attempt::new(what, on);
        self.proved(caller, permission::authorize_to(caller, operation, attempt))
            .await
    }

    /// Proves that `caller` may read `what` of a user: their own everybody may, that of others administrators.
    pub(crate) async fn authorize_of(
        &self,
        caller: &Caller,
        what: &'static str,
        name: &UserName,
    ) -> Result<Authorized, Error> {
        let own = matches!(caller, Caller::User(user) if user.name.key() == name.key());
        let operation = if own {
            Operation::Use
        } else {
            Operation::ReadAdministration
        };
        self.authorize_to(caller, operation, what, name).await
    }

    async fn proved(&self, caller: &Caller, answer: Result<Authorized, Denied>) -> Result<Authorized, Error> {
        match answer {
            Ok(authorized) => Ok(authorized),
            Err(denied) => {
                self.record_denial(caller, denied.what.clone()).await;
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
            permission::authorize_to(&caller, authorized.operation(), authorized.attempt().clone())
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
        self.record_denial(authorized.caller(), authorized.attempt().clone())
            .await;
        Err(denied)
    }

    /// What the control plane does on its own.
    pub(crate) fn system() -> Authorized {
        permission::authorize(&Caller::System, Operation::Maintain)
            .expect("the table lets the system maintain itself")
    }

    /// Records a refused request. Failing to record must not turn a refusal into something else.
    pub(crate) async fn record_denial(&self, caller: &Caller, tried: impl Into<Attempt>) {
        let Attempt { what, on } = tried.into();
        let draft = Draft {
            event: Event::Denied,
            subject: if on.is_empty() { what.to_owned() } else { on },
            detail: json!({ "attempted": what }),
        };
        let recorded = async {
            let refused = permission::authorize(caller, Operation::BeRefused).map_err(Error::from)?;
            let tx = self.store().begin(&refused).await?;
            tx.commit(draft, self.now()).await?;
            Ok::<_, Error>(())
        };
        if let Err(error) = recorded.await {
            tracing::error!(error = %error, attempted = what, "a refused request could not be recorded");
        }
    }
}
