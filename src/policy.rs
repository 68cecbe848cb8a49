//! The role's inline policy and trust policy, the bucket's TLS statement: to JSON and back; whom a
//! policy lets in. Pure.

use crate::{
    observed::Opening,
    resource::{Policy, canonical},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The name of the role's inline policy.
pub const INLINE: &str = "routeto";
/// The id of our statement in a bucket's policy.
pub const TLS_SID: &str = "RoutetoTlsOnly";

const PUT: &str = "PutObjects";
const SEND: &str = "SendMessages";
const KEYS: &str = "UseKeys";
const LOGS: &str = "WriteLogs";

/// Trust policy of the role: Lambda, nobody else.
pub fn trust() -> String {
    canonical(&json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]
    }))
}

/// The inline policy as IAM takes it.
pub fn document(policy: &Policy) -> String {
    let mut statements = Vec::new();
    if !policy.put_objects.is_empty() {
        let mut statement = json!({"Sid": PUT, "Effect": "Allow", "Action": "s3:PutObject", "Resource": policy.put_objects});
        if let Some(account) = &policy.account {
            // IfExists: some S3-compatible back ends don't know the key; AWS always sends it.
            statement["Condition"] =
                json!({"StringEqualsIfExists": {"aws:ResourceAccount": account}});
        }
        statements.push(statement);
    }
    if !policy.send_messages.is_empty() {
        statements.push(json!({"Sid": SEND, "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": policy.send_messages}));
    }
    if !policy.keys.is_empty() {
        statements.push(json!({
            "Sid": KEYS, "Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": policy.keys
        }));
    }
    if !policy.logs.is_empty() {
        statements.push(json!({
            "Sid": LOGS, "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": policy.logs
        }));
    }
    canonical(&json!({"Version": "2012-10-17", "Statement": statements}))
}

/// Reads an inline policy; statements that are not in our shape end up in `other`.
pub fn parse(text: &str) -> Policy {
    let mut policy = Policy::default();
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        policy.other.insert("not JSON".into());
        return policy;
    };
    for statement in list(&value["Statement"]) {
        let resources = texts(&statement["Resource"]);
        let actions = texts(&statement["Action"]);
        let condition = &statement["Condition"];
        let account = condition["StringEqualsIfExists"]["aws:ResourceAccount"].as_str();
        let allowed = statement["Effect"] == "Allow";
        let is = |sid: &str, wanted: &[&str]| {
            allowed
                && statement["Sid"] == sid
                && actions
                    == wanted.iter().map(|action| action.to_string()).collect::<BTreeSet<_>>()
        };
        let only_account = condition
            .as_object()
            .is_some_and(|operators| operators.len() == 1 && account.is_some());
        if is(PUT, &["s3:PutObject"]) && only_account {
            policy.put_objects.extend(resources);
            policy.account = account.map(str::to_owned);
        } else if is(SEND, &["sqs:SendMessage"]) && condition.is_null() {
            policy.send_messages.extend(resources);
        } else if is(KEYS, &["kms:Decrypt", "kms:GenerateDataKey"]) && condition.is_null() {
            policy.keys.extend(resources);
        } else if is(LOGS, &["logs:CreateLogStream", "logs:PutLogEvents"]) && condition.is_null() {
            policy.logs.extend(resources);
        } else {
            policy.other.insert(canonical(statement));
        }
    }
    policy
}

/// The part of a role's policy that a destination (a stage variable's value) needs; `None` where
/// the policy doesn't allow all of it. Compared by what follows account and partition: a role's
/// policy names its own account's resources only. Keys are the buckets' and queues' own concern:
/// all of them are part of it.
pub fn covering(policy: &Policy, destination: &str) -> Option<Policy> {
    let (base, settings) = destination.split_once('?').unwrap_or((destination, ""));
    let mut part =
        Policy { account: policy.account.clone(), keys: policy.keys.clone(), ..Policy::default() };
    if let Some(place) = base.strip_prefix("s3://") {
        let allowed = settings.split('&').filter_map(|setting| setting.strip_prefix("allow="));
        // A destination without a prefix has no slash behind the bucket's name.
        let own = if place.contains('/') { format!("{place}*") } else { format!("{place}/*") };
        let wanted = std::iter::once(own)
            .chain(allowed.map(|place| format!("{}/*", place.trim_end_matches('/'))));
        for wanted in wanted {
            let arn = policy
                .put_objects
                .iter()
                .find(|arn| arn.split_once(":::").is_some_and(|(_, object)| object == wanted))?;
            part.put_objects.insert(arn.clone());
        }
    } else {
        let mut segments = base.rsplit('/');
        let (queue, account) = (segments.next()?, segments.next()?);
        let arn = policy
            .send_messages
            .iter()
            .find(|arn| arn.ends_with(&format!(":{account}:{queue}")))?;
        part.send_messages.insert(arn.clone());
    }
    Some(part)
}

/// Our statement in a bucket's policy: nothing without TLS.
pub fn tls_statement(partition: &str, bucket: &str) -> Value {
    json!({
        "Sid": TLS_SID, "Effect": "Deny", "Principal": "*", "Action": "s3:*",
        "Resource": [format!("arn:{partition}:s3:::{bucket}"), format!("arn:{partition}:s3:::{bucket}/*")],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}}
    })
}

/// Whether a bucket's policy has our statement, unchanged.
pub fn has_tls_statement(policy: &str, partition: &str, bucket: &str) -> bool {
    let wanted = canonical(&tls_statement(partition, bucket));
    serde_json::from_str::<Value>(policy).is_ok_and(|value| {
        list(&value["Statement"])
            .iter()
            .any(|statement| canonical(&sort_resources(statement)) == wanted)
    })
}

/// The statements of a bucket's or queue's policy that let in anyone, or another account. Services
/// are left out: that is how S3 and SNS reach a queue.
pub fn openings(policy: &str, account: &str) -> Vec<Opening> {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let allowed =
        list(&policy["Statement"]).iter().filter(|statement| statement["Effect"] == "Allow");
    allowed
        .filter_map(|statement| {
            let whom = outsiders(statement, account)?;
            let mut actions = texts(&statement["Action"]);
            actions.extend(
                texts(&statement["NotAction"]).iter().map(|action| format!("all but {action}")),
            );
            Some(Opening {
                sid: statement["Sid"].as_str().unwrap_or_default().to_owned(),
                whom,
                actions,
            })
        })
        .collect()
}

/// Whom outside the account a statement allows something; `None` for no one.
fn outsiders(statement: &Value, account: &str) -> Option<String> {
    let principal = &statement["Principal"];
    let named = texts(&principal["AWS"]);
    // "Allow" with NotPrincipal lets in all the others, anonymous callers among them. Source: IAM
    // User Guide, NotPrincipal.
    if !statement["NotPrincipal"].is_null() || principal == "*" || named.contains("*") {
        return match reach(&statement["Condition"], account) {
            Reach::Account => None,
            Reach::Other(whom) => Some(whom),
            Reach::Anyone => Some("anyone".into()),
        };
    }
    let accounts = named.iter().filter_map(|principal| match account_of(principal) {
        Some(owner) if owner == account => None,
        Some(owner) if is_account(owner) => Some(format!("account {owner}")),
        Some(_) => Some(principal.clone()),
        // The id of a user or role that is gone.
        None => None,
    });
    let users =
        texts(&principal["CanonicalUser"]).into_iter().map(|id| format!("the canonical user {id}"));
    let federated =
        texts(&principal["Federated"]).into_iter().map(|provider| format!("users of {provider}"));
    let all: BTreeSet<String> = accounts.chain(users).chain(federated).collect();
    (!all.is_empty()).then(|| all.into_iter().collect::<Vec<_>>().join(", "))
}

/// The account of an ARN, or the text where it is one itself.
fn account_of(principal: &str) -> Option<&str> {
    if is_account(principal) { Some(principal) } else { principal.split(':').nth(4) }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whom a condition leaves of everyone.
#[derive(PartialEq)]
enum Reach {
    Anyone,
    Other(String),
    /// This account, or a place or an organization that the statement names.
    Account,
}

/// Source of the keys: S3 User Guide, "The meaning of public".
fn reach(condition: &Value, account: &str) -> Reach {
    let mut all = vec![];
    for (operator, keys) in condition.as_object().into_iter().flatten() {
        // Negated ones, and those that hold where the key is missing (IfExists, ForAllValues),
        // leave anyone.
        let operator = operator.to_ascii_lowercase();
        let operator = operator.strip_prefix("foranyvalue:").unwrap_or(&operator);
        if ![
            "stringequals",
            "stringequalsignorecase",
            "stringlike",
            "arnequals",
            "arnlike",
            "ipaddress",
        ]
        .contains(&operator)
        {
            continue;
        }
        for (key, values) in keys.as_object().into_iter().flatten() {
            all.push(reach_of(&key.to_ascii_lowercase(), &texts(values), account));
        }
    }
    // All of them have to hold.
    if all.contains(&Reach::Account) {
        return Reach::Account;
    }
    all.into_iter().find(|reach| *reach != Reach::Anyone).unwrap_or(Reach::Anyone)
}

fn reach_of(key: &str, values: &BTreeSet<String>, account: &str) -> Reach {
    const OWNERS: [&str; 6] = [
        "aws:principalaccount",
        "aws:sourceaccount",
        "aws:sourceowner",
        "aws:principalarn",
        "aws:sourcearn",
        "s3:dataaccesspointaccount",
    ];
    const PLACES: [&str; 7] = [
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:sourceorgid",
        "aws:sourceip",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "s3:dataaccesspointarn",
    ];
    let open = |value: &String| {
        value.trim_matches('*').is_empty() || ["0.0.0.0/0", "::/0"].contains(&value.as_str())
    };
    if values.is_empty() || values.iter().any(open) {
        return Reach::Anyone;
    }
    if PLACES.contains(&key) {
        return Reach::Account;
    }
    if !OWNERS.contains(&key) {
        return Reach::Anyone;
    }
    let owners: BTreeSet<&str> = values.iter().filter_map(|value| account_of(value)).collect();
    // A bucket's ARN has no account; it names one bucket all the same.
    let others: Vec<&str> =
        owners.into_iter().filter(|owner| !owner.is_empty() && *owner != account).collect();
    match others.as_slice() {
        [] => Reach::Account,
        others if others.iter().any(|owner| !is_account(owner)) => Reach::Anyone,
        others => Reach::Other(format!("account {}", others.join(", "))),
    }
}

/// A bucket's policy with our statement in it, the user's own statements kept.
pub fn with_tls_statement(policy: Option<&str>, partition: &str, bucket: &str) -> String {
    let mut value = policy
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
        .unwrap_or_else(|| json!({"Version": "2012-10-17", "Statement": []}));
    let mut statements: Vec<Value> = list(&value["Statement"])
        .iter()
        .filter(|statement| statement["Sid"] != TLS_SID)
        .cloned()
        .collect();
    statements.push(tls_statement(partition, bucket));
    value["Statement"] = Value::Array(statements);
    canonical(&value)
}

/// S3 may hand a list back in another order.
fn sort_resources(statement: &Value) -> Value {
    let mut statement = statement.clone();
    if let Some(resources) = statement["Resource"].as_array_mut() {
        resources.sort_by_key(|resource| resource.as_str().map(str::to_owned));
    }
    statement
}

/// IAM writes a single statement or value without its list.
fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}

fn texts(value: &Value) -> BTreeSet<String> {
    list(value).iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            put_objects: ["arn:aws:s3:::b/p/*".into()].into(),
            send_messages: ["arn:aws:sqs:us-east-1:1:q".into()].into(),
            keys: BTreeSet::new(),
            logs: ["arn:aws:logs:us-east-1:1:log-group:/aws/lambda/x:*".into()].into(),
            account: Some("1".into()),
            other: BTreeSet::new(),
        }
    }

    #[test]
    fn a_destination_is_covered_by_just_what_it_needs() {
        let mut policy = policy();
        policy
            .put_objects
            .extend(["arn:aws:s3:::archive/teamA/*".into(), "arn:aws:s3:::whole/*".into()]);
        let names = |destination: &str| {
            let part = covering(&policy, destination)?;
            Some(
                part.put_objects
                    .into_iter()
                    .chain(part.send_messages)
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        };
        assert_eq!(names("s3://b/p/?format=ndjson").as_deref(), Some("arn:aws:s3:::b/p/*"));
        assert_eq!(
            names("s3://b/p/?allow=archive/teamA").as_deref(),
            Some("arn:aws:s3:::archive/teamA/* arn:aws:s3:::b/p/*")
        );
        assert_eq!(names("s3://whole").as_deref(), Some("arn:aws:s3:::whole/*"));
        assert_eq!(
            names("https://sqs.us-east-1.amazonaws.com/1/q?format=body").as_deref(),
            Some("arn:aws:sqs:us-east-1:1:q")
        );
        for other in [
            "s3://b/",
            "s3://b/p",
            "s3://b/p/?allow=archive/teamB",
            "https://sqs.us-east-1.amazonaws.com/1/qq",
            "",
            "x",
        ] {
            assert_eq!(names(other), None, "{other}");
        }
    }

    #[test]
    fn a_policy_written_and_read_again_is_the_same() {
        assert_eq!(parse(&document(&policy())), policy());
    }

    #[test]
    fn a_statement_widened_by_hand_is_a_difference() {
        let text = document(&policy()).replace("sqs:SendMessage", "sqs:*");
        let read = parse(&text);
        assert_eq!(read.other.len(), 1);
        assert_ne!(read, policy());
    }

    #[test]
    fn the_tls_statement_is_added_beside_the_users_own() {
        let mine = r#"{"Version":"2012-10-17","Statement":{"Sid":"Splunk","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"x"}}"#;
        let text = with_tls_statement(Some(mine), "aws", "b");
        assert!(has_tls_statement(&text, "aws", "b"));
        assert!(text.contains("Splunk"));
        assert!(!has_tls_statement(mine, "aws", "b"));
        assert_eq!(with_tls_statement(Some(&text), "aws", "b"), text);
    }

    /// Whom a statement lets in, given its principal and its condition.
    #[test]
    fn a_statement_opens_to_anyone_or_another_account_or_not_at_all() {
        const OURS: &str = "123456789012";
        const OTHERS: &str = "210987654321";
        let whom = |principal: Value, condition: Value| {
            let statement = json!({"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Condition": condition});
            let policy = json!({"Statement": statement}).to_string();
            openings(&policy, OURS).first().map(|opening| opening.whom.clone())
        };
        let anyone = Some("anyone".to_owned());
        let other = Some(format!("account {OTHERS}"));
        let user = |account: &str| json!({"AWS": format!("arn:aws:iam::{account}:user/me")});
        let when = |operator: &str, key: &str, value: &str| json!({operator: {key: value}});
        let queue = |account: &str| format!("arn:aws:sqs:us-east-1:{account}:q");
        let cases = [
            (json!("*"), Value::Null, anyone.clone()),
            (json!({"AWS": "*"}), Value::Null, anyone.clone()),
            (json!({"AWS": [OURS, "*"]}), Value::Null, anyone.clone()),
            (json!({"AWS": OURS}), Value::Null, None),
            (json!({"AWS": OTHERS}), Value::Null, other.clone()),
            (user(OURS), Value::Null, None),
            (user(OTHERS), Value::Null, other.clone()),
            (json!({"AWS": "AIDAEXAMPLEEXAMPLE"}), Value::Null, None),
            (json!({"Service": "sns.amazonaws.com"}), Value::Null, None),
            (json!({"CanonicalUser": "79a5"}), Value::Null, Some("the canonical user 79a5".into())),
            // what a condition leaves of everyone
            (json!("*"), when("Bool", "aws:SecureTransport", "true"), anyone.clone()),
            (json!("*"), when("StringEquals", "aws:PrincipalAccount", OURS), None),
            (json!("*"), when("StringEquals", "AWS:SourceAccount", OTHERS), other.clone()),
            (json!("*"), when("StringEquals", "aws:PrincipalOrgID", "o-1"), None),
            (json!("*"), when("StringNotEquals", "aws:PrincipalOrgID", "o-1"), anyone.clone()),
            (json!("*"), when("StringEqualsIfExists", "aws:PrincipalOrgID", "o-1"), anyone.clone()),
            (
                json!("*"),
                when("ForAllValues:StringEquals", "aws:PrincipalOrgID", "o-1"),
                anyone.clone(),
            ),
            (json!("*"), when("StringLike", "aws:PrincipalOrgID", "*"), anyone.clone()),
            (json!("*"), when("IpAddress", "aws:SourceIp", "203.0.113.0/24"), None),
            (json!("*"), when("IpAddress", "aws:SourceIp", "0.0.0.0/0"), anyone.clone()),
            (json!("*"), when("ArnLike", "aws:SourceArn", &queue(OURS)), None),
            (json!("*"), when("ArnLike", "aws:SourceArn", &queue(OTHERS)), other),
            (json!("*"), when("ArnLike", "aws:SourceArn", &queue("*")), anyone),
            (json!("*"), when("ArnLike", "aws:SourceArn", "arn:aws:s3:::bucket"), None),
        ];
        for (principal, condition, wanted) in cases {
            assert_eq!(
                whom(principal.clone(), condition.clone()),
                wanted,
                "{principal} where {condition}"
            );
        }
        let others = r#"{"Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "s3:*"},
            {"Sid": "Rest", "Effect": "Allow", "NotPrincipal": {"AWS": "123456789012"}, "NotAction": "s3:PutObject"}]}"#;
        let opening = Opening {
            sid: "Rest".into(),
            whom: "anyone".into(),
            actions: ["all but s3:PutObject".into()].into(),
        };
        assert_eq!(openings(others, OURS), [opening]);
        assert_eq!(openings("", OURS), []);
        assert_eq!(
            openings(&canonical(&json!({"Statement": [tls_statement("aws", "b")]})), OURS),
            []
        );
    }
}
