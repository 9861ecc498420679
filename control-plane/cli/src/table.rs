//! Tables and short forms for people.

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};

use crate::escape::escaped;

/// Columns of the narrowest terminal to which tables are fitted.
const NARROWEST: u16 = 40;

/// Rows under `headers`, without borders; `nothing` stands for an empty table. All cells are escaped.
pub(crate) fn rows<const N: usize>(
    headers: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    nothing: &str,
    colour: bool,
) -> String {
    let mut table = bare();
    let rows: Vec<_> = rows.into_iter().collect();
    if rows.is_empty() {
        return nothing.to_owned();
    }
    table.set_header(headers.map(str::to_uppercase));
    for row in rows {
        table.add_row(row.map(|text| cell(&text, colour)));
    }
    finished(table)
}

/// One thing: a label and a value a line. Values may have several lines; all are escaped. Empty ones are left out.
pub(crate) fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>, colour: bool) -> String {
    let mut table = bare();
    for (label, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        for (at, line) in value.lines().enumerate() {
            table.add_row([Cell::new(if at == 0 { label } else { "" }), cell(line, colour)]);
        }
    }
    finished(table)
}

fn bare() -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    // Some terminals do not know how wide they are and say 0; one letter a line is of no use to anybody.
    if table.width().is_some_and(|width| width < NARROWEST) {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table
}

fn finished(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

fn cell(text: &str, colour: bool) -> Cell {
    let cell = Cell::new(escaped(text));
    match text {
        _ if !colour => cell,
        "online" | "trusted" | "succeeded" | "active" | "valid" | "issued" | "allow" => cell.fg(Color::Green),
        "offline" | "revoked" | "failed" | "refused" | "lost" | "timed_out" | "rejected" | "deny" => {
            cell.fg(Color::Red)
        }
        "suspect" | "cordoned" | "draining" | "pending" | "expired" | "disabled" | "restricted" => {
            cell.fg(Color::Yellow)
        }
        _ => cell,
    }
}

/// When, and by whom where that is known.
pub(crate) fn dated(when: &str, by: Option<&muster_ids::UserName>) -> String {
    match by {
        Some(by) => format!("{} by {by}", time(when)),
        None => time(when),
    }
}

/// An RFC 3339 time to the second: `2026-11-21 22:12:39Z`.
pub(crate) fn time(text: &str) -> String {
    match muster_daemon::clock::parse_rfc3339(text) {
        Ok(ms) => {
            let whole = muster_daemon::clock::format_rfc3339(ms);
            let seconds = whole.split('.').next().unwrap_or(&whole);
            format!("{}Z", seconds.replace('T', " "))
        }
        Err(_) => text.to_owned(),
    }
}

/// The time, or a dash.
pub(crate) fn time_or_dash(text: Option<&String>) -> String {
    text.map_or_else(dash, |text| time(text))
}

/// What stands for nothing.
pub(crate) fn dash() -> String {
    "-".to_owned()
}

/// A thing's text, or a dash.
pub(crate) fn or_dash<T: ToString>(thing: Option<&T>) -> String {
    thing.map_or_else(dash, ToString::to_string)
}

/// Texts with commas, or a dash.
pub(crate) fn list<T: ToString>(things: &[T]) -> String {
    if things.is_empty() {
        return dash();
    }
    things
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A span of seconds in its largest unit: `40 s`, `3 min`, `5 h`, `2 d`.
pub(crate) fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{} s", seconds.max(0)),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A number of bytes in its largest binary unit.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, size) in UNITS {
        if bytes >= size {
            return format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size);
        }
    }
    format!("{bytes} B")
}

/// The first digits of a digest, enough to tell two apart at a glance.
pub(crate) fn short_digest(digest: &muster_ids::Digest) -> String {
    format!("sha256:{}…", &digest.hex()[..12])
}

/// Yes or no.
pub(crate) fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_no_borders_and_escapes_its_cells() {
        let text = rows(
            ["name", "state"],
            [
                ["terr01".to_owned(), "online".to_owned()],
                ["x\u{1b}[2J".to_owned(), "a\nb".to_owned()],
            ],
            "none",
            false,
        );
        assert_eq!(text, "NAME        STATE\nterr01      online\nx\\u{1b}[2J  a\\nb");
        assert_eq!(rows(["name"], [], "No nodes.", false), "No nodes.");
    }

    #[test]
    fn fields_keep_their_lines_and_leave_out_what_is_empty() {
        let text = fields(
            [
                ("Name", "f".to_owned()),
                ("Pool", String::new()),
                ("Reasons", "one\ntwo".to_owned()),
            ],
            false,
        );
        assert_eq!(text, "Name     f\nReasons  one\n         two");
    }

    #[test]
    fn times_spans_and_sizes_are_short() {
        assert_eq!(time("2026-11-21T23:12:39.123+01:00"), "2026-11-21 22:12:39Z");
        assert_eq!(time("soon"), "soon");
        for (seconds, shown) in [
            (-5, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (199, "3 min"),
            (7_200, "2 h"),
            (259_200, "3 d"),
        ] {
            assert_eq!(span(seconds), shown);
        }
        for (bytes, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (3 << 30, "3.0 GiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }
}
