use super::*;

fn token() -> JoinToken {
    JoinToken {
        id: TokenId::new(1, [1; 10]),
        public_key: [1; 32],
        capabilities: vec![Capability::Terr, Capability::R],
        pool: "default".parse().expect("name"),
        site: "north".parse().expect("name"),
        name: Some("terr-*".parse().expect("pattern")),
        address: Some("10.0.0.0/8".parse().expect("pattern")),
        uses: 2,
        used: 0,
        created_at: 0,
        created_by: "user ann@SPOTFIRE".into(),
        expires_at: 1_000,
        revoked_at: None,
        reason: None,
        refused: 0,
        last_refused: None,
    }
}

fn applicant() -> Applicant {
    Applicant {
        name: "terr-01".parse().expect("name"),
        capabilities: vec![Capability::R],
        pool: None,
        site: Some("North".parse().expect("name")),
        addresses: vec!["192.0.2.1".into()],
        agent_version: "0.1.0".into(),
        asked_at: 0,
    }
}

#[test]
fn a_token_ends_by_use_time_or_an_administrator() {
    assert_eq!(token().state(999), TokenState::Live);
    assert_eq!(token().state(1_000), TokenState::Expired);
    let spent = JoinToken { used: 2, ..token() };
    assert_eq!(spent.state(0), TokenState::Spent);
    assert_eq!(spent.may_be_used(true, 0), Ok(()));
    assert_eq!(
        spent.may_be_used(false, 0),
        Err(TokenRefused::Over(TokenState::Spent))
    );
    assert_eq!(
        spent.may_be_used(true, 1_000),
        Err(TokenRefused::Over(TokenState::Expired))
    );
    let revoked = JoinToken {
        revoked_at: Some(1),
        ..spent
    };
    assert_eq!(
        revoked.may_be_used(true, 0),
        Err(TokenRefused::Over(TokenState::Revoked))
    );
}

#[test]
fn a_token_grants_its_place_and_never_more_than_it_says() {
    let source = IpAddr::from([10, 1, 2, 3]);
    let granted = token().grant(&applicant(), source).expect("granted");
    assert_eq!(
        (granted.pool, granted.site, granted.capabilities),
        (Some(token().pool), Some(token().site), vec![Capability::R])
    );
    let python = Applicant {
        capabilities: vec![Capability::R, Capability::Python],
        ..applicant()
    };
    let named = Applicant {
        name: "web-01".parse().expect("name"),
        ..applicant()
    };
    let elsewhere = Applicant {
        pool: Some("gpu".parse().expect("name")),
        ..applicant()
    };
    for (applicant, source, why) in [
        (python, source, "other capability"),
        (named, source, "other name"),
        (elsewhere, source, "other pool"),
        // What a node says of its addresses does not count.
        (
            Applicant {
                addresses: vec!["10.0.0.1".into()],
                ..applicant()
            },
            IpAddr::from([192, 0, 2, 1]),
            "other address",
        ),
    ] {
        let refused = token().grant(&applicant, source).expect_err(why);
        assert_eq!((refused.as_str(), refused.may_be_told()), (why, true));
    }
}

#[test]
fn a_stranger_is_told_nothing_about_a_token() {
    let hidden = [
        TokenRefused::Unknown,
        TokenRefused::Proof,
        TokenRefused::Over(TokenState::Spent),
        TokenRefused::Over(TokenState::Expired),
        TokenRefused::Over(TokenState::Revoked),
    ];
    assert!(hidden.iter().all(|refused| !refused.may_be_told()));
}
