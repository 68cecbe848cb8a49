//! Keys and queue names as file names. Neither reads nor writes files.
//!
//! Whatever a key is (`../`, `//`, a control character, two keys that differ in case alone on a
//! disk that doesn't see it), its file lies in the bucket's own directory, and no two keys have the
//! same one. A key that would be too long is known by its SHA-256; the object itself holds its key.

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// What most file systems take in one name is 255 bytes.
const LONGEST: usize = 240;
/// Stands before a digest; no other name begins with it.
const DIGEST: char = '~';

/// What a file name says of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    Key(String),
    /// The key is in the file.
    Digest,
    /// Not a name that [`file_name`] makes.
    Foreign,
}

/// Percent-encoding of everything but `a-z`, `0-9`, `.`, `_` and `-`, and of a dot at the start.
pub fn file_name(key: &str) -> String {
    let mut name = String::with_capacity(key.len() * 2);
    for (i, byte) in key.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            b'.' if i > 0 => name.push('.'),
            _ => hex(&mut name, &[byte], "%"),
        }
    }
    if name.len() > LONGEST {
        name = DIGEST.to_string();
        hex(&mut name, &Sha256::digest(key.as_bytes()), "");
    }
    name
}

/// The key behind a file name.
pub fn key(name: &str) -> Named {
    if name.starts_with(DIGEST) {
        return Named::Digest;
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let byte = match (byte, rest) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                match (char::from(*high).to_digit(16), char::from(*low).to_digit(16)) {
                    (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or_default(),
                    _ => return Named::Foreign,
                }
            }
            (b'%', _) => return Named::Foreign,
            _ => byte,
        };
        bytes.push(byte);
    }
    match String::from_utf8(bytes) {
        Ok(key) if !key.is_empty() && file_name(&key) == name => Named::Key(key),
        _ => Named::Foreign,
    }
}

fn hex(out: &mut String, bytes: &[u8], before: &str) {
    for byte in bytes {
        write!(out, "{before}{byte:02x}").expect("a string takes what is written to it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_file_name_of_its_own_that_stays_in_its_directory() {
        let long = "k".repeat(1024);
        let keys = [
            "a",
            "A",
            ".",
            "..",
            "../../etc/passwd",
            "/",
            "//",
            "a/b",
            "a%2fb",
            "a%2Fb",
            "~",
            "%",
            " ",
            "\u{1}",
            "é",
            "e\u{301}",
            "SendGrid/input_1700000000000_5f1c2a",
            "🦀",
            "CON",
            "a.",
            ".a",
            &long,
            &long[1..],
        ];
        let mut seen = std::collections::BTreeSet::new();
        for k in keys {
            let name = file_name(k);
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-%~".contains(&b)),
                "{name}"
            );
            assert!(name.len() <= LONGEST && !name.starts_with('.') && !name.is_empty(), "{name}");
            assert_eq!(
                key(&name),
                if name.starts_with('~') { Named::Digest } else { Named::Key(k.to_owned()) }
            );
            assert!(seen.insert(name), "{k} has another key's name");
        }
    }

    #[test]
    fn a_file_that_nobody_named_so_is_no_object() {
        for name in ["", "A", "%", "%zz", "%4", "%61", "%2F", ".hidden", "a b", "%ff", "é"] {
            assert_eq!(key(name), Named::Foreign, "{name}");
        }
    }
}
