use super::*;

fn entries(count: usize, user: &str) -> impl Iterator<Item = (String, String)> {
    (0..count).map(move |number| (format!("revocation/{user}/{number:04}"), String::new()))
}

#[test]
fn users_make_so_many_entries_and_those_of_others_do_not_count() {
    let refused = |own: usize| {
        let all = entries(own, "eve@spotfire")
            .chain(entries(MOST_OWN, "eve@spotfires"))
            .chain(entries(MOST_OWN, "bob@spotfire"))
            .collect();
        refuse_many(&all, "revocation/eve@spotfire/", "ask an administrator")
    };
    refused(MOST_OWN - 1).expect("one more");
    let said = refused(MOST_OWN).expect_err("full").to_string();
    assert!(
        said.contains("at most 1000") && said.contains("ask an administrator"),
        "{said}"
    );
}

#[test]
fn a_certificate_is_named_as_authorities_name_them() {
    let named = |digits: usize, bytes: usize| Certificate {
        issuer: "x".repeat(bytes).parse().expect("a label"),
        serial: "1".repeat(digits).parse().expect("a number"),
    };
    refuse_long(&named(MOST_DIGITS, MOST_ISSUER)).expect("the longest");
    for (certificate, word) in [
        (named(MOST_DIGITS + 1, 1), "at most 64 hexadecimal digits"),
        (named(1, MOST_ISSUER + 1), "at most 512 bytes"),
    ] {
        let said = refuse_long(&certificate).expect_err("too long").to_string();
        assert!(said.contains(word), "{said}");
    }
}
