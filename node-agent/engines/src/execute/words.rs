//! A stranger's words, for people.

/// Kept of a progress message, in bytes.
const LONGEST_PROGRESS: usize = 1024;

/// A stranger's words as one line.
pub(super) fn one_line(words: &str) -> String {
    let kept = &words[..words.floor_char_boundary(LONGEST_PROGRESS)];
    let line: String = kept
        .chars()
        .map(|one| if one.is_control() { ' ' } else { one })
        .collect();
    line.trim().to_owned()
}

/// A stranger's words for people: cut, and without characters that steer a terminal.
pub(super) fn tamed(words: &str, most: usize) -> String {
    let shown = |one: char| !one.is_control() || matches!(one, '\n' | '\t');
    words[..words.floor_char_boundary(most)]
        .chars()
        .map(|one| {
            if shown(one) {
                one
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}
