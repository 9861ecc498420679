use muster_ids::Digest;

use super::*;

fn at(incarnation: u8, epoch: u64, number: u64) -> TrustHead {
    TrustHead {
        incarnation: Incarnation::new(1, [incarnation; 10]),
        epoch,
        number,
        digest: Digest::of(&number.to_be_bytes()),
        previous: Digest::of(b"before"),
    }
}

#[test]
fn a_database_that_a_node_is_ahead_of_serves_it_only_from_a_later_epoch() {
    let ours = at(1, 2, 7);
    for theirs in [at(1, 2, 7), at(1, 2, 3), at(3, 1, 90)] {
        assert_eq!(judge(&ours, &theirs), Ok(()), "{theirs:?}");
    }
    let fork = TrustHead {
        digest: Digest::of(b"other"),
        ..at(1, 2, 7)
    };
    for (theirs, kind) in [
        (at(1, 2, 8), "older-database"),
        (at(2, 3, 1), "older-database"),
        (at(2, 2, 7), "second-copy"),
        (fork, "second-copy"),
    ] {
        let (found, detail) = judge(&ours, &theirs).expect_err("not the present database");
        assert_eq!(found, kind);
        assert!(detail.contains("stop"), "{detail}");
    }
}
