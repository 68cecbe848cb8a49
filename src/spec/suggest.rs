//! "Did you mean": the known word nearest to one that isn't known.

/// Words longer than this are nobody's slip of the finger.
const LONGEST: usize = 64;

/// The candidate that `word` was most likely meant to be; none if nothing is near.
///
/// Near is: at most a third of the letters differ (a swap of two neighbours counts once), or one is
/// the beginning of the other.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.chars().count() > LONGEST {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let known = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&word, &known);
            let allowed = (word.chars().count().max(known.chars().count()) / 3).max(1);
            let begins = word.len() >= 3
                && known.len() >= 3
                && (known.starts_with(&word) || word.starts_with(&known));
            (distance <= allowed || begins).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The same as a sentence: "did you mean `x`?", or the list of what there is.
pub fn did_you_mean(word: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => one_of(candidates),
    }
}

/// "known here: `a`, `b` and `c`".
pub fn one_of(candidates: &[&str]) -> String {
    format!("known here: {}", listed(candidates))
}

/// "`a`, `b` and `c`".
pub fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => "nothing".into(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let keys = ["memory", "timeout", "architecture", "log_retention"];
        for (word, expected) in [
            ("memry", Some("memory")),
            ("Memory", Some("memory")),
            ("mem", Some("memory")),
            ("tiemout", Some("timeout")),
            ("log-retention", Some("log_retention")),
            ("arch", Some("architecture")),
            ("bucket", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(100_000), ["aaa"]), None);
    }

    #[test]
    fn words_are_listed_as_one_says_them() {
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
