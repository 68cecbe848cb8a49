//! Tokens and the list of their hashes that a stage's `validToken` holds. Pure, but for the
//! randomness that a new one needs.

use crate::{
    observed::Secret,
    resource::{NO_TOKEN, hex},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// Entries of `validToken`; the function reads no more. A hash with its expiry and comma takes
/// 83 of a stage variable's 512 characters, and the newest has no expiry. Source: API Gateway,
/// "Quotas for configuring and running a REST API".
pub use routeto_function::token::MAX_ENTRIES as MOST;

const HASH: &str = "sha256:";

/// What to do instead of giving a token where others could read it.
pub const GIVE_ON_STDIN: &str = "a token is given on stdin: printf %s \"$TOKEN\" | routeto set-token --stage STAGE --token-stdin";

/// A new token: 256 random bits as base64url.
///
/// # Errors
/// When the system has no randomness to give.
pub fn random() -> Result<Secret, String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| format!("the system gives no random numbers: {error}"))?;
    Ok(Secret(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

/// What a token may be: `[A-Za-z0-9._~-]{20,256}`, so that it needs no escaping in a URL. Says what
/// is wrong, never the token.
pub fn check(token: &str) -> Result<(), String> {
    let length = token.chars().count();
    if !(20..=256).contains(&length) {
        return Err(format!("a token has 20 to 256 characters, this one has {length}"));
    }
    match token.chars().position(|c| !(c.is_ascii_alphanumeric() || "._~-".contains(c))) {
        Some(at) => Err(format!(
            "a token consists of letters, digits and `.`, `_`, `~`, `-`; its character {} is another",
            at + 1
        )),
        None => Ok(()),
    }
}

fn hash(token: &str) -> String {
    format!("{HASH}{}", hex(&Sha256::digest(token.as_bytes())))
}

/// `validToken` of a new stage.
pub fn first(token: &Secret) -> Secret {
    Secret(hash(&token.0))
}

/// Whether a stage's `validToken` lets anybody in.
pub fn is_shut(valid_token: &Secret) -> bool {
    valid_token.0.is_empty() || valid_token.0 == NO_TOKEN
}

/// Whether the token is one of those that `validToken` lists, whatever its expiry.
pub fn opens(valid_token: &Secret, token: &str) -> bool {
    let wanted = hash(token);
    valid_token.0.split(',').map(str::trim).any(|entry| match entry.strip_prefix(HASH) {
        Some(rest) => rest.split(':').next().is_some_and(|digest| {
            wanted.ends_with(digest) && digest.len() + HASH.len() == wanted.len()
        }),
        None => entry == token,
    })
}

/// When the tokens before the newest stop working, epoch seconds, soonest first; those that stopped
/// already are left out.
pub fn ends(valid_token: &Secret, now: u64) -> Vec<u64> {
    let entries = valid_token.0.split(',');
    let expiries = entries
        .filter_map(|entry| entry.trim().strip_prefix(HASH)?.split_once(':')?.1.parse().ok());
    let mut ends: Vec<u64> = expiries.filter(|expiry| *expiry > now).collect();
    ends.sort_unstable();
    ends
}

/// Until when a token before the newest still works, epoch seconds; `None` where none does.
pub fn old_until(valid_token: &Secret, now: u64) -> Option<u64> {
    ends(valid_token, now).pop()
}

/// A stage has [`MOST`] tokens that work: one more would end one of them before its time.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// `validToken` with a new token; the newest before it works until `until` (epoch seconds), and
/// each older one until the end that it was given then. Without `until` all of them stop.
///
/// # Errors
/// [`Full`], where there is no room for a token that still works: it was promised to whoever uses
/// it.
pub fn rotate(
    valid_token: &Secret,
    token: &Secret,
    now: u64,
    until: Option<u64>,
) -> Result<Secret, Full> {
    let new = hash(&token.0);
    let mut entries = vec![new.clone()];
    if let Some(until) = until {
        let old = valid_token
            .0
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty() && *entry != NO_TOKEN)
            .filter_map(|entry| {
                let Some(rest) = entry.strip_prefix(HASH) else {
                    // A token in clear, as the recipe has it: from now on its hash.
                    return Some((hash(entry), until));
                };
                match rest.split_once(':') {
                    Some((digest, expiry)) => {
                        let expiry: u64 = expiry.parse().ok()?;
                        // An earlier rotation's end stays where it was.
                        (expiry > now).then(|| (format!("{HASH}{digest}"), expiry))
                    }
                    None => Some((entry.to_owned(), until)),
                }
            });
        entries.extend(
            old.filter(|(digest, _)| *digest != new)
                .map(|(digest, expiry)| format!("{digest}:{expiry}")),
        );
    }
    if entries.len() > MOST { Err(Full) } else { Ok(Secret(entries.join(","))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret(text.into())
    }

    #[test]
    fn a_new_token_is_within_the_alphabet_and_never_the_same() {
        let (one, two) = (random().expect("random"), random().expect("random"));
        assert_eq!(one.0.len(), 43);
        assert_eq!(check(&one.0), Ok(()));
        assert_ne!(one, two);
    }

    #[test]
    fn a_token_outside_the_alphabet_or_length_is_refused_without_showing_it() {
        for wrong in [
            "",
            "short",
            &"x".repeat(257),
            "has a blank in the middle",
            "quote\"quote\"quote\"quote",
            "ünïcödeünïcödeünïcöde",
        ] {
            let said = check(wrong).expect_err(wrong);
            assert!(wrong.is_empty() || !said.contains(wrong), "{said}");
        }
        assert_eq!(check(&"aZ0._~-".repeat(3)), Ok(()));
    }

    fn rotated(valid: &Secret, token: &str, now: u64, until: Option<u64>) -> Secret {
        rotate(valid, &secret(token), now, until).expect("there is room")
    }

    #[test]
    fn the_old_token_goes_on_until_the_overlap_ends() {
        let old = first(&secret("old"));
        let one = rotated(&old, "new", 1000, Some(5000));
        assert_eq!(one.0, format!("{},{}:5000", hash("new"), hash("old")));
        let again = rotated(&one, "newer", 2000, Some(9000));
        assert_eq!(again.0, format!("{},{}:9000,{}:5000", hash("newer"), hash("new"), hash("old")));
        let later = rotated(&again, "newest", 6000, Some(9500));
        assert_eq!(
            later.0,
            format!("{},{}:9500,{}:9000", hash("newest"), hash("newer"), hash("new"))
        );
        assert_eq!(rotated(&later, "alone", 6000, None).0, hash("alone"));
    }

    #[test]
    fn a_shorter_overlap_takes_nothing_from_what_an_earlier_one_promised() {
        let week = rotated(&first(&secret("old")), "new", 1000, Some(600_000));
        let hour = rotated(&week, "newer", 2000, Some(5600));
        assert_eq!(
            hour.0,
            format!("{},{}:5600,{}:600000", hash("newer"), hash("new"), hash("old"))
        );
        assert_eq!(ends(&hour, 2000), [5600, 600_000]);
    }

    #[test]
    fn the_last_moment_of_an_old_token_is_known_until_it_is_over() {
        let old = first(&secret("old"));
        assert_eq!(old_until(&old, 1000), None);
        let valid = rotated(&rotated(&old, "new", 1000, Some(5000)), "newer", 2000, Some(4000));
        assert_eq!(
            [1000, 3999, 4000, 4999, 5000].map(|now| old_until(&valid, now)),
            [Some(5000), Some(5000), Some(5000), Some(5000), None]
        );
        assert_eq!([3999, 4000].map(|now| ends(&valid, now).len()), [2, 1]);
        assert_eq!(old_until(&secret("sha256:x:y,plain:9"), 1), None);
    }

    #[test]
    fn a_token_is_known_by_its_hash_and_a_part_of_one_is_not() {
        let valid = rotated(&first(&secret("old")), "new", 1000, Some(5000));
        assert_eq!(
            ["old", "new", "other", ""].map(|token| opens(&valid, token)),
            [true, true, false, false]
        );
        assert!(opens(&secret("plain"), "plain") && !opens(&secret("plain"), "plai"));
        assert!(!opens(&secret("sha256:"), "plain") && !opens(&secret(NO_TOKEN), "plain"));
    }

    /// The longest expiry that an overlap can have has eleven digits for the next three thousand
    /// years.
    #[test]
    fn six_tokens_keep_their_promises_and_a_seventh_is_refused_until_one_of_them_is_over() {
        let last = 99_999_999_990;
        let mut list = first(&secret("0"));
        for n in 1..6 {
            list = rotated(&list, &n.to_string(), 1000, Some(last + n));
        }
        assert_eq!(ends(&list, 1000), (1..6).map(|n| last + n).collect::<Vec<_>>());
        assert!(["0", "1", "2", "3", "4", "5"].iter().all(|token| opens(&list, token)), "{list:?}");
        assert!(list.0.len() <= 512, "{}", list.0.len());
        assert_eq!(rotate(&list, &secret("6"), 1000, Some(last)), Err(Full));
        // the function reads all of them
        let reads =
            |token: &str| routeto_function::token::check(token.as_bytes(), list.0.as_bytes(), 1000);
        assert!(
            ["0", "1", "2", "3", "4", "5"]
                .iter()
                .all(|token| reads(token) == routeto_function::token::Verdict::Right)
        );
        // one that is there already takes no room
        assert_eq!(rotated(&list, "0", 1000, Some(last)).0.split(',').count(), 6);
        assert_eq!(rotated(&list, "6", 1000, None).0, hash("6"));
        let later = rotated(&list, "6", last + 1, Some(last + 9));
        assert_eq!(["0", "1", "6"].map(|token| opens(&later, token)), [false, true, true]);
    }

    #[test]
    fn a_token_in_clear_becomes_its_hash_and_no_token_is_dropped() {
        assert_eq!(
            rotated(&secret("plain"), "new", 1, Some(5)).0,
            format!("{},{}:5", hash("new"), hash("plain"))
        );
        assert_eq!(rotated(&secret(NO_TOKEN), "new", 1, Some(5)).0, hash("new"));
        assert_eq!(rotated(&first(&secret("same")), "same", 1, Some(5)).0, hash("same"));
    }
}
