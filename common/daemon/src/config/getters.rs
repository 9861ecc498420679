//! One getter a type of value: what it wants, how it reads it and how `config show` writes it.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use super::{Raw, Reader, Shape, format_duration, parse_duration, quoted};
use crate::{log::LogLevels, secret::SecretFile};

impl Reader {
    /// A text.
    pub fn text(&mut self, section: &str, key: &str, default: &str) -> String {
        let value = self.optional_text(section, key);
        self.or_default(value, default.to_owned(), |text| quoted(text))
    }

    /// A text that may be absent.
    pub fn optional_text(&mut self, section: &str, key: &str) -> Option<String> {
        self.scalar(
            section,
            key,
            Shape::Text,
            "a text in quotes",
            |text| Some(text.to_owned()),
            |text| quoted(text),
        )
    }

    /// A text that may hold a secret, such as the address of a database with its password; never shown.
    pub fn secret_text(&mut self, section: &str, key: &str, default: &str) -> SecretString {
        let hidden = |_: &SecretString| quoted("(not shown)");
        let value = self.scalar(
            section,
            key,
            Shape::Secret,
            "a text in quotes",
            |text| Some(text.into()),
            hidden,
        );
        self.or_default(value, SecretString::from(default), |text| {
            quoted(text.expose_secret())
        })
    }

    /// One of `allowed`, of which the program makes its own type.
    pub fn choice<T: Clone>(&mut self, section: &str, key: &str, allowed: &[(&str, T)], default: &str) -> T {
        let names: Vec<String> = allowed.iter().map(|(name, _)| quoted(name)).collect();
        let wanted = format!("one of {}", names.join(", "));
        let find = |text: &str| allowed.iter().find(|(name, _)| *name == text).cloned();
        let chosen = self.scalar(section, key, Shape::Text, &wanted, find, |(name, _)| quoted(name));
        let default = find(default).expect("the default is among the allowed values");
        self.or_default(chosen, default, |(name, _)| quoted(name)).1
    }

    /// What is logged.
    pub fn log_levels(&mut self, section: &str, key: &str, default: &str) -> LogLevels {
        let levels = self.scalar(
            section,
            key,
            Shape::Text,
            "log levels in quotes: error, warn, info, debug, trace or off, and where wanted others for single parts, \
             as in \"info,muster_server=debug\"",
            |text| text.parse().ok(),
            |levels: &LogLevels| quoted(levels.as_str()),
        );
        let default = default.parse().expect("the default is a list of levels");
        self.or_default(levels, default, |levels| quoted(levels.as_str()))
    }

    /// An absolute path.
    pub fn path(&mut self, section: &str, key: &str, default: impl Into<PathBuf>) -> PathBuf {
        let value = self.optional_path(section, key);
        self.or_default(value, default.into(), |path| quoted(&path.to_string_lossy()))
    }

    /// An absolute path that may be absent.
    pub fn optional_path(&mut self, section: &str, key: &str) -> Option<PathBuf> {
        self.scalar(
            section,
            key,
            Shape::Text,
            "an absolute path in quotes",
            absolute,
            |path| quoted(&path.to_string_lossy()),
        )
    }

    /// `true` or `false`.
    pub fn bool(&mut self, section: &str, key: &str, default: bool) -> bool {
        let value = self.optional_bool(section, key);
        self.or_default(value, default, bool::to_string)
    }

    /// `true` or `false`, which may be absent.
    pub fn optional_bool(&mut self, section: &str, key: &str) -> Option<bool> {
        let parse = |text: &str| text.parse().ok();
        self.scalar(section, key, Shape::Bool, "true or false", parse, bool::to_string)
    }

    /// A whole number within `range`.
    pub fn number(&mut self, section: &str, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let value = self.optional_number(section, key, range);
        self.or_default(value, default, u64::to_string)
    }

    /// A whole number within `range` that may be absent.
    pub fn optional_number(&mut self, section: &str, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let parse = |text: &str| text.parse().ok().filter(|number| range.contains(number));
        self.scalar(section, key, Shape::Whole, &wanted, parse, u64::to_string)
    }

    /// A time span such as `"15m"` or `"1h30m"`, within `range`.
    pub fn duration(
        &mut self,
        section: &str,
        key: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let value = self.optional_duration(section, key, range);
        self.or_default(value, default, |span| quoted(&format_duration(*span)))
    }

    /// A time span within `range` that may be absent.
    pub fn optional_duration(
        &mut self,
        section: &str,
        key: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let (least, most) = (format_duration(*range.start()), format_duration(*range.end()));
        let wanted = format!("a time span in quotes such as \"30s\" or \"15m\", from {least} to {most}");
        let parse = |text: &str| parse_duration(text).filter(|span| range.contains(span));
        self.scalar(section, key, Shape::Text, &wanted, parse, |span| {
            quoted(&format_duration(*span))
        })
    }

    /// An address and port to listen on or to connect to, such as `"0.0.0.0:9443"` or `"[::]:9443"`.
    pub fn address(&mut self, section: &str, key: &str, default: impl Into<SocketAddr>) -> SocketAddr {
        let value = self.optional_address(section, key);
        self.or_default(value, default.into(), |address| quoted(&address.to_string()))
    }

    /// An address and port that may be absent.
    pub fn optional_address(&mut self, section: &str, key: &str) -> Option<SocketAddr> {
        let wanted = "an IP address and port in quotes such as \"0.0.0.0:9443\" or \"[::]:9443\"";
        let parse = |text: &str| text.parse().ok();
        self.scalar(
            section,
            key,
            Shape::Text,
            wanted,
            parse,
            |address: &SocketAddr| quoted(&address.to_string()),
        )
    }

    /// A list of texts. An element of the environment's form has the spaces around it removed.
    pub fn list(&mut self, section: &str, key: &str, default: &[&str]) -> Vec<String> {
        let parse = |raw: Raw| match raw {
            Raw::Many(items) => Some(items),
            Raw::One(_) => None,
        };
        let show = |items: &Vec<String>| {
            format!(
                "[{}]",
                items
                    .iter()
                    .map(|item| quoted(item))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        };
        let value = self.take(
            section,
            key,
            Shape::List,
            "a list of texts in quotes",
            parse,
            show,
        );
        self.or_default(value, default.iter().map(|&item| item.to_owned()).collect(), show)
    }

    /// Where a secret lies: an absolute path, or `"credential:NAME"` for a file that systemd passed with
    /// `LoadCredential=NAME:…`.
    pub fn optional_secret_file(&mut self, section: &str, key: &str) -> Option<SecretFile> {
        let credentials = self.credentials.clone();
        let wanted = if credentials.is_some() {
            "an absolute path or \"credential:NAME\" in quotes"
        } else {
            "an absolute path in quotes (\"credential:NAME\" needs LoadCredential= in the systemd unit)"
        };
        let parse = move |text: &str| match text.strip_prefix("credential:") {
            Some(name) => SecretFile::credential(credentials.as_deref()?, name),
            None => absolute(text).map(SecretFile::at),
        };
        self.scalar(section, key, Shape::Text, wanted, parse, |secret| {
            quoted(&secret.path().to_string_lossy())
        })
    }

    /// The systemd credential `name`, where the unit was given one.
    pub fn credential(&self, name: &str) -> Option<SecretFile> {
        let secret = SecretFile::credential(self.credentials.as_deref()?, name)?;
        secret.path().exists().then_some(secret)
    }

    fn scalar<T>(
        &mut self,
        section: &str,
        key: &str,
        shape: Shape,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let parse = |raw: Raw| match raw {
            Raw::One(text) => parse(&text),
            Raw::Many(_) => None,
        };
        self.take(section, key, shape, wanted, parse, show)
    }

    fn or_default<T>(&mut self, value: Option<T>, default: T, show: impl FnOnce(&T) -> String) -> T {
        value.unwrap_or_else(|| {
            if let Some(setting) = self.settings.last_mut() {
                setting.value = Some(show(&default));
            }
            default
        })
    }
}

fn absolute(text: &str) -> Option<PathBuf> {
    (text.starts_with('/') && !text.contains('\0')).then(|| PathBuf::from(text))
}
