//! What a parser of arguments says of a wrong command line, as one sentence for programs.
//!
//! Invariant: nothing of what it says for people is lost but the layout, and the sentence names what to do.

use crate::escape::escaped;

/// What begins the lines after the reason.
const USAGE: &str = "Usage:";
const MORE: &str = "For more information";

/// The sentence of a report in clap's form: a reason (`error: …`), lines that belong to it, tips, `Usage: …`.
///
/// Where only help is shown, because a command is missing, the reason is that.
pub fn sentence(report: &str) -> String {
    let mut lines = report
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .peekable();
    let Some(reason) = lines.peek().and_then(|line| line.strip_prefix("error: ")) else {
        let usage = lines
            .find(|line| line.starts_with(USAGE))
            .map(|usage| format!("; {}", lowered(usage)))
            .unwrap_or_default();
        return escaped(&format!("a command is missing{usage}; --help lists the commands"));
    };
    let mut sentence = reason.to_owned();
    lines.next();
    // Arguments that are missing, one a line.
    let mut listed = false;
    for line in lines {
        if line.starts_with(MORE) {
            break;
        }
        if line.starts_with(USAGE) {
            sentence.push_str("; ");
            sentence.push_str(&lowered(line));
        } else if line.starts_with("tip: ") {
            sentence.push_str("; ");
            sentence.push_str(line);
        } else if listed {
            sentence.push_str(", ");
            sentence.push_str(line);
        } else {
            listed = sentence.ends_with(':');
            sentence.push(' ');
            sentence.push_str(line);
        }
    }
    sentence.push_str("; --help tells more");
    escaped(&sentence)
}

fn lowered(usage: &str) -> String {
    usage.replacen(USAGE, "usage:", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_that_is_missing_is_named_with_the_usage() {
        let report = "error: the following required arguments were not provided:\n  --name <NAME>\n  <FILE>\n\n\
                      Usage: muster function register --name <NAME> <FILE>\n\nFor more information, try '--help'.\n";
        assert_eq!(
            sentence(report),
            "the following required arguments were not provided: --name <NAME>, <FILE>; usage: muster function register \
             --name <NAME> <FILE>; --help tells more"
        );
    }

    #[test]
    fn tips_and_possible_values_are_kept() {
        let report = "error: unrecognized subcommand 'nod'\n\n  tip: a similar subcommand exists: 'node'\n\n\
                      Usage: muster [OPTIONS] <COMMAND>\n\nFor more information, try '--help'.\n";
        assert_eq!(
            sentence(report),
            "unrecognized subcommand 'nod'; tip: a similar subcommand exists: 'node'; usage: muster [OPTIONS] <COMMAND>; \
             --help tells more"
        );
        let report = "error: invalid value 'xml' for '--output <FORMAT>'\n  [possible values: table, json]\n\n\
                      For more information, try '--help'.\n";
        assert_eq!(
            sentence(report),
            "invalid value 'xml' for '--output <FORMAT>' [possible values: table, json]; --help tells more"
        );
    }

    #[test]
    fn where_only_help_is_shown_a_command_is_missing() {
        let help = "Administers a collective\n\nUsage: muster node <COMMAND>\n\nCommands:\n  list  Lists the nodes\n";
        assert_eq!(
            sentence(help),
            "a command is missing; usage: muster node <COMMAND>; --help lists the commands"
        );
        assert_eq!(sentence(""), "a command is missing; --help lists the commands");
    }

    #[test]
    fn control_characters_of_an_argument_do_not_reach_the_reader() {
        let said = sentence("error: unexpected argument '\u{1b}[2J\u{202e}' found\n");
        assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said}");
    }
}
