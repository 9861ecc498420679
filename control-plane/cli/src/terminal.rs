//! Questions to the person at the terminal.
//!
//! Invariant: a question is asked on standard error and answered on standard input, both a terminal, so that
//! standard output holds results only and no script ever hangs on a question.

use std::io::{self, IsTerminal as _, Write as _};

use secrecy::SecretString;

use crate::failure::Failure;

/// Whether a person can be asked.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks `question`, which is harmless already; anything but yes is no.
pub(crate) fn ask(question: &str) -> Result<bool, Failure> {
    let answer = line(&format!("{question} [y/N] "))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Goes on only if the person agrees, or has agreed by an option. `cure` says how to agree in a script.
pub(crate) fn confirm(agreed: bool, question: &str, cure: &str) -> Result<(), Failure> {
    if agreed {
        return Ok(());
    }
    if !can_ask() {
        return Err(Failure::failed(
            "not-confirmed",
            format!("{question} There is no terminal to ask on, so nothing was changed; {cure}"),
        ));
    }
    if ask(question)? {
        Ok(())
    } else {
        Err(Failure::failed("not-confirmed", "Nothing was changed."))
    }
}

/// One line, asked for by `prompt`.
pub(crate) fn line(prompt: &str) -> Result<String, Failure> {
    let failed =
        |error: io::Error| Failure::failed("terminal", format!("cannot ask on the terminal ({error})"));
    let mut stderr = io::stderr().lock();
    stderr
        .write_all(prompt.as_bytes())
        .and_then(|()| stderr.flush())
        .map_err(failed)?;
    let mut answer = String::new();
    if io::stdin().read_line(&mut answer).map_err(failed)? == 0 {
        // The end of the input is an answer too; the next text begins on its own line.
        let _ = stderr.write_all(b"\n");
    }
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// A password, not shown while it is typed. `cure` says how to give it without a terminal.
pub(crate) fn password(prompt: &str, cure: &str) -> Result<SecretString, Failure> {
    if !can_ask() {
        return Err(Failure::usage(format!(
            "a password is needed and there is no terminal to ask on; {cure}"
        )));
    }
    let typed = rpassword::prompt_password(prompt).map_err(|error| {
        Failure::failed(
            "terminal",
            format!("cannot ask for the password ({error}); {cure}"),
        )
    })?;
    Ok(SecretString::from(typed))
}

/// A new password, typed twice.
pub(crate) fn new_password(of: &str, cure: &str) -> Result<SecretString, Failure> {
    use secrecy::ExposeSecret as _;
    let first = password(&format!("New password of {of}: "), cure)?;
    let second = password("Again: ", cure)?;
    if first.expose_secret() == second.expose_secret() {
        Ok(first)
    } else {
        Err(Failure::failed(
            "not-confirmed",
            "The two passwords differ. Nothing was changed; try again.",
        ))
    }
}
