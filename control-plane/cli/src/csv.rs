//! Comma-separated values (RFC 4180) that a spreadsheet shows and never computes.

/// A record: its cells, quoted, and the end of the line.
pub(crate) fn record<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells.into_iter().map(cell).collect();
    format!("{}\r\n", cells.join(","))
}

/// A cell, quoted. What a spreadsheet would take for a formula gets an apostrophe before it.
fn cell(text: &str) -> String {
    // Some programs skip white space, and some read the wide forms of these characters as them.
    let formula = text.trim_start().starts_with([
        '=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}', '|',
    ]);
    let mark = if formula || text.starts_with(['\t', '\r', '\n']) {
        "'"
    } else {
        ""
    };
    format!("\"{mark}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cells_are_quoted_and_hold_no_formula() {
        assert_eq!(
            record(["=1+1", "says \"no\"\nand no", " @x", "\ta", "a=b", ""]),
            "\"'=1+1\",\"says \"\"no\"\"\nand no\",\"' @x\",\"'\ta\",\"a=b\",\"\"\r\n"
        );
    }

    proptest! {
        #[test]
        fn no_text_ends_its_cell_or_begins_a_formula(text: String) {
            let written = cell(&text);
            let inside = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).expect("quotes");
            prop_assert!(!inside.replace("\"\"", "").contains('"'));
            prop_assert!(!inside.trim_start().starts_with(['=', '+', '-', '@']));
            let read = inside.replace("\"\"", "\"");
            prop_assert!(read == text || read.strip_prefix('\'') == Some(text.as_str()));
        }
    }
}
