//! Signatures verified by whoever has the item, the signature and the roots, and nobody to ask.

use muster_tests::Server;
use serde_json::{Value, json};

use super::{
    ROOTS,
    files::{ADMIN, Desk},
};
use crate::trust::send;

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_verified_from_its_file_its_signature_and_the_roots_alone() {
    let server = Server::private();
    let desk = Desk::of(&server, "offline");
    let definition = |script: &str, name: &str| {
        desk.write("f.R", script);
        let fields = "language = \"r\"\nscript_file = \"f.R\"\n[[inputs]]\nname = \"x\"\nkind = \"value\"\ntypes = [\"Real\"]\n";
        desk.write("f.toml", format!("name = \"{name}\"\n{fields}"))
    };
    let function = definition("y <- x\n", "mean");
    let script = desk.write("refresh.py", "print(page)\n");
    let query = desk.write("sales.sql", "select 1\n");
    let action = desk.write("order.json", "{\"service\":\"orders\"}");
    let rose = desk.rose("<p>rose</p>");
    let kinds: [(&str, &[&str]); 6] = [
        ("data_function", &["--definition", &function]),
        ("script", &[&script, "--parameter", "page:String"]),
        ("job_script", &[&script, "--kind", "job_script"]),
        ("custom_query", &[&query]),
        ("external_action", &["--action", &action]),
        ("visualization_mod", &[&rose]),
    ];
    for (kind, source) in kinds {
        let signature = desk.at(&format!("{kind}.sig.json"));
        let options = ["trust", "sign", "--user", ADMIN, "--save", &signature];
        let said = desk.done(&[&options[..], source].concat());
        assert!(said.starts_with(&format!("{kind} sha")), "{said}");
    }
    // The file and the library agree about what the function is.
    desk.done(&["function", "register", &function]);
    assert!(
        desk.done(&["trust", "verify", "--function", "mean"])
            .contains("valid")
    );
    let admin = server.admin().await;
    let root: Value = send(&admin, &format!("{ROOTS}/internal"), &json!({}))
        .await
        .expect("the root");
    let roots = desk.write("roots.pem", root["pem"].as_str().expect("PEM"));
    drop(admin);
    drop(server);

    let verify = |kind: &str, source: &[&str]| {
        let signature = desk.at(&format!("{kind}.sig.json"));
        let options = ["trust", "verify", "--roots", &roots, "--signature", &signature];
        let (code, said, complained) = desk.muster.run(&[&options[..], source].concat());
        (code, said + &complained)
    };
    for (kind, source) in kinds {
        let (code, said) = verify(kind, source);
        assert!(
            code == Some(0) && said.contains("valid") && said.contains(ADMIN),
            "{kind}: {said}"
        );
    }
    // The name of a function is no part of what is signed.
    definition("y <- x\n", "median");
    assert_eq!(verify("data_function", &["--definition", &function]).0, Some(0));
    // However a configuration is written, it is the same one.
    desk.write("order.json", "{ \"service\": \"orders\" }\n");
    assert_eq!(verify("external_action", &["--action", &action]).0, Some(0));

    definition("y <- 2 * x\n", "mean");
    desk.write("refresh.py", "print(Page)\n");
    desk.write("sales.sql", "select 2\n");
    desk.write("order.json", "{\"service\":\"returns\"}");
    desk.rose("<p>Rose</p>");
    for (kind, source) in kinds {
        let (code, said) = verify(kind, source);
        assert!(code == Some(1) && said.contains("modified"), "{kind}: {said}");
    }
    // One signature is none of another kind, and another declaration is another script.
    let (code, said) = verify("job_script", &[&script, "--parameter", "page:String"]);
    assert!(code == Some(1) && said.contains("modified"), "{said}");
}
