//! What `doctor` finds on both sides.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
};

use muster_tests::{Blank, RealNode, Server, Settings, until};
use serde_json::Value;

use crate::postgres::support;

#[tokio::test(flavor = "multi_thread")]
async fn another_program_on_a_port_is_not_taken_for_the_control_plane() {
    let server = Server::private();
    let (ok, said) = server.command("doctor");
    assert!(ok, "{said}");
    // A control plane of another folder is another one, too.
    let other = Server::private();
    server.kill();
    let (ok, said) = server.command("doctor");
    assert!(!ok);
    for listener in ["registration", "operations", "front end", "back end"] {
        let nothing = said.lines().any(|line| {
            line.contains("Nothing answers at") && line.contains(&format!("the {listener} listener"))
        });
        assert!(nothing, "{listener}: {said}");
    }
    drop(other);
    let squatter = TcpListener::bind(server.operations()).expect("the port is free");
    std::thread::spawn(move || {
        for stream in squatter.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n");
        }
    });
    let (ok, said) = server.command("doctor");
    assert!(!ok);
    let sentence = format!(
        "Another program, or a control plane of another folder, answers at {}, where the operations listener",
        server.operations()
    );
    assert!(said.contains(&sentence), "{said}");
}

#[test]
fn where_no_collective_was_made_doctor_says_how_to_make_one() {
    let (ok, said) = Blank::new(&Settings::default()).command("doctor");
    assert!(
        !ok && said.contains("run muster-server init") && !said.contains("master key"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_others_may_read_are_found() {
    let server = Server::private();
    let keys = server.state_dir().join("keys");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o755)).expect("changed");
    let (ok, said) = server.command("doctor");
    assert!(!ok, "{said}");
    let sentence = format!("Others may look into {}; run chmod go-rwx on it.", keys.display());
    assert!(said.contains(&sentence), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_its_own_doctor_learns_which_process_answers() {
    let server = Server::private();
    let name = fs::read_to_string(server.state_dir().join("instance")).expect("written at the start");
    for address in [server.registration(), server.operations()] {
        let connection = server.plain(address).await;
        let asked = muster_client::Request::get(format!("/healthz/{name}"));
        assert!(connection.send(asked).await.is_ok());
        let connection = server.plain(address).await;
        let guessed = muster_client::Request::get(format!("/healthz/{}", "0".repeat(64)));
        assert!(connection.send(guessed).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_doctor_compares_the_clocks_and_reaches_the_back_end() {
    let server = Server::shared();
    let pool = server.pool().await;
    let node = RealNode::start(server, &pool).await;
    let planned = until("its renewal is planned", async || {
        let planned = node.status()["agent"]["renewal"].clone();
        planned.as_str().map(str::to_owned)
    })
    .await;
    assert!(planned.starts_with("planned for 2"), "{planned}");
    let (_, said) = node.command("doctor");
    assert!(
        said.contains("The clocks of this node and of 127.0.0.1:"),
        "{said}"
    );
    assert!(said.contains(&format!("; its renewal is {planned}.")), "{said}");
    let reached = format!(
        "The control plane at https://{} can be reached.",
        server.back_end()
    );
    assert!(said.contains(&reached), "{said}");
    node.process().kill();
    let (_, said) = node.command("doctor");
    assert!(said.contains("; the agent renews it from 2"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_of_the_database_that_differs_is_found() {
    let url = support::database();
    let server = Server::start(&Settings {
        database_url: Some(url.clone()),
        ..Settings::default()
    });
    let (_, said) = server.command("doctor");
    assert!(!said.contains("The clock"), "{said}");
    // For whoever connects from now on, the database is two hours behind.
    support::change(
        &url,
        "CREATE SCHEMA late; \
         CREATE FUNCTION late.clock_timestamp() RETURNS timestamptz LANGUAGE sql \
         AS $$ SELECT pg_catalog.clock_timestamp() - interval '2 hours' $$; \
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = late, pg_catalog, public', current_database()); END $$",
    );
    let (ok, said) = server.command("doctor");
    assert!(!ok);
    let sentence = said
        .lines()
        .find(|line| line.contains("The clock of this machine is 7"));
    let sentence = sentence.unwrap_or_else(|| panic!("{said}"));
    assert!(
        sentence.contains(" s ahead of that of the database; set up a time service on both."),
        "{sentence}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_no_loopback_address_unless_it_is_told_to() {
    let server = Server::shared();
    let admin = server.admin().await;
    let pool = server.pool().await;
    let shown = async |node: &RealNode| {
        node.begin("join", &[]);
        until("the request waits", async || {
            let page: Value = admin.get("/api/v1/joins?state=pending&limit=1000").await;
            let items = page["items"].as_array()?;
            let mine = items.iter().find(|join| join["name"] == node.name())?;
            Some(mine["addresses"].clone())
        })
        .await
    };
    // It reaches the control plane by 127.0.0.1, and has no other address towards it.
    let silent = RealNode::folder(server, &pool, server.root());
    assert_eq!(shown(&silent).await, serde_json::json!([]));
    let told = RealNode::folder(server, &pool, server.root());
    told.configure("[node]\n", "[node]\naddresses = [\"127.0.0.1\"]\n");
    assert_eq!(shown(&told).await, serde_json::json!(["127.0.0.1"]));
}
