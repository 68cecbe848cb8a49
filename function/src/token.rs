//! The token check. Takes the same time whatever the token is, and never shows it: there is no
//! `Debug` and no error that holds one.

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Entries of a `validToken` that count: a stage variable's 512 characters hold six hashes, each
/// with an expiry.
pub const MAX_ENTRIES: usize = 6;

/// What the check of a token said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Right,
    /// None, or a blank one.
    Missing,
    Wrong,
}

/// Compares a request's token with the stage's `validToken`: a comma-separated list of
/// `sha256:<hex>[:<expiry>]`, or a plain token.
///
/// `now` and expiry are epoch seconds; an entry counts while `now` is less than its expiry. An
/// entry that starts with `sha256:` is only ever a hash, so the text of a hash that somebody read
/// in the console opens nothing. An empty `valid` never matches.
///
/// Digests are compared, not tokens: they have one length, so neither the time of one comparison
/// nor that of the whole list, which always runs to its end, says anything of the token.
#[must_use]
pub fn check(token: &[u8], valid: &[u8], now: u64) -> Verdict {
    if token.trim_ascii().is_empty() {
        return Verdict::Missing;
    }
    let right = matches(token, valid, |until| now < until);
    if right { Verdict::Right } else { Verdict::Wrong }
}

/// Whether `text` is one of the tokens of `valid`, expired or not. Takes the same time for every
/// text of one length.
#[must_use]
pub fn is_listed(text: &[u8], valid: &[u8]) -> bool {
    matches(text, valid, |_| true)
}

/// Whether one of the entries is of this token. `counts` says whether an expiry lies ahead.
fn matches(token: &[u8], valid: &[u8], counts: impl Fn(u64) -> bool) -> bool {
    let given: [u8; 32] = Sha256::digest(token).into();
    let mut right = Choice::from(0);
    for entry in valid.split(|b| *b == b',').take(MAX_ENTRIES) {
        let (digest, until) = match entry.trim_ascii().strip_prefix(b"sha256:") {
            Some(hash) => hash_entry(hash),
            None => {
                let until = (!entry.trim_ascii().is_empty()).then_some(u64::MAX);
                (Sha256::digest(entry.trim_ascii()).into(), until)
            }
        };
        right |= digest.ct_eq(&given) & Choice::from(u8::from(until.is_some_and(&counts)));
    }
    right.into()
}

/// The digest of `<hex>[:<expiry>]`, and until when it counts: `u64::MAX` where it has no expiry,
/// `None` where it is misspelled.
fn hash_entry(text: &[u8]) -> ([u8; 32], Option<u64>) {
    let mut digest = [0; 32];
    let mut parts = text.split(|b| *b == b':');
    let hex = parts.next().unwrap_or_default();
    let expiry = parts
        .next()
        .map(|text| std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok()));
    let mut good = hex.len() == 64 && parts.next().is_none();
    for (byte, pair) in digest.iter_mut().zip(hex.chunks(2)) {
        let digits =
            (pair.first().copied().and_then(nibble), pair.get(1).copied().and_then(nibble));
        match digits {
            (Some(high), Some(low)) => *byte = high << 4 | low,
            _ => good = false,
        }
    }
    (digest, expiry.unwrap_or(Some(u64::MAX)).filter(|_| good))
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn hash(token: &str) -> String {
        Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_list_is_hashes_with_expiry_or_plain_tokens() {
        let (a, b) = (hash("token-a"), hash("token-b"));
        let upper = a.to_uppercase();
        for (token, valid, verdict) in [
            ("token-a", "token-a".to_string(), Verdict::Right),
            ("token-a", format!("sha256:{a}"), Verdict::Right),
            ("token-a", format!("sha256:{upper}"), Verdict::Right),
            ("token-a", format!("sha256:{a}:{}", NOW + 1), Verdict::Right),
            ("token-a", format!("sha256:{a}:{NOW}"), Verdict::Wrong),
            ("token-a", format!("sha256:{a}:"), Verdict::Wrong),
            ("token-a", format!("sha256:{a}:-1"), Verdict::Wrong),
            ("token-a", format!("sha256:{a}:99999999999999999999999"), Verdict::Wrong),
            ("token-a", format!("sha256:{a}:{}:x", NOW + 1), Verdict::Wrong),
            ("token-a", format!("sha256:{b}:{},sha256:{a}", NOW + 60), Verdict::Right),
            ("token-b", format!("sha256:{b}:{},sha256:{a}", NOW + 60), Verdict::Right),
            ("token-b", format!("sha256:{b}:{},sha256:{a}", NOW - 60), Verdict::Wrong),
            ("token-b", format!("token-a, sha256:{b}"), Verdict::Right),
            ("five", "one,two,three,four,five,six".into(), Verdict::Right),
            ("six", "one,two,three,four,five,six".into(), Verdict::Right),
            ("seven", "one,two,three,four,five,six,seven".into(), Verdict::Wrong),
            ("one", "one,two,three,four,five,six,seven".into(), Verdict::Right),
            ("token-a", format!("sha256:{}", &a[..63]), Verdict::Wrong),
            ("token-a", format!("sha256:{a}0"), Verdict::Wrong),
            ("token-a", format!("sha256:{}g", &a[..63]), Verdict::Wrong),
            // the hash's own text opens nothing
            (&format!("sha256:{a}"), format!("sha256:{a}"), Verdict::Wrong),
            (&a, format!("sha256:{a}"), Verdict::Wrong),
            ("sha256:short", "sha256:short".into(), Verdict::Wrong),
            ("anything", format!("sha256:{}", "0".repeat(64)), Verdict::Wrong),
            ("token-a", String::new(), Verdict::Wrong),
            ("token-a", ",".into(), Verdict::Wrong),
            (",", ",".into(), Verdict::Wrong),
            ("token-a,token-b", "token-a,token-b".into(), Verdict::Wrong),
            ("TOKEN-A", "token-a".into(), Verdict::Wrong),
            ("token-a ", "token-a".into(), Verdict::Wrong),
            ("token", "token-a".into(), Verdict::Wrong),
            ("", "token-a".into(), Verdict::Missing),
            (" \t\r\n", "token-a".into(), Verdict::Missing),
            ("", String::new(), Verdict::Missing),
        ] {
            assert_eq!(
                check(token.as_bytes(), valid.as_bytes(), NOW),
                verdict,
                "{token} against {valid}"
            );
        }
    }

    /// What `set-token --overlap` writes at most: six hashes, five of them with an expiry.
    #[test]
    fn six_overlapping_tokens_fit_and_all_are_right_until_their_time_is_over() {
        let tokens = ["t1", "t2", "t3", "t4", "t5", "t6"];
        let entry = |(n, token): (usize, &&str)| match u64::try_from(n).unwrap() {
            0 => format!("sha256:{}", hash(token)),
            n => format!("sha256:{}:{}", hash(token), NOW + n),
        };
        let valid = tokens.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
        assert!(valid.len() <= crate::destination::MAX_LENGTH, "{}", valid.len());
        for (n, token) in tokens.iter().enumerate() {
            let over = NOW + u64::try_from(n).unwrap();
            assert_eq!(check(token.as_bytes(), valid.as_bytes(), NOW), Verdict::Right, "{token}");
            let after = if n == 0 { Verdict::Right } else { Verdict::Wrong };
            assert_eq!(check(token.as_bytes(), valid.as_bytes(), over), after, "{token}");
        }
    }

    #[test]
    fn a_token_is_listed_whether_it_is_expired_or_not() {
        let a = hash("token-a");
        for (text, valid, listed) in [
            ("token-a", format!("sha256:{a}"), true),
            ("token-a", format!("sha256:{a}:{}", NOW - 60), true),
            ("token-a", format!("one,two,three,four,five,sha256:{a}"), true),
            ("token-a", "token-a".into(), true),
            ("token-b", format!("sha256:{a}"), false),
            (&a, format!("sha256:{a}"), false),
            ("token-a", format!("sha256:{a}:x"), false),
            ("", String::new(), false),
            ("", ",".into(), false),
        ] {
            assert_eq!(is_listed(text.as_bytes(), valid.as_bytes()), listed, "{text} in {valid}");
        }
    }
}
