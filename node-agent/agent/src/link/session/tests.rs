use muster_wire::node::v1::epoch::KnownState;
use serde_json::json;

use super::*;

#[test]
fn a_state_that_is_too_large_is_not_handed_in_as_none() {
    let known = |bytes: usize| Known {
        state: Some(KnownState {
            head: json!({}),
            entries: [("a".to_owned(), "x".repeat(bytes))].into(),
        }),
    };
    let frame = serde_json::to_vec(&known(0)).expect("written").len();
    require_room(&known(MAX_KNOWN - frame)).expect("just fits");
    require_room(&Known { state: None }).expect("nothing to hand in");
    let error = require_room(&known(MAX_KNOWN - frame + 1)).expect_err("too large");
    let said = sentence(&error);
    assert!(
        said.contains("16777217 bytes") && said.contains("muster-node leave"),
        "{said}"
    );
}
