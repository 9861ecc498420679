//! Every directive of a systemd unit has its reason in `systemd/README.md`.

use crate::files;

/// What a unit is and what it starts needs no reason.
const PLAIN: [&str; 3] = ["Description", "Documentation", "ExecStart"];

#[test]
fn every_directive_has_its_reason() {
    let reasons = files::text("systemd/README.md");
    let units: Vec<_> = files::all()
        .into_iter()
        .filter(|path| path.starts_with("systemd") && !path.ends_with("README.md"))
        .filter(|path| {
            path.extension()
                .is_some_and(|kind| kind == "service" || kind == "socket")
        })
        .collect();
    assert!(units.len() > 3, "the units are there: {units:?}");
    for unit in units {
        for line in files::text(&unit).lines() {
            let Some((directive, _)) = line.split_once('=') else {
                continue;
            };
            assert!(
                line.starts_with('#')
                    || PLAIN.contains(&directive)
                    || reasons.contains(&format!("{directive}=")),
                "{}: systemd/README.md does not say why {directive}= is there",
                unit.display()
            );
        }
    }
}
