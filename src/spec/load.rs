//! From the tree to a draft of the stack: kinds, keys, defaults, and what can be said of one value
//! alone.

use super::{
    Architecture, FunctionSettings, S3Format, SqsFormat, Template, Throttle, TokenRule,
    draft::{
        DeadLetterDraft, DestinationDraft, RouteDraft, S3Draft, Spanned, SqsDraft, StackDraft,
        StageDraft, TemplateDraft,
    },
    names,
    reader::{
        Allowed, DEAD_LETTER, FUNCTION, Fields, Item, ROUTE, Reader, S3, SQS, STACK, STAGE,
        THROTTLE, could_be_a_token,
    },
    shown,
    suggest::nearest,
    text::Text,
    yaml::{Entry, Node, Value},
};
use std::{collections::BTreeMap, io, path::Path};

/// Accepted where a route says nothing.
pub(super) const JSON: &str = "application/json";

/// Routes and stages that are looked at. More than AWS takes, so that all of a file's mistakes are
/// told; not so many that a file could keep the checks of every route on every stage busy.
const PAST_LIMIT: usize = names::API_RESOURCES;

/// The draft of what could be read; what could not is in the reader's diagnostics.
pub(super) fn stack(reader: &mut Reader<'_>, root: &Node) -> Option<StackDraft> {
    if !matches!(root.value, Value::Map(_)) {
        reader.error(
            root.span,
            "a stack file is a mapping: `key: value` lines",
            "begin with `stack: NAME`",
        );
        return None;
    }
    let item = Item { name: "the stack file", node: root, key: root.span };
    let fields = reader.fields(item, &STACK)?;
    let name = reader
        .required(&fields, "stack", &STACK, "give the stack a name: `stack: webhooks`")
        .and_then(|item| {
            Some(Spanned { value: reader.settled(item, "stack", names::stack)?, span: item.span() })
        });
    let routes =
        reader.required(&fields, "routes", &STACK, "write at least one route under `routes:`");
    let stages =
        reader.required(&fields, "stages", &STACK, "write at least one stage under `stages:`");
    Some(StackDraft {
        name,
        region: fields.get("region").and_then(|item| region(reader, item)),
        function: fields
            .get("function")
            .map_or_else(FunctionSettings::default, |item| function(reader, item)),
        routes_at: routes.map_or(fields.at, |item| item.key),
        routes: routes.map(|item| self::routes(reader, item)).unwrap_or_default(),
        binary: fields.get("binary").map(|item| media_types(reader, item)).unwrap_or_default(),
        stages: stages.map(|item| self::stages(reader, item)).unwrap_or_default(),
        tags: fields.get("tags").map(|item| tags(reader, item)).unwrap_or_default(),
    })
}

fn region(reader: &mut Reader<'_>, item: Item<'_>) -> Option<String> {
    let region = reader.settled(item, "region", names::region)?;
    if !names::REGIONS.contains(&region.as_str()) {
        let help = match nearest(&region, names::REGIONS) {
            Some(known) => format!(
                "did you mean `{known}`? A region that is newer than this routeto works all the same"
            ),
            None => "a region that is newer than this routeto works all the same".into(),
        };
        reader.warning(item.span(), "this version knows no such region", help);
    }
    Some(region)
}

fn function(reader: &mut Reader<'_>, item: Item<'_>) -> FunctionSettings {
    let default = FunctionSettings::default();
    let Some(fields) = reader.fields(item, &FUNCTION) else { return default };
    const ARCHITECTURES: [(&str, Architecture); 2] =
        [("x86_64", Architecture::X86_64), ("arm64", Architecture::Arm64)];
    FunctionSettings {
        memory: fields
            .get("memory")
            .and_then(|item| reader.integer(item, 128..=10_240, " of MB"))
            .unwrap_or(default.memory),
        timeout: fields
            .get("timeout")
            .and_then(|item| reader.integer(item, 1..=25, " of seconds"))
            .unwrap_or(default.timeout),
        architecture: fields
            .get("architecture")
            .and_then(|item| reader.choice(item, &ARCHITECTURES))
            .unwrap_or(default.architecture),
        log_retention: fields
            .get("log_retention")
            .and_then(|item| log_retention(reader, item))
            .unwrap_or(default.log_retention),
    }
}

fn log_retention(reader: &mut Reader<'_>, item: Item<'_>) -> Option<u32> {
    let days = reader.integer(item, 1..=3653, " of days")?;
    if names::LOG_RETENTION.contains(&days) {
        return Some(days);
    }
    let next = names::LOG_RETENTION.iter().find(|known| **known > days).copied().unwrap_or(days);
    let all: Vec<String> = names::LOG_RETENTION.iter().map(u32::to_string).collect();
    reader.error(
        item.span(),
        format!(
            "CloudWatch keeps logs for certain numbers of days only, and `{days}` is none of them"
        ),
        format!("the next longer one is {next}; all of them: {}", all.join(", ")),
    );
    None
}

fn routes(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<RouteDraft> {
    let Some(entries) = reader.entries(item) else { return Vec::new() };
    if entries.is_empty() {
        reader.error(
            item.key,
            "`routes` has no route",
            "write one: a path like `/input:` with `s3:` or `sqs:` under it",
        );
    }
    if let Some(extra) = entries.get(names::ROUTES) {
        let message = format!(
            "{} routes; each takes a stage variable, and a stage has room for {}",
            entries.len(),
            names::ROUTES
        );
        reader.error(extra.key_span, message, "split the stack in two");
    }
    entries.iter().take(PAST_LIMIT).map(|entry| route(reader, entry)).collect()
}

fn route(reader: &mut Reader<'_>, entry: &Entry) -> RouteDraft {
    let path = entry.key.clone();
    if reader.key(entry, "route", names::path) && !names::names_records(&path) {
        reader.warning(
            entry.key_span,
            format!("the last part of `{path}` has characters that no record's name has: records are named with `_` in their place"),
            "use letters, digits and `. _ -` in the last part, or put `&app=…` into the provider's URL",
        );
    }
    let mut draft = RouteDraft {
        variable: names::destination_variable(&path),
        path: Spanned { value: path, span: entry.key_span },
        destination: None,
        token: TokenRule::Query,
        accept: vec![Spanned { value: JSON.to_owned(), span: entry.key_span }],
        templates: Vec::new(),
    };
    let Some(fields) = reader.fields(entry.into(), &ROUTE) else { return draft };
    draft.destination = destination(reader, &fields, &entry.key);
    draft.token = token(reader, &fields, &entry.key);
    if let Some(item) = fields.get("accept") {
        draft.accept = accept(reader, item);
    }
    if let Some(item) = fields.get("templates") {
        draft.templates = templates(reader, item);
    }
    draft
}

fn destination(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    path: &str,
) -> Option<DestinationDraft> {
    match (fields.get("s3"), fields.get("sqs")) {
        (Some(item), None) => s3(reader, item).map(DestinationDraft::S3),
        (None, Some(item)) => sqs(reader, item).map(DestinationDraft::Sqs),
        // A key that was meant as the destination was told by itself.
        (None, None) if fields.names_another_destination() => None,
        (None, None) => {
            let help = "write `s3:` with a `bucket`, or `sqs:` with a `queue`, under it";
            reader.error(fields.at, format!("route `{}` has no destination", shown(path)), help);
            None
        }
        (Some(s3_item), Some(sqs_item)) => {
            // The provider posts to one URL, so another route would not get the same POSTs.
            let help = "keep one of them. To have each webhook in both: keep `s3` and let S3 notify a queue \
                        (event notifications on the bucket), or keep `sqs` and let its worker write to S3";
            let (_, _) = (s3(reader, s3_item), sqs(reader, sqs_item));
            reader.error(
                sqs_item.key,
                format!("route `{}` has two destinations, `s3` and `sqs`", shown(path)),
                help,
            );
            None
        }
    }
}

fn token(reader: &mut Reader<'_>, fields: &Fields<'_>, path: &str) -> TokenRule {
    const RULES: [(&str, TokenRule); 2] = [("query", TokenRule::Query), ("none", TokenRule::None)];
    let Some(item) = fields.get("token") else { return TokenRule::Query };
    if matches!(&item.node.value, Value::Scalar(scalar) if could_be_a_token(&scalar.text)) {
        let help = "a token never stands in the stack file: set ROUTETO_TOKEN_<STAGE> for the first deploy, or use `routeto set-token`";
        reader.error(item.span(), "`token` must be `query` or `none`; what stands there isn't shown, since it could be a token", help);
        return TokenRule::Query;
    }
    let rule = reader.choice(item, &RULES).unwrap_or(TokenRule::Query);
    if rule == TokenRule::None {
        reader.warning(
            item.span(),
            format!("route `{}` takes POSTs from anybody who finds its URL", shown(path)),
            "see to it that strangers are kept out by other means, or take `token: none` away",
        );
    }
    rule
}

/// `None` where what is written can't be read.
fn existing(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<bool> {
    fields.get("existing").map_or(Some(false), |item| reader.boolean(item))
}

fn s3(reader: &mut Reader<'_>, item: Item<'_>) -> Option<S3Draft> {
    const FORMATS: [(&str, S3Format); 3] =
        [("raw", S3Format::Raw), ("ndjson", S3Format::Ndjson), ("envelope", S3Format::Envelope)];
    let fields = reader.fields(item, &S3)?;
    let existing = existing(reader, &fields);
    let format = match fields.get("format") {
        Some(item) => Spanned {
            value: reader.choice(item, &FORMATS).unwrap_or(S3Format::Raw),
            span: item.span(),
        },
        None => Spanned { value: S3Format::Raw, span: item.key },
    };
    let expire = fields.get("expire_after");
    // Days. Source: S3 takes any positive number; a hundred years is past anybody's meaning.
    let expire_after = expire.and_then(|item| reader.integer(item, 1..=36_500, " of days"));
    if let (Some(true), Some(expire)) = (existing, expire) {
        untouched(reader, expire, "bucket");
    }
    Some(S3Draft {
        bucket: reader
            .required(
                &fields,
                "bucket",
                &S3,
                "name it: `bucket: webhooks-${account}-${region}-${stage}`",
            )
            .and_then(|item| reader.text(item, Allowed::All)),
        existing,
        prefix: fields
            .get("prefix")
            .filter(|item| !item.node.is_null())
            .and_then(|item| reader.text(item, Allowed::All)),
        format,
        allow: fields.get("allow").map(|item| texts(reader, item)).unwrap_or_default(),
        expire_after,
        readable: existing.is_some() && expire.is_some() == expire_after.is_some(),
    })
}

fn texts(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<Text> {
    reader.elements(item).into_iter().filter_map(|item| reader.text(item, Allowed::All)).collect()
}

fn sqs(reader: &mut Reader<'_>, item: Item<'_>) -> Option<SqsDraft> {
    const FORMATS: [(&str, SqsFormat); 2] =
        [("envelope", SqsFormat::Envelope), ("body", SqsFormat::Body)];
    let fields = reader.fields(item, &SQS)?;
    let existing = existing(reader, &fields);
    let dead_letter = fields.get("dead_letter");
    let dead = dead_letter.map(|item| self::dead_letter(reader, item));
    let whole = |dead: &Option<DeadLetterDraft>| {
        dead.as_ref().is_some_and(|dead| dead.queue.is_some() && dead.after.is_some())
    };
    if let (Some(true), Some(dead_letter)) = (existing, dead_letter) {
        untouched(reader, dead_letter, "queue");
    }
    Some(SqsDraft {
        queue: reader
            .required(&fields, "queue", &SQS, "name it: `queue: events-${stage}`")
            .and_then(|item| reader.text(item, Allowed::All)),
        existing,
        readable: existing.is_some() && dead.as_ref().is_none_or(whole),
        dead_letter: dead.flatten(),
        format: fields
            .get("format")
            .and_then(|item| reader.choice(item, &FORMATS))
            .unwrap_or(SqsFormat::Envelope),
    })
}

fn untouched(reader: &mut Reader<'_>, item: Item<'_>, what: &str) {
    reader.error(
        item.key,
        format!("`{}` would change a {what} that is `existing: true`, and such a {what} is never changed", item.name),
        format!("take one of the two away, and set up the {what} where it is kept"),
    );
}

fn dead_letter(reader: &mut Reader<'_>, item: Item<'_>) -> Option<DeadLetterDraft> {
    let fields = reader.fields(item, &DEAD_LETTER)?;
    let help = "write `dead_letter: { queue: events-dead-${stage}, after: 5 }`";
    Some(DeadLetterDraft {
        queue: reader
            .required(&fields, "queue", &DEAD_LETTER, help)
            .and_then(|item| reader.text(item, Allowed::All)),
        // Source: SQS RedrivePolicy, maxReceiveCount.
        after: reader
            .required(&fields, "after", &DEAD_LETTER, help)
            .and_then(|item| reader.integer(item, 1..=1000, " of receives")),
    })
}

fn accept(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<Spanned<String>> {
    let before = reader.diagnostics.len();
    let types = media_types(reader, item);
    if types.is_empty() && reader.diagnostics.len() == before {
        reader.error(
            item.span(),
            "`accept` has no content type",
            "name one, or leave `accept` out: then it is `application/json`",
        );
    }
    types
}

fn media_types(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<Spanned<String>> {
    let elements = reader.elements_meant(item, names::media_types_meant);
    elements
        .into_iter()
        .filter_map(|item| {
            Some(Spanned {
                value: reader.settled(item, "content type", names::media_type)?.to_lowercase(),
                span: item.span(),
            })
        })
        .collect()
}

fn templates(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<TemplateDraft> {
    let mut templates: Vec<TemplateDraft> = Vec::new();
    for entry in reader.entries(item).unwrap_or_default() {
        if !reader.key(entry, "content type", names::media_type) {
            continue;
        }
        let media_type = entry.key.to_lowercase();
        if let Some(first) = templates.iter().find(|t| t.media_type.value == media_type) {
            let message = format!(
                "`{media_type}` has two templates, first in line {}",
                first.media_type.span.place.line
            );
            reader.error(
                entry.key_span,
                message,
                "keep one of them; the case of a content type's letters means nothing",
            );
            continue;
        }
        let item = Item::from(entry);
        templates.push(TemplateDraft {
            media_type: Spanned { value: media_type, span: entry.key_span },
            file_span: item.span(),
            template: template(reader, item),
        });
    }
    templates
}

fn template(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Template> {
    let written = reader.text(item, Allowed::Env)?;
    let file = reader.file().parent().unwrap_or(Path::new("")).join(&written.pattern.0);
    let name = shown(&written.written);
    let bytes = match (reader.world.read)(&file) {
        Ok(bytes) => bytes,
        Err(error) => {
            // The path is shown as written: a part of it may come from the environment.
            let message = match error.kind() {
                io::ErrorKind::NotFound => format!("there is no mapping template `{name}`"),
                io::ErrorKind::InvalidInput => {
                    format!("the mapping template `{name}` is not a regular file")
                }
                _ => format!("the mapping template `{name}` can't be read: {}", error.kind()),
            };
            reader.error(
                item.span(),
                message,
                "paths are relative to the stack file's own directory",
            );
            return None;
        }
    };
    if bytes.len() > names::TEMPLATE {
        let message = format!(
            "the mapping template `{name}` has {} bytes; API Gateway takes 300 KB",
            bytes.len()
        );
        reader.error(item.span(), message, "make it shorter");
        return None;
    }
    match String::from_utf8(bytes) {
        // A byte order mark would stand before the event, which then is no JSON.
        Ok(text) => Some(Template {
            file,
            text: text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text),
        }),
        Err(error) => {
            let message = format!(
                "the mapping template `{name}` is not UTF-8: byte {} is not",
                error.utf8_error().valid_up_to() + 1
            );
            reader.error(item.span(), message, "save it as UTF-8");
            None
        }
    }
}

fn stages(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<StageDraft> {
    let Some(entries) = reader.entries(item) else { return Vec::new() };
    if entries.is_empty() {
        reader.error(item.key, "`stages` has no stage", "write one: a name like `prod:` under it");
    }
    if let Some(extra) = entries.get(names::STAGES) {
        let message = format!("{} stages; an API has at most {}", entries.len(), names::STAGES);
        reader.error(extra.key_span, message, "split the stack, or take stages away");
    }
    entries.iter().take(PAST_LIMIT).filter_map(|entry| stage(reader, entry)).collect()
}

fn stage(reader: &mut Reader<'_>, entry: &Entry) -> Option<StageDraft> {
    let good = reader.key(entry, "stage", names::stage);
    let fields = reader.fields(entry.into(), &STAGE)?;
    let draft = StageDraft {
        name: Spanned { value: entry.key.clone(), span: entry.key_span },
        throttle: fields.get("throttle").and_then(|item| throttle(reader, item)),
        variables: fields.get("variables").map(|item| variables(reader, item)).unwrap_or_default(),
    };
    good.then_some(draft)
}

/// Requests a second that an account may have at most. Source: Amazon API Gateway quotas
/// (raisable).
const ACCOUNT_RATE: u32 = 10_000;

fn throttle(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Throttle> {
    let fields = reader.fields(item, &THROTTLE)?;
    let help = "write `throttle: { rate: 100, burst: 200 }`";
    let rate = reader
        .required(&fields, "rate", &THROTTLE, help)
        .and_then(|item| reader.rate(item, ACCOUNT_RATE));
    let burst = reader
        .required(&fields, "burst", &THROTTLE, help)
        .and_then(|item| reader.integer(item, 1..=ACCOUNT_RATE, " of requests"));
    Some(Throttle { rate: rate?, burst: burst? })
}

fn variables(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<(String, Text)> {
    let mut variables = Vec::new();
    for entry in reader.entries(item).unwrap_or_default() {
        let good = reader.key(entry, "stage variable", names::variable);
        if let Some(value) = reader.text(entry.into(), Allowed::All).filter(|_| good) {
            variables.push((entry.key.clone(), value));
        }
    }
    variables
}

fn tags(reader: &mut Reader<'_>, item: Item<'_>) -> BTreeMap<String, String> {
    let Some(entries) = reader.entries(item) else { return BTreeMap::new() };
    if let Some(extra) = entries.get(names::TAGS) {
        let message =
            format!("{} tags; at most {} fit beside routeto's own", entries.len(), names::TAGS);
        reader.error(extra.key_span, message, "take some away");
    }
    let mut tags = BTreeMap::new();
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for entry in entries {
        let mut good = reader.key(entry, "tag", names::tag_key);
        // Source: IAM, CreateRole, InvalidInput: "Duplicate tag keys found. Please note that Tag
        // keys are case insensitive."
        if let Some(other) = seen.insert(entry.key.to_lowercase(), &entry.key)
            && good
        {
            let message = format!(
                "tag `{}` differs from tag `{}` only in upper and lower case",
                entry.key,
                super::shown(other)
            );
            reader.error(
                entry.key_span,
                message,
                "IAM takes the two for one key: keep one of them",
            );
            good = false;
        }
        if let Some(value) =
            reader.settled(entry.into(), "tag value", names::tag_value).filter(|_| good)
        {
            tags.insert(entry.key.clone(), value);
        }
    }
    tags
}
