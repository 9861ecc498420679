//! Rust without its comments and literals: enough of the language to ask which words a file really uses.
//!
//! Invariant: line breaks stay where they were, so that line numbers hold.

/// `source` with comments and the contents of string and character literals replaced by nothing but their line
/// breaks.
pub(crate) fn code(source: &str) -> String {
    let mut rest = source;
    let mut code = String::with_capacity(source.len());
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if first == '"' {
            string(rest)
        } else if first == 'r' && !ends_in_word(&code) {
            raw_string(rest)
        } else if first == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push(' ');
            code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            rest = &rest[skipped..];
        }
    }
    code
}

/// Whether `code` contains `word` as a word of its own.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !is_word(c)).any(|found| found == word)
}

/// The length of the comment that `rest` begins with; comments nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of the string literal that `rest` begins with.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of the raw string literal that `rest` begins with; 0 where it begins with something else.
fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    let begin = 1 + hashes;
    if !rest[begin..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    rest[begin + 1..]
        .find(&end)
        .map_or(rest.len(), |at| begin + 1 + at + end.len())
}

/// The length of the character literal that `rest` begins with; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escape, c))) => {
            let from = escape + c.len_utf8();
            rest[from..].find('\'').map_or(0, |at| from + at + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 0,
    }
}

fn ends_in_word(code: &str) -> bool {
    // The b of a raw byte string is no word.
    let before = code.strip_suffix('b').unwrap_or(code);
    before.chars().next_back().is_some_and(is_word)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn comments_and_literals_are_taken_out_and_lines_stay() {
    let source = r##"
fn f<'a>(x: &'a str) -> char { // unsafe
    /* unsafe /* nested */ unsafe */
    let _ = ["unsafe \" unsafe", r#"unsafe " unsafe"#, x];
    let _ = (b"unsafe", br"unsafe", '"', '\'', '\u{1F600}');
    for_r("unsafe");
    'x'
}
"##;
    let code = code(source);
    assert!(!has_word(&code, "unsafe"), "{code}");
    assert!(has_word(&code, "for_r") && has_word(&code, "char"));
    assert_eq!(code.lines().count(), source.lines().count());
}

#[test]
fn a_word_is_a_whole_word() {
    assert!(has_word("unsafe { x }", "unsafe"));
    assert!(!has_word("#![forbid(unsafe_code)]", "unsafe"));
}
