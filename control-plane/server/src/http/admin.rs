//! The REST API, `/api/v1`: people, the command line, automation.
//!
//! Registering a route documents it: `docs/reference/openapi.json` is printed from this router.

mod audit;
mod certificate;
mod contract;
mod document;
mod expression;
mod function;
mod group;
mod idempotency;
mod join;
mod join_token;
mod library;
mod node;
mod place;
mod preference;
mod run;
mod session;
mod setting;
mod signing;
mod status;
mod trust;
mod user;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::get};
use http::{StatusCode, header};
use muster_app::{App, Error};
use utoipa::OpenApi;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt as _},
    routes,
};

use self::contract::Contract;
use super::{Failure, error::problem};

/// The largest JSON body: a function with a script of 8 MiB, escaped.
const MAX_BODY: usize = 20 * 1024 * 1024;

/// The largest body of those who have not logged in: a name and a password.
const MAX_LOGIN: usize = 16 * 1024;

/// Where the description is.
const DESCRIPTION: &str = "/api/v1/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Muster",
        description = "The REST API of the Muster control plane. Errors are problem documents (RFC 9457). \
                       Times are RFC 3339 in UTC. Lists are pages: give `next` of one page to get the following.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(muster_wire::Problem))
)]
struct Document;

fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(session::log_in).layer(DefaultBodyLimit::max(MAX_LOGIN)))
        .routes(routes!(session::who_am_i, session::log_out))
        .routes(routes!(status::status))
        .routes(routes!(status::authority))
        .routes(routes!(certificate::crl))
        .routes(routes!(certificate::crl_pem))
        .routes(routes!(certificate::authority_pem))
        .routes(routes!(certificate::list))
        .routes(routes!(certificate::reset))
        .routes(routes!(certificate::show))
        .routes(routes!(certificate::revoke))
        .routes(routes!(status::rotate))
        .routes(routes!(audit::list))
        .routes(routes!(audit::verify))
        .routes(routes!(join::list))
        .routes(routes!(join::find))
        .routes(routes!(join::renewals))
        .routes(routes!(join::approve_renewals))
        .routes(routes!(join::show))
        .routes(routes!(join::approve))
        .routes(routes!(join::reject))
        .routes(routes!(join_token::list, join_token::create))
        .routes(routes!(join_token::show))
        .routes(routes!(join_token::revoke))
        .routes(routes!(node::list))
        .routes(routes!(node::show, node::patch, node::delete))
        .routes(routes!(node::untrust))
        .routes(routes!(place::list_pools, place::create_pool))
        .routes(routes!(place::delete_pool))
        .routes(routes!(place::list_sites, place::create_site))
        .routes(routes!(place::delete_site))
        .routes(routes!(user::list, user::create))
        .routes(routes!(user::disabled))
        .routes(routes!(user::show, user::patch, user::delete))
        .routes(routes!(user::set_password))
        .routes(routes!(group::list, group::create))
        .routes(routes!(group::import))
        .routes(routes!(group::show, group::delete))
        .routes(routes!(group::add_member, group::remove_member))
        .routes(routes!(group::add_parent, group::remove_parent))
        .routes(routes!(preference::set_primary, preference::clear_primary))
        .routes(routes!(preference::of_group))
        .routes(routes!(preference::set, preference::clear))
        .routes(routes!(preference::of_user))
        .routes(routes!(group::licenses_of_group, group::set))
        .routes(routes!(group::licenses_of_user))
        .routes(routes!(group::grant, group::revoke))
        .routes(routes!(group::licenses))
        .routes(routes!(function::list, function::register))
        .routes(routes!(function::show))
        .routes(routes!(function::trust))
        .routes(routes!(function::untrust))
        .routes(routes!(
            function::policy,
            function::set_policy,
            function::clear_policy
        ))
        .routes(routes!(library::list))
        .routes(routes!(library::create_folder))
        .routes(routes!(library::save))
        .routes(routes!(library::show, library::patch, library::delete))
        .routes(routes!(library::permissions, library::permit))
        .routes(routes!(library::versions))
        .routes(routes!(library::content))
        .routes(routes!(library::file))
        .routes(routes!(library::code))
        .routes(routes!(library::trust))
        .routes(routes!(library::untrust))
        .routes(routes!(library::untrust_everywhere))
        .routes(routes!(run::submit).layer(run::unlimited()))
        .routes(routes!(expression::evaluate).layer(run::unlimited()))
        .routes(routes!(run::list))
        .routes(routes!(run::show))
        .routes(routes!(run::cancel))
        .routes(routes!(run::logs))
        .routes(routes!(run::stdout))
        .routes(routes!(run::stderr))
        .routes(routes!(run::output))
        .routes(routes!(run::receipt))
        .routes(routes!(setting::list, setting::set, setting::remove))
        .routes(routes!(trust::stamps))
        .routes(routes!(trust::blocks, trust::block))
        .routes(routes!(trust::unblock))
        .routes(routes!(trust::signers, trust::trust_signer))
        .routes(routes!(trust::withdraw_signer))
        .routes(routes!(trust::items, trust::trust_item))
        .routes(routes!(trust::withdraw_item))
        .routes(routes!(trust::revocations, trust::revoke))
        .routes(routes!(trust::entities))
        .routes(routes!(trust::explain))
        .routes(routes!(trust::open))
        .routes(routes!(signing::sign))
        .routes(routes!(signing::verify))
        .routes(routes!(signing::stamp_time))
        .routes(routes!(signing::roots))
        .routes(routes!(signing::allowed_issuers))
        .routes(routes!(signing::own_root))
        .routes(routes!(signing::remove_root))
        .routes(routes!(signing::certificates, signing::import))
        .routes(routes!(signing::revoke))
        .routes(routes!(signing::reset))
}

/// The routes, and what is checked in as their description.
fn described() -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, document) = documented().split_for_parts();
    (router, document::completed(document))
}

fn text(document: &utoipa::openapi::OpenApi) -> String {
    let mut text = document
        .to_pretty_json()
        .expect("the document has string keys only");
    text.push('\n');
    text
}

/// The document, as it is checked in.
pub fn openapi() -> String {
    text(&described().1)
}

/// The routes of the REST API.
pub fn router(app: App) -> Router {
    let (router, document) = described();
    let contract = Contract::of(&document, &[DESCRIPTION]);
    let text = text(&document);
    router
        .route(
            DESCRIPTION,
            get(move || async move { ([(header::CONTENT_TYPE, "application/json")], text) }),
        )
        .fallback(|| async {
            Failure(Error::NotFound {
                detail: "there is no such address; /api/v1/openapi.json lists all of them".to_owned(),
            })
        })
        .method_not_allowed_fallback(|| async {
            problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This address has other methods",
                "this address does not take this method; the header Allow says which it takes, and /api/v1/openapi.json \
                 lists what there is"
                    .to_owned(),
            )
        })
        .layer(middleware::from_fn_with_state(app.clone(), idempotency::once))
        .layer(middleware::from_fn_with_state(Arc::new(contract), contract::keep))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}
