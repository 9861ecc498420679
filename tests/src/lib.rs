//! What the tests of the whole share.

#![forbid(unsafe_code)]

mod golden;

pub use golden::golden;

use std::path::Path;

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the folder tests is in the workspace")
}
