//! Keeping sets, without an engine: what is built is put into `work/tree` by hand.

use std::{cell::RefCell, os::unix::fs::PermissionsExt as _};

use super::*;

struct World {
    config: PackagesConfig,
    sets: PackageSets,
    forgotten: RefCell<Vec<PathBuf>>,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(most: usize, total_bytes: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = PackagesConfig {
            folder: folder.path().join("packages"),
            sources: Vec::new(),
            indexes: Vec::new(),
            index_hosts: BTreeSet::new(),
            sets: most,
            total_bytes,
            set_bytes: 1000,
            patience: Duration::from_mins(1),
        };
        make_folder(&config.folder).expect("made");
        Self {
            config,
            sets: PackageSets::default(),
            forgotten: RefCell::default(),
            _folder: folder,
        }
    }

    /// A build whose only file is `name`, of so many bytes.
    fn built(&self, name: &str, bytes: usize) -> Digest {
        let tree = self.config.folder.join("work/tree");
        tree::remove(&tree).expect("removed");
        make_folder(&tree).expect("made");
        fs::write(tree.join(name), vec![b'x'; bytes]).expect("written");
        tree::digest(&tree).expect("read").0
    }

    fn keep(&self, name: &str, bytes: usize) -> Result<PackageSet, PackagesError> {
        let digest = self.built(name, bytes);
        let forget = |folder: &Path| self.forgotten.borrow_mut().push(folder.to_owned());
        let kept = self
            .sets
            .keep(&self.config, &wanted(&list(name)), digest, bytes as u64, &forget);
        // As the end of a build does.
        tree::remove(&self.config.folder.join("work")).expect("removed");
        kept
    }

    fn ready(&self, name: &str) -> Option<PackageSet> {
        self.sets.ready(&self.config, &wanted(&list(name)))
    }

    fn count(&self, folder: &str) -> usize {
        fs::read_dir(self.config.folder.join(folder)).map_or(0, Iterator::count)
    }
}

fn list(name: &str) -> PackageList {
    let line = format!("{name} 1.0 {}", Digest::of(name.as_bytes()));
    PackageList::of_lines(PackageLanguage::R, [line.as_str()]).expect("locked")
}

fn wanted(list: &PackageList) -> Wanted<'_> {
    Wanted {
        list,
        version: "4.2.2",
    }
}

#[test]
fn a_set_is_found_by_its_list_and_by_the_version_of_the_engine() {
    let world = World::new(4, 1000);
    assert!(world.ready("aa").is_none());
    let set = world.keep("aa", 3).expect("kept");
    assert_eq!(world.ready("aa").expect("there").digest, set.digest);
    assert!(world.ready("bb").is_none());
    let list = list("aa");
    let other = Wanted {
        list: &list,
        version: "4.3.0",
    };
    assert!(world.sets.ready(&world.config, &other).is_none());
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&set.folder), 0o555);
    assert_eq!(mode(&set.folder.join("aa")), 0o444);
    verify(&set.folder).expect("as it was built");
}

#[test]
fn a_set_that_was_changed_is_refused_and_taken_away() {
    for change in ["content", "name", "more", "link"] {
        let world = World::new(4, 1000);
        let set = world.keep("aa", 3).expect("kept");
        let inside = |name: &str| set.folder.join(name);
        for path in [set.folder.clone(), inside("aa")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("changed");
        }
        match change {
            "content" => fs::write(inside("aa"), "xxy").expect("written"),
            "name" => fs::rename(inside("aa"), inside("bb")).expect("renamed"),
            "more" => fs::write(inside("bb"), "").expect("written"),
            _ => std::os::unix::fs::symlink("/etc/passwd", inside("bb")).expect("made"),
        }
        let error = verify(&set.folder).expect_err(change);
        assert!(
            error.contains("was changed after it was built") && error.contains("built again"),
            "{error}"
        );
        assert!(!set.folder.exists() && world.ready("aa").is_none(), "{change}");
        world.keep("aa", 3).expect("built again");
        verify(&world.ready("aa").expect("there").folder).expect("whole");
    }
}

#[test]
fn the_least_recently_used_set_makes_room_unless_it_is_in_use() {
    let world = World::new(2, 100);
    let used = world.keep("aa", 40).expect("kept");
    for (name, second) in [("aa", 1), ("bb", 2)] {
        let set = world.keep(name, 40).expect("kept");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        fs::File::open(&set.folder)
            .and_then(|opened| opened.set_modified(at))
            .expect("set");
    }
    // The older one is in use, so the other goes.
    world.keep("cc", 40).expect("kept");
    assert!(world.ready("aa").is_some() && world.ready("bb").is_none());
    assert_eq!(world.forgotten.borrow().len(), 1);
    let both = world.ready("cc").expect("there");
    let error = world.keep("dd", 10).expect_err("all in use").to_string();
    assert!(error.contains("packages.sets"), "{error}");
    drop(used);
    // By bytes: two must go, of which one is in use.
    let error = world.keep("dd", 61).expect_err("too large").to_string();
    assert!(error.contains("no room"), "{error}");
    drop(both);
    world.keep("ee", 90).expect("kept");
    assert_eq!(
        (world.count("lists"), world.count("sets")),
        (1, 2),
        "a set and its size"
    );
    assert!(matches!(world.keep("ff", 101), Err(PackagesError::NoRoom)));
}

#[test]
fn what_a_crash_leaves_is_used_or_removed() {
    let world = World::new(2, 1000);
    // Between the set and the list that names it, and before it was made read-only.
    let digest = world.built("aa", 5);
    make_folder(&world.config.folder.join("sets")).expect("made");
    let place = set_folder(&world.config, &digest);
    fs::rename(world.config.folder.join("work/tree"), &place).expect("renamed");
    assert!(world.ready("aa").is_none());
    assert_eq!(world.keep("aa", 5).expect("the same content").digest, digest);
    verify(&place).expect("whole");
    // A list that names a set that is not there, and half a list.
    let entries = world.config.folder.join("lists");
    for text in [
        Digest::of(b"gone").to_string(),
        "sha256:12".to_owned(),
        String::new(),
    ] {
        fs::write(entry(&world.config, &wanted(&list("bb"))), text).expect("written");
        assert!(world.ready("bb").is_none());
    }
    assert!(entries.is_dir() && world.keep("bb", 5).is_ok());
    assert!(world.ready("bb").is_some());
}
