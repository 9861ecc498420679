//! JSON of foreign origin that several programs read: every one must read the same.
//!
//! Invariant: an object that names a field twice is refused at any depth, since readers differ in which one holds.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::ItemError;

/// As many digits as every number of 64 bits (IEEE 754) keeps.
const MOST_DIGITS: usize = 15;
/// With so many digits before the exponent, zeros at either end included.
const MOST_LENGTH: usize = 32;
/// Within the range of such numbers.
const MOST_EXPONENT: i32 = 250;

/// The object that `bytes` are.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, ItemError> {
    let refused = |error: serde_json::Error| ItemError::Manifest(shown(&error.to_string()));
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut reader).map_err(refused)?;
    reader.end().map_err(refused)?;
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(ItemError::Manifest("it is not a JSON object".to_owned())),
    }
}

/// Refuses numbers that programs read differently: those with many digits, and very large or small ones. `json` is JSON.
pub(super) fn plain_numbers(json: &[u8]) -> Result<(), ItemError> {
    let (mut quoted, mut escaped, mut at) = (false, false, 0);
    while let Some(&byte) = json.get(at) {
        if quoted {
            (quoted, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
        } else if byte == b'-' || byte.is_ascii_digit() {
            let rest = &json[at..];
            let belongs = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
            let token = &rest[..rest.iter().position(|byte| !belongs(byte)).unwrap_or(rest.len())];
            if !is_plain(token) {
                return Err(ItemError::Manifest(format!(
                    "the number {} is not read alike everywhere: a number has at most {MOST_DIGITS} digits between zeros, \
                     and an exponent of at most {MOST_EXPONENT}; write it as a text",
                    shown(&String::from_utf8_lossy(token))
                )));
            }
            at += token.len();
            continue;
        } else {
            quoted = byte == b'"';
        }
        at += 1;
    }
    Ok(())
}

fn is_plain(number: &[u8]) -> bool {
    let exponent_at = number.iter().position(|byte| b"eE".contains(byte));
    let (mantissa, exponent) = number.split_at(exponent_at.unwrap_or(number.len()));
    let digits: String = mantissa
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .map(|byte| char::from(*byte))
        .collect();
    let exponent = std::str::from_utf8(exponent.get(1..).unwrap_or_default()).unwrap_or_default();
    let small = |text: &str| {
        text.parse::<i32>()
            .is_ok_and(|exponent| exponent.abs() <= MOST_EXPONENT)
    };
    mantissa.len() <= MOST_LENGTH
        && digits.trim_matches('0').len() <= MOST_DIGITS
        && (exponent.is_empty() || small(exponent))
}

/// What a reader says, safe on a terminal: it may quote what it read.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(256).flat_map(char::escape_default).collect()
}

/// Reads any value as `serde_json` does, but for fields that come twice.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is too large"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(Self)?;
            if object.insert(name.clone(), value).is_some() {
                return Err(A::Error::custom(format!(
                    "the field \"{name}\" stands there twice"
                )));
            }
        }
        Ok(Value::Object(object))
    }
}
