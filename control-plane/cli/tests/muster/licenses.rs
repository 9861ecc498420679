//! The documented commands about groups and licenses, against a front end that gives prepared answers.

use crate::{program::Home, server::Server};

#[test]
fn who_may_not_change_licenses_is_refused_for_the_change_that_they_tried() {
    let server = Server::start();
    let change = "PUT /api/v1/groups/Staff/licenses";
    server.refuse(
        change,
        403,
        "not-allowed",
        "ann may not set licenses of the group Staff",
    );
    let home = Home::at(&server);
    for command in ["set-license", "remove-license"] {
        let line = [
            "compat",
            command,
            "-g",
            "SPOTFIRE\\Staff",
            "-l",
            "Spotfire.Dxp.Extensions",
        ];
        let complaint = home.muster(&line).complaint(1);
        assert_eq!(complaint, "ann may not set licenses of the group Staff\n");
    }
    assert_eq!(server.asked(change).len(), 2);
    assert!(server.asked("GET").is_empty(), "nothing was read before");
    server.refuse(
        "GET /api/v1/licenses?limit=1000",
        403,
        "not-allowed",
        "ann may not read what only administrators see",
    );
    let complaint = home
        .muster(&["compat", "delete-obsolete-licenses", "-f"])
        .complaint(1);
    assert!(
        complaint.contains("take functions from groups") && complaint.contains("Administrator"),
        "{complaint}"
    );
}

#[test]
fn a_file_of_groups_that_is_not_there_or_unreadable_is_wrong_usage() {
    let home = Home::at(&Server::start());
    let complaint = home
        .muster(&["compat", "import-groups", "absent.txt"])
        .complaint(2);
    assert!(complaint.contains("absent.txt"), "{complaint}");
    let broken = home.write("broken.csv", "Staff,,\n");
    let complaint = home.muster(&["compat", "import-groups", &broken]).complaint(2);
    assert!(
        complaint.contains("broken.csv") && complaint.contains("nothing was changed"),
        "{complaint}"
    );
}
