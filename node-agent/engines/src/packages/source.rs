//! Finds the files of a locked list in the folders that the node's administrator named.
//!
//! Invariant: a file is copied to a folder of the agent's own first, and the copy is what is hashed and what anything
//! reads later. A copy whose digest the list does not name is removed at once.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use muster_ids::{Digest, Package, PackageLanguage, PackageList, python_name};

use super::PackagesError;

/// A verified copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verified {
    /// As the source has it.
    pub(super) name: String,
    /// The copy.
    pub(super) path: PathBuf,
}

/// Copies and verifies what `list` names. Blocks.
pub(super) fn collect(
    list: &PackageList,
    sources: &[PathBuf],
    into: &Path,
    most_bytes: u64,
) -> Result<Vec<Verified>, PackagesError> {
    if sources.is_empty() {
        return Err(PackagesError::NoSources);
    }
    let offered = offered(list.language(), sources)?;
    let mut found = Vec::new();
    let mut room = most_bytes;
    for package in list.packages() {
        let (mut other, mut names) = (None, BTreeSet::new());
        for path in &offered {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if names.contains(name) || !fits(list.language(), package, name) {
                continue;
            }
            let copy = into.join(name);
            let stored = |source| PackagesError::Store {
                path: path.clone(),
                source,
            };
            let size = copied(path, &copy, room).map_err(stored)?;
            if size > room {
                fs::remove_file(&copy).map_err(stored)?;
                return Err(PackagesError::TooLarge { bytes: most_bytes });
            }
            let (digest, _) = fs::File::open(&copy)
                .and_then(Digest::of_reader)
                .map_err(stored)?;
            if package.digests.contains(&digest) {
                room -= size;
                names.insert(name.to_owned());
            } else {
                fs::remove_file(&copy).map_err(stored)?;
                other.get_or_insert((path.clone(), digest));
            }
        }
        if !names.is_empty() {
            found.extend(names.into_iter().map(|name| Verified {
                path: into.join(&name),
                name,
            }));
            continue;
        }
        return Err(match other {
            Some((file, found)) => PackagesError::WrongHash {
                package: Box::new(package.clone()),
                file,
                found,
            },
            None => PackagesError::Missing {
                package: Box::new(package.clone()),
                wanted: wanted(list.language(), package),
                sources: sources.to_vec(),
            },
        });
    }
    Ok(found)
}

/// The lines of those packages of which no source has a file by name. Blocks.
pub(super) fn missing(list: &PackageList, sources: &[PathBuf]) -> Result<Vec<String>, PackagesError> {
    let offered = offered(list.language(), sources)?;
    let names: BTreeSet<&str> = offered
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    let packages = list.packages().zip(list.lines());
    let missing =
        packages.filter(|(package, _)| !names.iter().any(|name| fits(list.language(), package, name)));
    Ok(missing.map(|(_, line)| line).collect())
}

/// Every file of the sources; of a repository of R's own kind those below `src/contrib`, too.
fn offered(language: PackageLanguage, sources: &[PathBuf]) -> Result<Vec<PathBuf>, PackagesError> {
    let mut offered = Vec::new();
    for source in sources {
        let mut folders = vec![source.clone()];
        if language == PackageLanguage::R {
            folders.push(source.join("src/contrib"));
        }
        for folder in folders {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if folder != *source && error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(PackagesError::Source {
                        path: folder,
                        source: error,
                    });
                }
            };
            let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            offered.extend(paths.into_iter().filter(|path| path.is_file()));
        }
    }
    Ok(offered)
}

/// Copies at most one byte more than there is room for, and says how many.
fn copied(from: &Path, to: &Path, room: u64) -> io::Result<u64> {
    let mut copy = fs::OpenOptions::new().write(true).create_new(true).open(to)?;
    let file = fs::File::open(from)?;
    io::copy(&mut file.take(room.saturating_add(1)), &mut copy)
}

/// Whether a file of this name is one of the package.
fn fits(language: PackageLanguage, package: &Package, file: &str) -> bool {
    match language {
        PackageLanguage::Python => {
            let parts: Vec<&str> = file
                .strip_suffix(".whl")
                .map_or_else(Vec::new, |stem| stem.split('-').collect());
            // name, version, perhaps a build, Python, ABI, platform
            matches!(parts.len(), 5 | 6)
                && python_name(parts[0]) == package.name
                && parts[1].replace('_', "-") == package.version.replace('_', "-")
        }
        PackageLanguage::R if package.is_of_debian() => {
            let stem = debian_stem(package);
            let architecture = file
                .strip_prefix(&stem)
                .and_then(|rest| rest.strip_suffix(".deb"));
            architecture.is_some_and(|name| !name.is_empty() && !name.contains('_'))
        }
        PackageLanguage::R => file == format!("{}_{}.tar.gz", package.name, package.version),
    }
}

fn debian_stem(package: &Package) -> String {
    format!("{}_{}_", package.name, package.version.replace(':', "%3a"))
}

/// The name of the file that is missing, for people.
fn wanted(language: PackageLanguage, package: &Package) -> String {
    match language {
        PackageLanguage::Python => {
            format!("{}-{}-….whl", package.name.replace('-', "_"), package.version)
        }
        PackageLanguage::R if package.is_of_debian() => format!("{}….deb", debian_stem(package)),
        PackageLanguage::R => format!("{}_{}.tar.gz", package.name, package.version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(language: PackageLanguage, lines: &[String]) -> PackageList {
        PackageList::of_lines(language, lines.iter().map(String::as_str)).expect("locked")
    }

    fn wheel(content: &[u8]) -> PackageList {
        list(
            PackageLanguage::Python,
            &[format!("six-x==1.0 --hash={}", Digest::of(content))],
        )
    }

    #[test]
    fn files_are_told_by_their_names() {
        let hash = Digest::of(b"x");
        let python = list(
            PackageLanguage::Python,
            &[format!("Six.X==1.0+cpu --hash={hash}")],
        );
        let package = python.packages().next().expect("one");
        for (file, expected) in [
            ("six_x-1.0+cpu-py3-none-any.whl", true),
            ("SIX_x-1.0+cpu-1-cp311-cp311-linux_x86_64.whl", true),
            ("six_x-1.0-py3-none-any.whl", false),
            ("six_xy-1.0+cpu-py3-none-any.whl", false),
            ("six_x-1.0+cpu.tar.gz", false),
            ("six_x-1.0+cpu.whl", false),
        ] {
            assert_eq!(fits(PackageLanguage::Python, package, file), expected, "{file}");
        }
        let r = list(
            PackageLanguage::R,
            &[format!("r-cran-a.b 1:2.0-1 {hash}"), format!("a.b 2.0 {hash}")],
        );
        let packages: Vec<_> = r.packages().collect();
        let (own, debian) = (packages[0], packages[1]);
        assert!(fits(PackageLanguage::R, debian, "r-cran-a.b_1%3a2.0-1_all.deb"));
        assert!(!fits(PackageLanguage::R, debian, "r-cran-a.b_1%3a2.0-1_.deb"));
        assert!(!fits(PackageLanguage::R, debian, "r-cran-a.b_1%3a2.0-11_all.deb"));
        assert!(fits(PackageLanguage::R, own, "a.b_2.0.tar.gz"));
        assert!(!fits(PackageLanguage::R, own, "axb_2.0.tar.gz"));
    }

    #[test]
    fn a_file_is_taken_only_with_a_digest_of_the_list() {
        let (source, other) = (
            tempfile::tempdir().expect("a folder"),
            tempfile::tempdir().expect("a folder"),
        );
        let name = "six_x-1.0-py3-none-any.whl";
        let sources = [source.path().to_owned(), other.path().to_owned()];
        let collect = |list: &PackageList| {
            let into = tempfile::tempdir().expect("a folder");
            let found = collect(list, &sources, into.path(), 100);
            let left = fs::read_dir(into.path()).expect("listed").count();
            assert_eq!(
                left,
                found.as_ref().map_or(0, Vec::len),
                "what is not verified is gone"
            );
            found.map(|found| found.into_iter().map(|file| file.name).collect::<Vec<_>>())
        };
        let error = collect(&wheel(b"good")).expect_err("missing").to_string();
        assert!(
            error.contains("six_x-1.0-….whl") && error.contains("put it into"),
            "{error}"
        );
        fs::write(source.path().join(name), "evil").expect("written");
        let error = collect(&wheel(b"good")).expect_err("wrong").to_string();
        let evil = Digest::of(b"evil").to_string();
        assert!(error.contains(&evil) && error.contains(name), "{error}");
        // Another folder has the right one.
        fs::write(other.path().join(name), "good").expect("written");
        assert_eq!(collect(&wheel(b"good")).expect("found"), [name]);
        fs::write(other.path().join(name), [7; 101]).expect("written");
        let error = collect(&wheel(&[7; 101])).expect_err("too large").to_string();
        assert!(error.contains("packages.set_mib"), "{error}");
    }

    #[test]
    fn a_source_that_is_no_folder_is_named() {
        let into = tempfile::tempdir().expect("a folder");
        let gone = into.path().join("gone");
        let error = collect(&wheel(b"x"), &[gone], into.path(), 9).expect_err("gone");
        assert!(error.to_string().contains("gone"), "{error}");
        let error = collect(&wheel(b"x"), &[], into.path(), 9)
            .expect_err("none")
            .to_string();
        assert!(error.contains("packages.sources"), "{error}");
    }
}
