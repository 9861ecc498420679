//! The wall clock of one program, which tests set wrong while it runs.

use std::{fs, path::PathBuf};

use crate::process::folder;

/// A wall clock that is as wrong as it was last set, for programs with crash points.
pub struct WrongClock(PathBuf);

impl WrongClock {
    /// One that goes wrong by so many milliseconds.
    pub fn off_by(ms: i64) -> Self {
        let clock = Self(folder("clock").join("off"));
        clock.set(ms);
        clock
    }

    /// From now on it is wrong by this.
    pub fn set(&self, ms: i64) {
        let new = self.0.with_extension("new");
        fs::write(&new, ms.to_string())
            .and_then(|()| fs::rename(&new, &self.0))
            .expect("write a file");
    }

    /// What a program has in its environment whose clock this is.
    pub fn variable(&self) -> (&str, &str) {
        ("MUSTER_WALL_CLOCK_OFF", self.0.to_str().expect("a path in UTF-8"))
    }
}
