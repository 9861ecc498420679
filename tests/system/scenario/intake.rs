//! What requests hold: names that mislead, wishes, weak keys, keys of others, and messages of another day.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_pki::{KeyUse, Role, SoftwareSigner, csr};
use muster_tests::{Applicant, CommandLine, Server, problem, refusal, unique};
use muster_wire::node::v1::join::{HELLO_PATH, POLL_PATH, REVEAL_PATH};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn join_17_a_misleading_name_is_refused_or_escaped_and_marked() {
    let server = Server::private();
    let mut node = serde_json::to_value(&Applicant::new("terr01").await.hello).expect("JSON");
    let long = "x".repeat(65_536);
    let misleading = [
        "",
        " ",
        "-rf",
        "../../etc/passwd",
        "..\\x",
        "a\u{0}b",
        "a\nb",
        "a\rb",
        "\u{1b}[2Jgone",
        "a\u{7f}",
        "a\u{9b}31m",
        "a\u{202e}b",
        "a\u{2066}b",
        "a\u{200b}b",
        "a\u{feff}",
        "a\u{2028}b",
        "a\u{ad}b",
        " a",
        "a ",
        "a/b",
        "$(id)",
        "`id`",
        "a;b",
        "\u{e0041}",
        &long,
    ];
    for name in misleading {
        for field in ["name", "pool", "site"] {
            let mut hello = node.clone();
            hello[field] = json!(name);
            let said = problem(server.registers(HELLO_PATH, &hello).await);
            assert_eq!(said.status, 422, "{field} {name:?}");
            let shown = said.detail.chars().all(|c| !c.is_control() && c != '\u{202e}');
            assert!(shown && said.detail.len() < 1000, "{:?}", said.detail);
        }
    }
    node["name"] = json!(
        Applicant::new("01890a5d-ac96-774b-bcce-b302099a8057")
            .await
            .hello
            .name
    );
    assert_eq!(
        refusal(server.registers(HELLO_PATH, &node).await).0,
        422,
        "an identifier"
    );

    // Cyrillic letters between Latin ones cannot be forbidden: they are ordinary where people write so.
    let (honest, twin) = (
        Applicant::new("terr01").await,
        Applicant::new("t\u{435}rr01").await,
    );
    honest.apply(&server).await;
    let transcript = twin.apply(&server).await;
    let admin = server.admin().await;
    let warned = admin
        .join(transcript.join_id())
        .await
        .name_warning
        .expect("a warning");
    assert!(
        warned.contains("Latin") && warned.contains("Cyrillic"),
        "{warned}"
    );
    let muster = CommandLine::log_in(&server);
    let (_, listed, _) = muster.run(&["join", "list"]);
    let marked = listed.lines().filter(|line| line.contains("(!)")).count();
    assert!(marked == 1 && listed.contains("terr01 "), "one of both: {listed}");
    let (_, shown, _) = muster.run(&["join", "show", &transcript.join_id().to_string()]);
    assert!(shown.contains("mixes Latin and Cyrillic letters"), "{shown}");
    // What the node says of itself reaches terminals and logs escaped at the most; nothing is a file name.
    let files = std::fs::read_dir(server.state_dir()).expect("the state folder");
    let names: Vec<_> = files
        .filter_map(Result::ok)
        .map(|file| file.file_name())
        .collect();
    assert!(
        names.iter().all(|name| !name.to_string_lossy().contains("rr01")),
        "{names:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn join_18_what_a_certificate_request_asks_for_is_not_given() {
    let server = Server::shared();
    let mut node = Applicant::new(&unique("terr")).await;
    let key = KeyPair::try_from(node.key.to_pkcs8().expect("a key").as_slice()).expect("the same key");
    let mut wishes = CertificateParams::default();
    wishes
        .distinguished_name
        .push(DnType::CommonName, "administrator");
    wishes.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wishes.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let control_plane = format!("spiffe://{}/control-plane/x", server.roots().collective());
    wishes.subject_alt_names = vec![
        SanType::DnsName("localhost".try_into().expect("a name")),
        SanType::DnsName("*.example.com".try_into().expect("a name")),
        SanType::IpAddress([10, 0, 0, 1].into()),
        SanType::URI(control_plane.try_into().expect("a URI")),
    ];
    let request = wishes.serialize_request(&key).expect("a request");
    node.hello.csr = STANDARD.encode(request.der());
    let member = node.join(server).await;
    let facts = server
        .roots()
        .verify(&member.chain(), Role::Node, muster_tests::now())
        .expect("a node's certificate and nothing else");
    assert_eq!(facts.id.subject, muster_pki::Subject::Node(member.id()));
    let bytes = String::from_utf8_lossy(&member.chain()[0]).into_owned();
    assert!(
        !["administrator", "localhost", "example.com"]
            .iter()
            .any(|wish| bytes.contains(wish))
    );
}

/// Requests for keys of other kinds, each signed by its own key, as OpenSSL makes them.
const WEAK: [(&str, &str); 4] = [
    (
        "RSA of 1024 bits",
        "MIIBPzCBqQIBADAAMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDJkqxpivvHGi0CmsPCiYnbtHv6rAFr2s/5AosFK5pU+Aq34oyknWoq8OnN9Ekcn3KHgEljvPXIcvKb2XohqbQa0/TOHzV/V4nsNoSGNfR3uHdXrtkX1n0OYjcORic6FYHv36CUjlYVbQ9GciSiA8hoW/zWzpcTXIT5hXTx8iY3IQIDAQABoAAwDQYJKoZIhvcNAQELBQADgYEAepH2SJZ3XWfNMY0jAMOWk1S2HzC5fJ2Lu1vzvtMyPqEfJiU3UBF/9LgACisu0/gulXzPXi/6cfr7xuK/TZBbyWfq831M1vTbtBpj+/e786z0/ui1IhZjI/fYg0Tk/tFpsN9zHRosJSj19KfbyA8JUv6dsKRrGajf33BmORqnXCg=",
    ),
    (
        "P-192",
        "MIGaMFICAQAwADBJMBMGByqGSM49AgEGCCqGSM49AwEBAzIABNcKf715Oy/SiKcDkXVJ7LsE6Kx7UVli2GI8T3/fw7QYieMre/inwP3j/bLNFez7/qAAMAoGCCqGSM49BAMCAzgAMDUCGQDYCz1phKAIlEtB8OJbtcMg5OWtwspR5OICGBbXJVBe2XMXSlcqUDZERG7DOPifYGgaIA==",
    ),
    (
        "P-224",
        "MIGoMFcCAQAwADBOMBAGByqGSM49AgEGBSuBBAAhAzoABAj1QqvlXGdDmXvyLrzL7NhnAcTfqPM4JqbE3KsPZCB9tt0tSbCKjktCFlZBDrgCkDh79fIyWTJWoAAwCgYIKoZIzj0EAwIDQQAwPgIdANpl/5GbO+ihzWcVxcYYAYFww1ZqxpcirYYbEWsCHQCalpdlOx3FtfVKImyarFpq+qZ3tkDunlqjBxLs",
    ),
    (
        "Ed25519",
        "MH8wMwIBADAAMCowBQYDK2VwAyEAI7EjbqlY9geoTjc1xjDbfe+GD4gSymlQCq4k34LVptOgADAFBgMrZXADQQCu6Fe6QC3/P1tX/dRQrUO28xzCKPNe7/qLkC4CfEtQDcAetWhFNrxkxIXSjNEU7s259DPiUOAuw3JCg0CNbnAD",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn join_19_a_weak_key_or_one_that_is_no_point_of_the_curve_is_refused() {
    let server = Server::shared();
    let mut node = Applicant::new(&unique("terr")).await;
    let good = STANDARD.decode(&node.hello.csr).expect("base64");
    let point = good
        .windows(3)
        .position(|window| window == [0x42, 0x00, 0x04])
        .map(|at| at + 2)
        .expect("an uncompressed point");
    let with_point = |point_bytes: &[u8]| {
        let mut request = good.clone();
        request[point..point + point_bytes.len()].copy_from_slice(point_bytes);
        request
    };
    let mut cases: Vec<(String, Vec<u8>)> = WEAK
        .iter()
        .map(|(what, request)| ((*what).to_owned(), STANDARD.decode(request).expect("base64")))
        .collect();
    cases.push(("all zero".to_owned(), with_point(&[0; 65])));
    cases.push((
        "zero coordinates".to_owned(),
        with_point(&[&[4][..], &[0; 64]].concat()),
    ));
    cases.push((
        "beyond the field".to_owned(),
        with_point(&[&[4][..], &[0xff; 64]].concat()),
    ));
    cases.push(("a compressed point".to_owned(), with_point(&[2])));
    // Points of small order of Curve25519 (RFC 7748 6.1, 7), as keys for signatures and for key agreement.
    let edwards = STANDARD.decode(WEAK[3].1).expect("base64");
    let oid = edwards
        .windows(3)
        .position(|window| window == [0x2b, 0x65, 0x70])
        .expect("its name");
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    for (order, small) in [("zero", [0; 32]), ("one", one), ("minus one", minus_one)] {
        for kind in [0x70, 0x6e] {
            let mut request = edwards.clone();
            request[oid + 2] = kind;
            // After the name of the algorithm: a bit string of 33 bytes, the first of which counts unused bits.
            request[oid + 6..oid + 38].copy_from_slice(&small);
            cases.push((format!("{order} on curve {kind:x}"), request));
        }
    }
    for (what, request) in cases {
        node.hello.csr = STANDARD.encode(request);
        let said = problem(server.registers(HELLO_PATH, &node.hello).await);
        assert_eq!(said.status, 422, "{what}");
        assert!(
            said.detail.contains("a key that is not accepted"),
            "{what}: {}",
            said.detail
        );
    }
    node.hello.csr = STANDARD.encode(good);
    server
        .registers(HELLO_PATH, &node.hello)
        .await
        .expect("the key itself is good");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_20_a_request_for_a_key_that_its_sender_does_not_hold_is_refused() {
    let server = Server::shared();
    let mut node = Applicant::new(&unique("terr")).await;
    let other = SoftwareSigner::generate(KeyUse::Tls).expect("a key");
    // The other's request is genuine, but the reveal cannot be signed by its key.
    node.hello.csr = STANDARD.encode(csr::request(&other).await.expect("a request"));
    let offered = node.greet(server).await;
    let reveal = node.reveal(&offered).await;
    assert_eq!(refusal(server.registers(REVEAL_PATH, &reveal).await).0, 422);
    // A request that its own key did not sign does not get that far.
    let mut request = STANDARD.decode(&node.hello.csr).expect("base64");
    *request.last_mut().expect("some bytes") ^= 1;
    node.hello.csr = STANDARD.encode(request);
    let said = problem(server.registers(HELLO_PATH, &node.hello).await);
    assert!(
        said.detail.contains("not signed by its own key"),
        "{}",
        said.detail
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn join_21_an_unknown_suite_type_or_field_is_refused() {
    let server = Server::shared();
    let node = Applicant::new(&unique("terr")).await;
    let offered = node.greet(server).await;
    let transcript = node.transcript(&offered);
    let messages = [
        (HELLO_PATH, serde_json::to_value(&node.hello)),
        (REVEAL_PATH, serde_json::to_value(node.reveal(&offered).await)),
        (POLL_PATH, serde_json::to_value(node.poll(&transcript, 1).await)),
    ];
    for (path, message) in messages {
        let good = message.expect("JSON");
        let mut cases = Vec::new();
        for kind in ["", "hi", "HELLO", "answer", "cancel"] {
            cases.push(("type", json!(kind)));
        }
        cases.push(("type", Value::Null));
        cases.push(("role", json!("administrator")));
        cases.push(("version", json!(2)));
        if path == HELLO_PATH {
            for suite in ["", "muster-join/2", "muster-join/1 ", "MUSTER-JOIN/1"] {
                cases.push(("suite", json!(suite)));
            }
        }
        for (field, value) in cases {
            let mut message = good.clone();
            message[field] = value.clone();
            let said = problem(server.registers(path, &message).await);
            assert_eq!(said.status, 422, "{path} {field} = {value}: {}", said.detail);
        }
        // Each message at the address of another.
        for other in [HELLO_PATH, REVEAL_PATH, POLL_PATH]
            .into_iter()
            .filter(|other| *other != path)
        {
            assert_eq!(
                refusal(server.registers(other, &good).await).0,
                422,
                "{path} at {other}"
            );
        }
        let list: Vec<&Value> = good.as_object().expect("an object").values().collect();
        assert_eq!(
            refusal(server.registers(path, &list).await).0,
            422,
            "a list in its place"
        );
    }
    let reveal = node.reveal(&offered).await;
    server
        .registers(REVEAL_PATH, &reveal)
        .await
        .expect("as it was, it is good");
}
