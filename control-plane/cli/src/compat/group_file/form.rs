//! The two forms of the file: Spotfire Text Data Format 1.0 and comma-separated values.
//!
//! STDF has a line that says what it is, the names of the columns, their types, and the rows. Each value ends with `;`, and
//! `\\`, `\s`, `\n`, `\r` stand for the characters that it cannot hold.

/// The first line of STDF.
const MARK: &str = "\\! filetype=Spotfire.DataFormat.Text; version=1.0;";
/// The columns, in their order.
const COLUMNS: [&str; 7] = [
    "Group name",
    "Domain name",
    "Display name",
    "Email",
    "Member name",
    "Member domain name",
    "Member type",
];

/// Which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Stdf,
    Csv,
}

/// A row, whose values are as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// Where it stands among the rows of the file, from 1.
    pub(super) number: usize,
    pub(super) group: String,
    pub(super) domain: String,
    pub(super) display: String,
    pub(super) email: String,
    pub(super) member: String,
    pub(super) member_domain: String,
    pub(super) kind: String,
}

/// Why a file has no rows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    #[error("it is not UTF-8")]
    Encoding,
    #[error("row {0} does not have the seven values of a group")]
    Values(usize),
    #[error("row {0} has a character after \\ that means nothing")]
    Escape(usize),
    #[error("row {0} has a value that begins with a quote and does not end with one")]
    Quote(usize),
    #[error("the columns are not those of groups: {}", COLUMNS.join(";"))]
    Columns,
}

impl Row {
    /// The row that makes a group.
    pub(super) fn group(name: &str) -> Self {
        Self {
            group: name.to_owned(),
            domain: super::DOMAIN.to_owned(),
            display: name.to_owned(),
            ..Self::default()
        }
    }

    /// The row that makes somebody, by name and domain, a member of a group.
    pub(super) fn member(group: &str, (member, domain): (&str, &str), kind: &str) -> Self {
        Self {
            member: member.to_owned(),
            member_domain: domain.to_owned(),
            kind: kind.to_owned(),
            ..Self::group(group)
        }
    }

    fn values(&self) -> [&str; 7] {
        [
            &self.group,
            &self.domain,
            &self.display,
            &self.email,
            &self.member,
            &self.member_domain,
            &self.kind,
        ]
    }

    fn of(number: usize, values: Vec<String>) -> Result<Self, FormError> {
        let [group, domain, display, email, member, member_domain, kind] =
            <[String; 7]>::try_from(values).map_err(|_| FormError::Values(number))?;
        Ok(Self {
            number,
            group,
            domain,
            display,
            email,
            member,
            member_domain,
            kind,
        })
    }
}

/// The file with these rows.
pub(super) fn write(form: Form, name_row: bool, rows: &[Row]) -> String {
    let mut text = String::new();
    let mut line = |values: [&str; 7]| match form {
        Form::Stdf => {
            for value in values {
                text.push_str(&escape(value));
                text.push(';');
            }
            text.push_str("\r\n");
        }
        Form::Csv => {
            // Not made harmless for spreadsheets: what is imported again must be what was exported.
            let cells = values.map(|value| format!("\"{}\"", value.replace('"', "\"\"")));
            text.push_str(&cells.join(","));
            text.push_str("\r\n");
        }
    };
    if form == Form::Stdf || name_row {
        line(COLUMNS);
    }
    if form == Form::Stdf {
        line(["String"; 7]);
    }
    for row in rows {
        line(row.values());
    }
    match form {
        Form::Stdf => format!("{MARK}\r\n{text}"),
        Form::Csv => text,
    }
}

/// The rows of a file of either form. `name_row` says whether comma-separated values begin with the names of the columns.
pub(super) fn read(bytes: &[u8], name_row: bool) -> Result<Vec<Row>, FormError> {
    let text = str::from_utf8(bytes).map_err(|_| FormError::Encoding)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(rest) = text.strip_prefix(MARK) {
        return stdf(rest);
    }
    // Some programs separate by semicolons; the first line tells.
    let first = text.lines().next().unwrap_or_default();
    let separator = if first.matches(';').count() > first.matches(',').count() {
        ';'
    } else {
        ','
    };
    let mut records = records(text, separator)?;
    if name_row {
        let named = !records.is_empty() && is_columns(&records.remove(0));
        if !named {
            return Err(FormError::Columns);
        }
    }
    numbered(records)
}

fn stdf(rest: &str) -> Result<Vec<Row>, FormError> {
    // Lines that begin with \* are comments.
    let mut lines = rest
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("\\*"))
        .enumerate()
        .map(|(at, line)| split(at, line))
        .peekable();
    match lines.next() {
        Some(Ok(names)) if is_columns(&names) => {}
        _ => return Err(FormError::Columns),
    }
    // Some writers leave the types away. No group of the domain "String" is lost by this: there is no such domain.
    if let Some(Ok(types)) = lines.peek()
        && types.iter().all(|name| name == "String")
    {
        lines.next();
    }
    numbered(lines.collect::<Result<_, _>>()?)
}

fn numbered(records: Vec<Vec<String>>) -> Result<Vec<Row>, FormError> {
    let rows = records.into_iter().enumerate();
    rows.map(|(at, values)| Row::of(at + 1, values)).collect()
}

fn is_columns(names: &[String]) -> bool {
    names.len() == COLUMNS.len()
        && names
            .iter()
            .zip(COLUMNS)
            .all(|(name, column)| name.trim().eq_ignore_ascii_case(column))
}

/// The values of a line of STDF, each ended by a semicolon.
fn split(at: usize, line: &str) -> Result<Vec<String>, FormError> {
    let Some(line) = line.strip_suffix(';') else {
        return Err(FormError::Values(at));
    };
    line.split(';')
        .map(|value| unescape(value).ok_or(FormError::Escape(at)))
        .collect()
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace(';', "\\s")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}

fn unescape(value: &str) -> Option<String> {
    // Nothing, and what was no value where it came from.
    if value.starts_with("\\?") {
        return Some(String::new());
    }
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        text.push(match characters.next()? {
            '\\' => '\\',
            's' => ';',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            _ => return None,
        });
    }
    Some(text)
}

/// The records of comma-separated values (RFC 4180). Empty lines are none.
fn records(text: &str, separator: char) -> Result<Vec<Vec<String>>, FormError> {
    let mut records: Vec<Vec<String>> = Vec::new();
    let mut record: Vec<String> = Vec::new();
    let mut characters = text.chars().peekable();
    while characters.peek().is_some() {
        let number = records.len() + 1;
        let mut value = String::new();
        if characters.next_if_eq(&'"').is_some() {
            loop {
                match characters.next() {
                    Some('"') if characters.next_if_eq(&'"').is_some() => value.push('"'),
                    Some('"') => break,
                    Some(character) => value.push(character),
                    None => return Err(FormError::Quote(number)),
                }
            }
        } else {
            while let Some(character) =
                characters.next_if(|character| *character != separator && !matches!(character, '\r' | '\n'))
            {
                value.push(character);
            }
        }
        record.push(value);
        match characters.next() {
            Some(character) if character == separator => {
                // A separator at the end has an empty value after it.
                if characters.peek().is_none() {
                    record.push(String::new());
                }
                continue;
            }
            Some('\r') => drop(characters.next_if_eq(&'\n')),
            Some('\n') | None => {}
            Some(_) => return Err(FormError::Quote(number)),
        }
        let whole = std::mem::take(&mut record);
        if whole != [""] {
            records.push(whole);
        }
    }
    if !record.is_empty() {
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows() -> Vec<Row> {
        let mut rows = vec![
            Row::group("Staff"),
            Row::member("Staff", ("ann", "SPOTFIRE"), "user"),
            Row::member("Staff", ("Analysts", "SPOTFIRE"), "group"),
        ];
        for (at, row) in rows.iter_mut().enumerate() {
            row.number = at + 1;
        }
        rows
    }

    #[test]
    fn the_documented_form_is_written() {
        let text = write(Form::Stdf, false, &rows());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "\\! filetype=Spotfire.DataFormat.Text; version=1.0;");
        assert_eq!(
            lines[1],
            "Group name;Domain name;Display name;Email;Member name;Member domain name;Member type;"
        );
        assert_eq!(lines[3], "Staff;SPOTFIRE;Staff;;;;;");
        assert_eq!(lines[4], "Staff;SPOTFIRE;Staff;;ann;SPOTFIRE;user;");
    }

    #[test]
    fn what_others_write_is_read() {
        let bare = "\u{feff}\\! filetype=Spotfire.DataFormat.Text; version=1.0;\n\\* a comment\n\n\
                    Group name;Domain name;Display name;Email;Member name;Member domain name;Member type;\n\
                    Staff;SPOTFIRE;Staff;\\?;;;;\n";
        assert_eq!(read(bare.as_bytes(), false).expect("rows"), rows()[..1]);
        for text in [
            "Staff,SPOTFIRE,Staff,,,,\n",
            "Staff;SPOTFIRE;Staff;;;;",
            "\"Staff\",\"SPOTFIRE\",\"Staff\",\"\",\"\",\"\",\"\"\r\n\r\n",
        ] {
            assert_eq!(read(text.as_bytes(), false).expect(text), rows()[..1], "{text}");
        }
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let mark = MARK;
        for (text, name_row, expected) in [
            ("a,b\n".to_owned(), false, FormError::Values(1)),
            (
                format!("{mark}\nUser name;Domain name;\n"),
                false,
                FormError::Columns,
            ),
            (mark.to_owned(), false, FormError::Columns),
            ("Staff,SPOTFIRE,Staff,,,,\n".to_owned(), true, FormError::Columns),
            ("\"Staff,SPOTFIRE".to_owned(), false, FormError::Quote(1)),
            (
                "\"Staff\"x,SPOTFIRE,,,,,\n".to_owned(),
                false,
                FormError::Quote(1),
            ),
        ] {
            assert_eq!(read(text.as_bytes(), name_row), Err(expected), "{text}");
        }
        assert_eq!(read(&[0xff], false), Err(FormError::Encoding));
        let wrong = format!("{mark}\n{};\n\\x;;;;;;;\n", COLUMNS.join(";"));
        assert_eq!(read(wrong.as_bytes(), false), Err(FormError::Escape(1)));
    }

    fn any_row() -> impl Strategy<Value = Row> {
        proptest::array::uniform7("[a-zA-Z;,\"\\\\\r\n@= ]{0,6}")
            .prop_map(|values| Row::of(0, values.to_vec()).expect("seven values"))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(rows in proptest::collection::vec(any_row(), 1..6), name_row: bool) {
            let mut rows = rows;
            // The types of the columns are told by their words.
            for (at, row) in rows.iter_mut().enumerate() {
                row.number = at + 1;
                row.domain = "SPOTFIRE".to_owned();
            }
            let text = write(Form::Stdf, false, &rows);
            prop_assert_eq!(read(text.as_bytes(), false).expect("STDF"), rows.clone());
            let text = write(Form::Csv, name_row, &rows);
            let first = text.lines().next().unwrap_or_default();
            // Only a first line with more semicolons than commas is taken for the other separator.
            prop_assume!(first.matches(';').count() <= first.matches(',').count());
            prop_assert_eq!(read(text.as_bytes(), name_row).expect("CSV"), rows);
        }

        #[test]
        fn no_file_makes_it_panic(bytes: Vec<u8>, name_row: bool) {
            let _ = read(&bytes, name_row);
            let text = [MARK.as_bytes(), b"\n", &bytes].concat();
            let _ = read(&text, name_row);
        }
    }
}
