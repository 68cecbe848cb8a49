//! All that stands in the account for a stack, as plain data: two worlds are equal when two deploys
//! did the same.

use super::aws;
use serde_json::Value;

/// A stack's resources without whatever differs between two clean runs. The shape is `boto.py`'s.
#[derive(Clone, Debug, PartialEq)]
pub struct World(pub Value);

impl World {
    pub fn of(stack: &str) -> Self {
        World(aws::world(stack))
    }

    /// `kind name` of everything there is, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (kind, items) in self.0.as_object().into_iter().flatten() {
            let singular = kind.trim_end_matches('s').replace('_', " ");
            names.extend(
                items
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| format!("{singular} {name}")),
            );
            names.extend(
                items
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|item| format!("{singular} {}", item["name"].as_str().unwrap_or("?"))),
            );
        }
        names.sort();
        names
    }

    /// The API, where there is exactly one.
    pub fn api(&self) -> &Value {
        let apis = self.0["apis"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(apis.len(), 1, "one API: {apis:#?}");
        &apis[0]
    }

    pub fn bucket(&self, name: &str) -> &Value {
        &self.0["buckets"][name]
    }

    pub fn queue(&self, name: &str) -> &Value {
        &self.0["queues"][name]
    }

    pub fn function(&self, name: &str) -> &Value {
        &self.0["functions"][name]
    }

    pub fn role(&self, name: &str) -> &Value {
        &self.0["roles"][name]
    }

    /// The name of a role's only policy.
    pub fn policy_of(&self, role: &str) -> String {
        let inline = self.role(role)["inline"].as_object().expect("a role has policies");
        inline.keys().next().expect("this one has one").clone()
    }

    pub fn stage(&self, name: &str) -> &Value {
        &self.api()["stages"][name]
    }
}

/// Where two worlds differ, a line each: `path: one | other`.
pub fn differences(one: &World, other: &World) -> Vec<String> {
    fn walk(path: &str, one: &Value, other: &Value, out: &mut Vec<String>) {
        match (one, other) {
            (Value::Object(a), Value::Object(b)) => {
                let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for key in keys {
                    walk(
                        &format!("{path}.{key}"),
                        one.get(key).unwrap_or(&Value::Null),
                        other.get(key).unwrap_or(&Value::Null),
                        out,
                    );
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                a.iter()
                    .zip(b)
                    .enumerate()
                    .for_each(|(i, (a, b))| walk(&format!("{path}[{i}]"), a, b, out));
            }
            _ if one == other => {}
            _ => out.push(format!("{path}: {one} | {other}")),
        }
    }
    let mut out = Vec::new();
    walk("", &one.0, &other.0, &mut out);
    out
}
