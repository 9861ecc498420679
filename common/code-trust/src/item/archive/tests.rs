use proptest::prelude::*;

use super::*;

const MANIFEST: &str = r#"{"apiVersion":"1.2","version":"1.0","name":"Rose","id":"rose","icon":"icon.svg","files":["index.html","js/größe.js"]}"#;

fn archive(signature: Option<&str>) -> ModArchive {
    let files = [
        ("icon.svg", "<svg/>".to_owned()),
        ("index.html", "<p>rose</p>\n".repeat(100)),
        ("js/größe.js", String::new()),
    ];
    ModArchive {
        manifest: MANIFEST.into(),
        files: files
            .into_iter()
            .map(|(path, content)| (path.parse().expect("a path"), content.into_bytes()))
            .collect(),
        signature: signature.map(|text| text.as_bytes().to_vec()),
        others: Vec::new(),
    }
}

/// An archive with the files of the mod and these.
fn with(others: &[(&str, &[u8])]) -> Vec<u8> {
    let rose = archive(None);
    let mut all: Vec<(&str, &[u8])> = vec![(MOD_MANIFEST, &rose.manifest)];
    all.extend(
        rose.files
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_slice())),
    );
    all.extend(others);
    write(&all).expect("an archive")
}

#[test]
fn what_is_packed_is_unpacked_and_is_the_same_item_as_the_folder() {
    for signature in [None, Some("{}")] {
        let packed = archive(signature);
        let bytes = packed.to_bytes().expect("an archive");
        let read = ModArchive::read(&bytes).expect("a mod");
        assert_eq!(read, packed);
        let digests = packed
            .files
            .iter()
            .map(|(path, content)| (path.as_str(), Sha512::of(content)));
        let folder = Item::of_mod(MANIFEST.into(), digests).expect("a mod");
        assert_eq!(read.item().expect("a mod").hash(), folder.hash());
    }
}

#[test]
fn what_the_manifest_does_not_name_is_no_part_of_the_mod_and_is_not_unpacked() {
    let others: [(&str, &[u8]); 2] = [("_rels/.rels", b"x"), ("notes.txt", b"not signed")];
    let read = ModArchive::read(&with(&others)).expect("a mod");
    let names: Vec<&str> = read.others.iter().map(ItemPath::as_str).collect();
    assert_eq!(names, ["_rels/.rels", "notes.txt"]);
    assert_eq!(
        read.item().expect("a mod").hash(),
        archive(None).item().expect("a mod").hash()
    );
    let again = ModArchive::read(&read.to_bytes().expect("an archive")).expect("a mod");
    assert!(again.others.is_empty());
}

#[test]
fn an_archive_that_could_be_read_in_two_ways_is_refused() {
    for name in [
        "../x",
        "/x",
        "C:/x",
        "a\\b",
        "a/../b",
        "INDEX.HTML",
        "index.html/x",
        "icon.svg",
        "JS/größe.js",
        "con",
    ] {
        assert!(ModArchive::read(&with(&[(name, b"x")])).is_err(), "{name}");
    }
    let plain = with(&[]);
    let refused = |bytes: &[u8]| assert!(matches!(ModArchive::read(bytes), Err(ArchiveError::Form(_))));
    refused(&[b"prefix".as_slice(), &plain].concat());
    refused(&[&plain, b"comment".as_slice()].concat());
    refused(b"");
    // One file more in front of the directory than it names, which a reader from the front would see.
    let (hidden, start) = (
        write(&[("x", b"y")]).expect("an archive"),
        plain.len() - END_BYTES,
    );
    let header = hidden
        .windows(4)
        .position(|four| four == 0x0201_4b50_u32.to_le_bytes())
        .expect("a directory");
    let at = u32::from_le_bytes(plain[start + 16..start + 20].try_into().expect("four bytes"));
    let at_directory = usize::try_from(at).expect("small");
    let mut both = plain[..at_directory].to_vec();
    both.extend(&hidden[..header]);
    both.extend(&plain[at_directory..start]);
    let mut end = plain[start..].to_vec();
    end[16..20].copy_from_slice(&u32::try_from(at_directory + header).expect("small").to_le_bytes());
    both.extend(end);
    refused(&both);
    // A folder that is a file as well, and one that leads out.
    for folder in ["index.html/", "../../x/"] {
        let folders: [(&str, &[u8]); 2] = [(folder, b""), ("index.html", b"x")];
        refused(&write(&folders).expect("an archive"));
    }
    // The last record says more: what stands there could be another directory, in ZIP64, for who looks for one.
    let more = |kind: u16, field: &[u8]| {
        let mut extra = kind.to_le_bytes().to_vec();
        extra.extend(u16::try_from(field.len()).expect("short").to_le_bytes());
        extra.extend(field);
        let record = plain[..start]
            .windows(4)
            .rposition(|four| four == 0x0201_4b50_u32.to_le_bytes())
            .expect("a record");
        let mut changed = plain[..start].to_vec();
        changed[record + 30..record + 32]
            .copy_from_slice(&u16::try_from(extra.len()).expect("short").to_le_bytes());
        changed.extend(&extra);
        let mut end = plain[start..].to_vec();
        let length = u32::try_from(changed.len() - at_directory).expect("small");
        end[12..16].copy_from_slice(&length.to_le_bytes());
        changed.extend(end);
        changed
    };
    assert!(ModArchive::read(&more(0x5455, &[3; 9])).is_ok(), "a time");
    refused(&more(0xcafe, b"anything"));
    refused(&more(0x5455, &[0; 40]));
    refused(&more(0x5455, &[b"PK\x06\x07".as_slice(), &[0; 16]].concat()));
    // A name in the header that is another than in the directory.
    let mut other = plain.clone();
    let name = other
        .windows(8)
        .position(|eight| eight == b"icon.svg")
        .expect("the name");
    let from_manifest = other[name + 1..]
        .windows(8)
        .position(|eight| eight == b"icon.svg");
    assert!(from_manifest.is_some());
    other[name..name + 8].copy_from_slice(b"icon.svp");
    assert!(ModArchive::read(&other).is_err());
}

#[test]
fn a_bomb_is_refused_before_it_bursts() {
    // It says that it is small and is not: no more is unpacked than it says.
    let zeros = vec![0; 8 * 1024 * 1024];
    let mut rose = archive(None);
    rose.files.insert("index.html".parse().expect("a path"), zeros);
    let mut bytes = rose.to_bytes().expect("an archive");
    assert!(bytes.len() < 64 * 1024, "{}", bytes.len());
    assert!(ModArchive::read(&bytes).is_ok());
    let said = u32::to_le_bytes(8 * 1024 * 1024);
    for at in 0..bytes.len() - 4 {
        if bytes[at..at + 4] == said {
            bytes[at..at + 4].copy_from_slice(&54_321_u32.to_le_bytes());
        }
    }
    let path = "index.html".parse().expect("a path");
    assert_eq!(ModArchive::read(&bytes), Err(ArchiveError::Damaged(path)));
    // It says that it is larger than may be: nothing is unpacked.
    for at in 0..bytes.len() - 4 {
        if bytes[at..at + 4] == 54_321_u32.to_le_bytes() {
            bytes[at..at + 4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
        }
    }
    assert_eq!(ModArchive::read(&bytes), Err(ArchiveError::Long));
}

/// The length of the end.
const END_BYTES: usize = 22;

proptest! {
    #[test]
    fn reading_an_archive_never_fails_otherwise_than_by_refusing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ModArchive::read(&bytes);
    }

    #[test]
    fn a_changed_byte_is_refused_or_changes_nothing_that_counts(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let whole = archive(Some("{}"));
        let mut bytes = whole.to_bytes().expect("an archive");
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(read) = ModArchive::read(&bytes) {
            prop_assert_eq!(read, whole);
        }
    }
}
