//! What holds for all operations is written into the description of the API in one pass, and not by hand at each of them:
//! who may call, how errors look, which writes take an `Idempotency-Key`.

use http::{Method, StatusCode};
use muster_wire::problem::MEDIA_TYPE;
use utoipa::openapi::{
    Content, Object, OpenApi, PathItem, Ref, RefOr, Required, Response, Type,
    path::{Operation, Parameter, ParameterIn},
    schema::Schema,
    security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
};

use super::idempotency;

/// The name of the way to say who one is.
const SESSION: &str = "session";

/// The operations of a path.
pub(super) fn operations(item: &PathItem) -> impl Iterator<Item = (Method, &Operation)> {
    [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::DELETE, &item.delete),
        (Method::PATCH, &item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

/// `document` with what holds for all.
pub(super) fn completed(mut document: OpenApi) -> OpenApi {
    let mut session = Http::new(HttpAuthScheme::Bearer);
    session.description =
        Some("The token of a session, from POST /api/v1/sessions or muster login.".to_owned());
    document
        .components
        .get_or_insert_default()
        .security_schemes
        .insert(SESSION.to_owned(), SecurityScheme::Http(session).into());
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in [
            (Method::GET, &mut item.get),
            (Method::PUT, &mut item.put),
            (Method::POST, &mut item.post),
            (Method::DELETE, &mut item.delete),
            (Method::PATCH, &mut item.patch),
        ] {
            if let Some(operation) = operation {
                complete(&method, path, operation);
            }
        }
    }
    document
}

fn complete(method: &Method, path: &str, operation: &mut Operation) {
    // Handlers that ask for no session say so (`security(())`).
    if operation.security.is_none() {
        let nothing: [&str; 0] = [];
        operation.security = Some(vec![SecurityRequirement::new(SESSION, nothing)]);
        refusal(operation, "401", "There is no session, or it is over");
    }
    refusal(
        operation,
        "422",
        "A query parameter, a header or the body is not what this operation takes",
    );
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        // OpenAPI 3.1 wants a description of each.
        if response.description.is_empty() {
            let reason = StatusCode::from_bytes(status.as_bytes());
            let reason = reason.ok().and_then(|status| status.canonical_reason());
            reason.unwrap_or(status).clone_into(&mut response.description);
        }
        if !status.starts_with('2') {
            response.content = std::iter::once((MEDIA_TYPE.to_owned(), problem())).collect();
        }
    }
    if idempotency::is_taken(method, path) {
        operation.parameters.get_or_insert_default().push(key());
    }
}

/// Adds that the operation can be refused so, where its handler does not say it.
fn refusal(operation: &mut Operation, status: &str, why: &str) {
    operation
        .responses
        .responses
        .entry(status.to_owned())
        .or_insert_with(|| RefOr::T(Response::new(why)));
}

fn problem() -> RefOr<Content> {
    let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
    RefOr::T(Content::new(Some(schema)))
}

fn key() -> RefOr<Parameter> {
    let mut key = Parameter::new(idempotency::HEADER_NAME);
    key.parameter_in = ParameterIn::Header;
    key.required = Required::False;
    key.description = Some(
        "1 to 200 printable characters: the same request under the same key is carried out at most once within 24 hours, \
         and answered as before"
            .to_owned(),
    );
    key.schema = Some(RefOr::T(Schema::Object(Object::with_type(Type::String))));
    RefOr::T(key)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::MEDIA_TYPE;

    fn described() -> Value {
        serde_json::from_str(&super::super::openapi()).expect("JSON")
    }

    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let paths = document["paths"].as_object().expect("paths");
        let all: Vec<_> = paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().expect("methods").iter();
                methods
                    .map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
            })
            .collect();
        assert!(all.len() > 80, "{}", all.len());
        all
    }

    #[test]
    fn every_operation_says_who_may_call_it() {
        let document = described();
        let scheme = &document["components"]["securitySchemes"]["session"];
        assert_eq!(
            (&scheme["type"], &scheme["scheme"]),
            (&"http".into(), &"bearer".into())
        );
        let mut public = Vec::new();
        for (name, operation) in operations(&document) {
            if operation["security"] == serde_json::json!([{}]) {
                public.push(name);
                continue;
            }
            assert_eq!(
                operation["security"],
                serde_json::json!([{ "session": [] }]),
                "{name}"
            );
            assert!(operation["responses"]["401"].is_object(), "{name}");
        }
        assert_eq!(
            public,
            [
                "GET /api/v1/authority/certificates.pem",
                "GET /api/v1/authority/crl",
                "GET /api/v1/authority/crl.pem",
                "POST /api/v1/sessions",
            ]
        );
    }

    #[test]
    fn every_refusal_is_a_problem_document() {
        for (name, operation) in operations(&described()) {
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.contains_key("422"), "{name}");
            let described = |response: &Value| {
                response["description"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            };
            assert!(responses.values().all(described), "{name}");
            for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2')) {
                let content = response["content"].as_object().expect("content");
                let types: Vec<_> = content.keys().collect();
                assert_eq!(types, [MEDIA_TYPE], "{name} {status}");
                assert_eq!(
                    content[MEDIA_TYPE]["schema"]["$ref"], "#/components/schemas/Problem",
                    "{name} {status}"
                );
            }
        }
    }

    #[test]
    fn writes_take_an_idempotency_key_but_those_with_secrets() {
        let mut without = Vec::new();
        for (name, operation) in operations(&described()) {
            let parameters = operation["parameters"].as_array();
            let keyed = parameters
                .into_iter()
                .flatten()
                .any(|parameter| parameter["name"] == "Idempotency-Key" && parameter["in"] == "header");
            if name.starts_with("GET ") {
                assert!(!keyed, "{name}");
            } else if !keyed {
                without.push(name);
            }
        }
        assert_eq!(
            without,
            [
                "POST /api/v1/join-tokens",
                "POST /api/v1/sessions",
                "POST /api/v1/users",
                "PUT /api/v1/users/{name}/password",
            ]
        );
    }
}
