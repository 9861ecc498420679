use proptest::prelude::*;

use super::*;

fn hash(n: u8) -> String {
    Digest::of(&[n]).to_string()
}

fn refusal(language: PackageLanguage, text: &str) -> String {
    PackageList::read(language, text).expect_err(text).to_string()
}

#[test]
fn a_requirements_file_of_pip_is_read_as_it_is() {
    let text = format!(
        "# made by pip-compile\n\nScikit_Learn==1.5.0 \\\n    --hash={} \\\n    --hash={}\n    # via x\nsix==1.16.0 --hash={}\n",
        hash(2),
        hash(1),
        hash(3)
    );
    let list = PackageList::read(PackageLanguage::Python, &text).expect("locked");
    let mut hashes = [hash(1), hash(2)];
    hashes.sort();
    assert_eq!(
        list.lines(),
        [
            format!("scikit-learn==1.5.0 --hash={} --hash={}", hashes[0], hashes[1]),
            format!("six==1.16.0 --hash={}", hash(3)),
        ]
    );
    let lines = list.lines();
    let again = PackageList::of_lines(PackageLanguage::Python, lines.iter().rev().map(String::as_str));
    assert_eq!(again.expect("locked").digest(), list.digest());
}

#[test]
fn a_list_for_r_names_packages_of_r_and_of_debian() {
    let digits = Digest::of(b"x").hex();
    let text = format!("jsonlite 1.8.4 {digits}\nr-cran-rcpp 1.0.10-1 sha256:{digits} # from Debian\n");
    let list = PackageList::read(PackageLanguage::R, &text).expect("locked");
    let debian: Vec<_> = list.packages().map(Package::is_of_debian).collect();
    assert_eq!(debian, [false, true]);
    assert_eq!(list.lines()[0], format!("jsonlite 1.8.4 sha256:{digits}"));
}

#[test]
fn having_no_list_has_one_digest() {
    for language in [PackageLanguage::Python, PackageLanguage::R] {
        let empty = PackageList::read(language, "# nothing\n").expect("empty");
        assert!(empty.is_empty());
        assert_eq!(empty.digest(), PackageList::no_digest());
    }
}

#[test]
fn what_is_not_locked_is_refused_by_its_line_with_the_cure() {
    let good = format!("six==1.16.0 --hash={}", hash(3));
    for (line, words) in [
        ("numpy", "numpy is not pinned; write name==version"),
        ("numpy>=1.0", "not pinned"),
        ("numpy==1.*", "not pinned"),
        ("numpy===1.0", "not pinned"),
        ("numpy==1.0,<2", "not pinned"),
        ("numpy==1.0", "has no SHA-256"),
        ("numpy==1.0 --hash=md5:00", "is no digest (md5)"),
        ("numpy==1.0 --no-binary", "only --hash=sha256"),
        ("-e .", "an option of pip (-e .)"),
        ("--index-url https://example.com", "an option of pip"),
        ("-r other.txt", "an option of pip"),
        ("numpy @ https://example.com/numpy.whl", "an address or a path"),
        ("./numpy.whl", "an address or a path"),
        ("https://example.com/numpy.whl", "an address or a path"),
        ("numpy==1.0; python_version > '3'", "conditions after a semicolon"),
        ("requests[socks]==2.0", "extras"),
        ("../x==1.0", "an address or a path"),
        ("-==1.0", "an option of pip"),
        ("x==../y", "an address or a path"),
        (
            "SIX==1.17.0 --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "six is named twice",
        ),
    ] {
        let said = refusal(PackageLanguage::Python, &format!("{good}\n\n{line}\n"));
        assert!(said.starts_with("line 3 of the list of packages"), "{said}");
        assert!(said.contains(words), "{line}: {said}");
    }
    let digits = Digest::of(b"x").hex();
    for (line, words) in [
        ("jsonlite".to_owned(), "not pinned"),
        ("jsonlite 1.8.4".to_owned(), "has no SHA-256"),
        (format!("json-lite 1.8.4 {digits}"), "no name of a package of R"),
        (format!("../x 1.8.4 {digits}"), "no name of a package of R"),
        (format!("r-cran-../x 1.8.4 {digits}"), "no name of a package of R"),
        (format!("jsonlite latest {digits}"), "no version"),
        ("jsonlite 1.8.4 sha512:00".to_owned(), "is no digest (sha512)"),
    ] {
        let said = refusal(PackageLanguage::R, &line);
        assert!(
            said.starts_with("line 1 of ") && said.contains(words),
            "{line}: {said}"
        );
    }
}

proptest! {
    #[test]
    fn whatever_is_read_is_written_as_what_reads_the_same(text in "[a-z=0-9 .#\\\\:/-]{0,80}", n in 0u8..4) {
        for language in [PackageLanguage::Python, PackageLanguage::R] {
            let locked = match language {
                PackageLanguage::Python => format!("p{n}==1.{n} --hash={}", hash(n)),
                PackageLanguage::R => format!("p{n} 1.{n} {}", hash(n)),
            };
            for text in [&text, &format!("{locked}\n{text}")] {
                if let Ok(list) = PackageList::read(language, text) {
                    let lines = list.lines();
                    let again = PackageList::of_lines(language, lines.iter().map(String::as_str)).expect("canonical");
                    prop_assert_eq!(&again, &list);
                    for package in list.packages() {
                        prop_assert!(!package.name.contains('/') && !package.version.contains('/'));
                    }
                }
            }
        }
    }
}
