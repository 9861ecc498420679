//! Which packages a run has besides the engine's own.
//!
//! Invariant: a restricted run never has what somebody without trust chose. The list of a function is for its
//! unrestricted runs; the list that an administrator set for a place belongs to the engine there, as if it were bundled.

use muster_ids::{PackageLanguage, PackageList, PackageListError};

use crate::{Language, Mode, Settings};

impl Language {
    /// Whose packages its engine takes.
    pub fn packages(self) -> PackageLanguage {
        match self {
            Self::Python => PackageLanguage::Python,
            Self::R | Self::Terr => PackageLanguage::R,
        }
    }
}

/// The list that holds for a run: the function's `own` where it has one and the run is unrestricted, else what is set at
/// the place.
pub fn packages_of_run(
    own: &[String],
    language: Language,
    mode: Mode,
    settings: &Settings,
) -> Result<PackageList, PackageListError> {
    let language = language.packages();
    if mode == Mode::Unrestricted && !own.is_empty() {
        return PackageList::of_lines(language, own.iter().map(String::as_str));
    }
    Ok(match language {
        PackageLanguage::Python => settings.python_packages.value.clone(),
        PackageLanguage::R => settings.r_packages.value.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Origin, Setting, SettingName};

    #[test]
    fn only_an_unrestricted_run_has_the_list_of_its_function() {
        let hash = muster_ids::Digest::of(b"file");
        let mut settings = Settings::default();
        for (name, text) in [
            (SettingName::PythonPackages, format!("placed==1 --hash={hash}")),
            (SettingName::RPackages, format!("placed 1.0 {hash}")),
        ] {
            settings.set(Setting::parse(name, &text).expect("locked"), Origin::All);
        }
        let own = |language: Language| match language {
            Language::Python => format!("own==1 --hash={hash}"),
            _ => format!("own 1.0 {hash}"),
        };
        for language in [Language::R, Language::Python, Language::Terr] {
            for (lines, mode, expected) in [
                (vec![own(language)], Mode::Unrestricted, "own"),
                (vec![own(language)], Mode::Restricted, "placed"),
                (vec![], Mode::Unrestricted, "placed"),
                (vec![], Mode::Restricted, "placed"),
            ] {
                let list = packages_of_run(&lines, language, mode, &settings).expect("locked");
                let names: Vec<_> = list.packages().map(|package| package.name.as_str()).collect();
                assert_eq!(names, [expected], "{language} {mode:?}");
            }
        }
        let unlocked = packages_of_run(
            &["numpy".to_owned()],
            Language::Python,
            Mode::Unrestricted,
            &settings,
        );
        assert_eq!(unlocked.expect_err("not pinned").line, 1);
    }
}
