//! The program on a terminal of its own, made by `script` (util-linux), and a person who types.

use std::{
    io::{Read as _, Write as _},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use crate::program::{Home, MUSTER};

/// How long something may take that must happen.
const GENEROUS: Duration = Duration::from_mins(1);

/// How often the terminal is looked at while it should stop echoing; each look starts a program.
const LOOKS: usize = 5_000;

/// The terminal.
pub(crate) struct Terminal {
    device: String,
    child: Child,
    output: Receiver<Vec<u8>>,
    /// All that was shown, without carriage returns.
    pub(crate) shown: String,
}

impl Terminal {
    /// Starts `muster` with `arguments` that a shell need not quote.
    pub(crate) fn muster(home: &Home, arguments: &str) -> Self {
        let mut child = home
            .command("script")
            .args([
                "-qefc",
                &format!("stty cols 200; tty; exec {MUSTER} {arguments}"),
                "/dev/null",
            ])
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script starts");
        let mut stdout = child.stdout.take().expect("a pipe");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut part) {
                if sender.send(part[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut terminal = Self {
            device: String::new(),
            child,
            output,
            shown: String::new(),
        };
        terminal.wait_for("\n");
        let (device, rest) = terminal.shown.split_once('\n').expect("a line");
        (terminal.device, terminal.shown) = (device.to_owned(), rest.to_owned());
        terminal
    }

    /// Waits until `text` is shown.
    pub(crate) fn wait_for(&mut self, text: &str) -> &mut Self {
        while !self.shown.contains(text) {
            match self.output.recv_timeout(GENEROUS) {
                Ok(part) => self.show(&part),
                Err(error) => panic!("{error} before {text:?} came: {}", self.shown),
            }
        }
        self
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) -> &mut Self {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("typed");
        self
    }

    /// Types a line once the terminal does not show what is typed, as a person does who takes a moment.
    pub(crate) fn type_secret(&mut self, line: &str) -> &mut Self {
        let quiet = (0..LOOKS).any(|_| {
            #[expect(
                clippy::disallowed_methods,
                reason = "a test asks for the state of a terminal"
            )]
            let state = std::process::Command::new("stty")
                .args(["-a", "-F", &self.device])
                .output();
            String::from_utf8_lossy(&state.expect("stty starts").stdout).contains(" -echo ")
        });
        assert!(quiet, "the terminal echoes a password: {}", self.shown);
        self.type_line(line)
    }

    /// Waits for the end: the exit code and all that was shown.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        while let Ok(part) = self.output.recv_timeout(GENEROUS) {
            self.show(&part);
        }
        let code = self.child.wait().expect("it ended").code();
        (code, self.shown)
    }

    fn show(&mut self, part: &[u8]) {
        self.shown
            .push_str(&String::from_utf8_lossy(part).replace('\r', ""));
    }
}
