//! What a stage was before its last move, kept in the stage's own variables: the one update that
//! moves a stage keeps it, too. Pure.
//!
//! `previous` is `<deployment>:<version>`; where variables were different, `:<n>` follows, and
//! `previous_0` … hold what each of them was. After a state that gave wrong answers `:wrong`
//! follows the count.

use crate::resource::variable::{PREVIOUS, PREVIOUS_PREFIX};
use std::collections::BTreeMap;

/// Characters of a stage variable's value. Source: API Gateway, "Quotas for configuring and running
/// a REST API".
const VALUE: usize = 512;

/// Says in `previous` that what the variables were didn't fit.
const LEFT_OUT: &str = "-";

/// Says in `previous` that the stage left this state by itself.
const WRONG: &str = "wrong";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Deployment's id.
    pub deployment: String,
    /// Function version's number.
    pub version: String,
    /// The variables that were different: what each was, `None` where it wasn't there. `None`
    /// altogether: they didn't fit.
    pub values: Option<BTreeMap<String, Option<String>>>,
    /// It gave wrong answers, so a deploy took the stage back from it: nobody wants to be there
    /// again without a deploy.
    pub wrong: bool,
}

impl Previous {
    /// From all of a stage's variables; `None` for a stage that never moved.
    pub fn read(variables: &BTreeMap<String, String>) -> Option<Previous> {
        let mut parts = variables.get(PREVIOUS)?.splitn(4, ':');
        let (deployment, version) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let count = match parts.next() {
            None => Some(0),
            Some(count) => count.parse::<usize>().ok(),
        };
        let values = count.and_then(|count| {
            let parts: Option<String> =
                (0..count).map(|n| variables.get(&part(n)).map(String::as_str)).collect();
            unpacked(&parts?)
        });
        Some(Previous { deployment, version, values, wrong: parts.next() == Some(WRONG) })
    }

    /// The variables that keep it; `room` is how many there may be beside `previous`.
    pub fn write(&self, room: usize) -> BTreeMap<String, String> {
        let Previous { deployment, version, values, wrong } = self;
        let base = format!("{deployment}:{version}");
        let parts = values.as_ref().map(|values| chunks(&packed(values)));
        let mark = if *wrong { format!(":{WRONG}") } else { String::new() };
        match parts {
            Some(parts) if parts.is_empty() && !wrong => [(PREVIOUS.to_owned(), base)].into(),
            Some(parts) if parts.len() <= room => {
                let first = (PREVIOUS.to_owned(), format!("{base}:{}{mark}", parts.len()));
                std::iter::once(first)
                    .chain(parts.into_iter().enumerate().map(|(n, text)| (part(n), text)))
                    .collect()
            }
            _ => [(PREVIOUS.to_owned(), format!("{base}:{LEFT_OUT}{mark}"))].into(),
        }
    }
}

fn part(n: usize) -> String {
    format!("{PREVIOUS_PREFIX}{n}")
}

/// `<name>=<length>:<value>` one after the other; length 0 for what wasn't there, since no value is
/// empty. The alphabet of names and values is ASCII, and so is this one.
fn packed(values: &BTreeMap<String, Option<String>>) -> String {
    values
        .iter()
        .map(|(name, value)| (name, value.as_deref().unwrap_or_default()))
        .map(|(name, value)| format!("{name}={}:{value}", value.len()))
        .collect()
}

fn unpacked(mut text: &str) -> Option<BTreeMap<String, Option<String>>> {
    let mut values = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once('=')?;
        let (length, rest) = rest.split_once(':')?;
        let length: usize = length.parse().ok()?;
        let (value, rest) = (rest.get(..length)?, rest.get(length..)?);
        values.insert(name.to_owned(), (length > 0).then(|| value.to_owned()));
        text = rest;
    }
    Some(values)
}

fn chunks(text: &str) -> Vec<String> {
    text.as_bytes().chunks(VALUE).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn previous(values: &[(&str, Option<&str>)]) -> Previous {
        let values = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
            .collect();
        Previous {
            deployment: "d1".into(),
            version: "7".into(),
            values: Some(values),
            wrong: false,
        }
    }

    #[test]
    fn what_is_written_is_read_again_whatever_the_values_look_like() {
        let long = "https://sqs.us-east-1.amazonaws.com/1/q".repeat(13);
        for values in [
            vec![],
            vec![("destination_input", Some("s3://b/p/?format=ndjson&allow=a=3:b"))],
            vec![
                ("destination_a", None),
                ("destination_b", Some(&long[..507])),
                ("team", Some("x=2:y")),
            ],
        ] {
            let previous = previous(&values);
            let written = previous.write(10);
            assert!(written.values().all(|value| (1..=512).contains(&value.len())), "{written:?}");
            assert_eq!(Previous::read(&written).as_ref(), Some(&previous));
            let wrong = Previous { wrong: true, ..previous };
            assert_eq!(Previous::read(&wrong.write(10)), Some(wrong));
        }
    }

    #[test]
    fn it_takes_no_variable_more_where_nothing_but_code_and_api_changed() {
        assert_eq!(previous(&[]).write(0), [("previous".to_owned(), "d1:7".to_owned())].into());
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_known_to_be() {
        let written = previous(&[("destination_input", Some("s3://b/"))]).write(0);
        assert_eq!(written, [("previous".to_owned(), "d1:7:-".to_owned())].into());
        assert_eq!(Previous::read(&written).map(|read| read.values), Some(None));
    }

    #[test]
    fn a_stage_that_never_moved_has_no_previous_and_one_edited_by_hand_no_values() {
        assert_eq!(Previous::read(&BTreeMap::new()), None);
        let by_hand =
            |text: &str| Previous::read(&[("previous".to_owned(), text.to_owned())].into());
        assert_eq!(by_hand("nothing"), None);
        assert_eq!(by_hand("d1:7:1").map(|read| read.values), Some(None));
    }
}
