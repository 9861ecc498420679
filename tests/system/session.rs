//! Sessions of people: how they begin, how they end, and how long somebody may guess.

use http::Method;
use muster_client::Request;
use muster_tests::{Person, Server, problem, refusal, unique};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_begin_with_the_right_password_and_end_when_they_should() {
    let server = Server::shared();
    let admin = server.admin().await;
    let name = format!("{}@SPOTFIRE", unique("ann"));
    let (old, new) = ("a long enough password", "another long password");
    admin.create_user(&name, old).await;
    let stranger = Person::stranger(server);
    let log_in = async |user: &str, password: &str| -> Result<Value, _> {
        let body = json!({ "user": user, "password": password });
        stranger.post("/api/v1/sessions", &body, None).await
    };
    let wrong = problem(log_in(&name, "a wrong password").await);
    let nobody = problem(log_in("nobody@SPOTFIRE", "a wrong password").await);
    assert_eq!((wrong.status, &wrong), (401, &nobody), "who exists is not told");

    let user = Person::log_in(server, &name, old).await;
    let second = Person::log_in(server, &name.to_uppercase(), old).await;
    let own = ["users", &name, "password"];
    let change = async |body: Value| {
        let request = Request::put("/api/v1")
            .segment(own[0])
            .segment(own[1])
            .segment(own[2]);
        user.send(request.json(&body)).await
    };
    assert_eq!(
        refusal(change(json!({ "password": new })).await).0,
        422,
        "the present one is needed"
    );
    assert_eq!(
        refusal(change(json!({ "password": new, "current": "wrong" })).await).0,
        403
    );
    assert_eq!(
        refusal(change(json!({ "password": "short", "current": old })).await).0,
        422
    );
    change(json!({ "password": new, "current": old }))
        .await
        .expect("changed");
    for person in [&user, &second] {
        let tried = person.ask(&Method::GET, "/api/v1/status", &Value::Null).await;
        assert_eq!(refusal(tried).0, 401, "all sessions ended");
    }
    assert_eq!(refusal(log_in(&name, old).await).0, 401);
    let user = Person::log_in(server, &name, new).await;
    user.delete(&["sessions", "current"]).await.expect("logged out");
    let tried = user.ask(&Method::GET, "/api/v1/status", &Value::Null).await;
    assert_eq!(refusal(tried).0, 401);
    let user = Person::log_in(server, &name, new).await;
    admin
        .patch(&["users", &name], &json!({ "state": "disabled" }))
        .await
        .expect("disabled");
    let tried = user.ask(&Method::GET, "/api/v1/status", &Value::Null).await;
    assert_eq!(refusal(tried).0, 401);
    assert_eq!(refusal(log_in(&name, new).await).0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_wrong_passwords_make_a_guesser_wait() {
    let server = Server::shared();
    let admin = server.admin().await;
    let name = format!("{}@SPOTFIRE", unique("ann"));
    let password = "a long enough password";
    admin.create_user(&name, password).await;
    let stranger = Person::stranger(server);
    let guess = async |password: &str| -> Result<Value, _> {
        let body = json!({ "user": name, "password": password });
        stranger.post("/api/v1/sessions", &body, None).await
    };
    for _ in 0..10 {
        assert_eq!(refusal(guess("a wrong password").await).0, 401);
    }
    let refused = guess(password).await.expect_err("even the right one");
    assert_eq!(refused.retry_after(), Some(std::time::Duration::from_mins(5)));
    assert_eq!(refusal::<()>(Err(refused)).0, 429);
    server.analyst().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_its_time_is_over() {
    let server = Server::private();
    let analyst = server.analyst().await;
    let _: Value = analyst.get("/api/v1/status").await;
    server
        .database()
        .change("UPDATE sessions SET expires_at = expires_at - 43200000");
    let tried = analyst.ask(&Method::GET, "/api/v1/status", &Value::Null).await;
    assert_eq!(refusal(tried).0, 401);
}
