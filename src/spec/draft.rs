//! What was read of a stack file, with the places: what `load` makes and `check` looks over.

use super::{
    DeadLetter, Destination, FunctionSettings, Pattern, Route, S3Destination, S3Format,
    SqsDestination, SqsFormat, Stack, Stage, Template, Throttle, TokenRule, text::Text, yaml::Span,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

#[derive(Clone, Debug)]
pub(super) struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

#[derive(Debug)]
pub(super) struct StackDraft {
    pub name: Option<Spanned<String>>,
    pub region: Option<String>,
    pub function: FunctionSettings,
    pub routes: Vec<RouteDraft>,
    /// The key `routes`, for what is wrong with all of them together.
    pub routes_at: Span,
    pub binary: Vec<Spanned<String>>,
    pub stages: Vec<StageDraft>,
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(super) struct RouteDraft {
    pub path: Spanned<String>,
    pub variable: String,
    pub destination: Option<DestinationDraft>,
    pub token: TokenRule,
    pub accept: Vec<Spanned<String>>,
    pub templates: Vec<TemplateDraft>,
}

#[derive(Debug)]
pub(super) struct TemplateDraft {
    /// Lower-case.
    pub media_type: Spanned<String>,
    pub file_span: Span,
    /// `None` if the file could not be read.
    pub template: Option<Template>,
}

#[derive(Debug)]
pub(super) enum DestinationDraft {
    S3(S3Draft),
    Sqs(SqsDraft),
}

#[derive(Debug)]
pub(super) struct S3Draft {
    pub bucket: Option<Text>,
    /// `None` if what is written can't be read: then an error was told, and nothing that follows
    /// from either meaning is.
    pub existing: Option<bool>,
    pub prefix: Option<Text>,
    pub format: Spanned<S3Format>,
    pub allow: Vec<Text>,
    pub expire_after: Option<u32>,
    /// Whether everything that other routes must agree with could be read.
    pub readable: bool,
}

#[derive(Debug)]
pub(super) struct SqsDraft {
    pub queue: Option<Text>,
    /// As a bucket's.
    pub existing: Option<bool>,
    pub dead_letter: Option<DeadLetterDraft>,
    pub format: SqsFormat,
    /// As a bucket's.
    pub readable: bool,
}

#[derive(Debug)]
pub(super) struct DeadLetterDraft {
    pub queue: Option<Text>,
    pub after: Option<u32>,
}

#[derive(Debug)]
pub(super) struct StageDraft {
    pub name: Spanned<String>,
    pub throttle: Option<Throttle>,
    pub variables: Vec<(String, Text)>,
}

impl StackDraft {
    /// `None` if a part that must be there could not be read; then an error was told.
    pub fn finish(&self, file: &Path) -> Option<Stack> {
        Some(Stack {
            name: self.name.as_ref()?.value.clone(),
            region: self.region.clone(),
            function: self.function.clone(),
            routes: self
                .routes
                .iter()
                .map(|r| Some((r.path.value.clone(), r.finish()?)))
                .collect::<Option<_>>()?,
            binary: self.binary.iter().map(|media_type| media_type.value.clone()).collect(),
            stages: self.stages.iter().map(StageDraft::finish).collect(),
            tags: self.tags.clone(),
            file: file.to_owned(),
            lines: self
                .routes
                .iter()
                .map(|r| (r.path.value.clone(), r.path.span.place.line))
                .collect(),
        })
    }
}

impl RouteDraft {
    pub fn finish(&self) -> Option<Route> {
        let templates =
            self.templates.iter().map(|t| Some((t.media_type.value.clone(), t.template.clone()?)));
        Some(Route {
            path: self.path.value.clone(),
            variable: self.variable.clone(),
            destination: self.destination.as_ref()?.finish()?,
            token: self.token,
            accept: self.accepted().into_iter().map(str::to_owned).collect(),
            templates: templates.collect::<Option<_>>()?,
        })
    }

    /// Lower-case media types, those of its templates included.
    pub fn accepted(&self) -> BTreeSet<&str> {
        self.accept
            .iter()
            .chain(self.templates.iter().map(|t| &t.media_type))
            .map(|media_type| media_type.value.as_str())
            .collect()
    }
}

impl DestinationDraft {
    fn finish(&self) -> Option<Destination> {
        Some(match self {
            Self::S3(s3) => Destination::S3(S3Destination {
                bucket: s3.bucket.as_ref()?.pattern.clone(),
                existing: s3.existing?,
                prefix: s3
                    .prefix
                    .as_ref()
                    .map_or_else(|| Pattern(String::new()), |prefix| prefix.pattern.clone()),
                format: s3.format.value,
                allow: s3.allow.iter().map(|entry| entry.pattern.clone()).collect(),
                expire_after: s3.expire_after,
            }),
            Self::Sqs(sqs) => Destination::Sqs(SqsDestination {
                queue: sqs.queue.as_ref()?.pattern.clone(),
                existing: sqs.existing?,
                dead_letter: match &sqs.dead_letter {
                    None => None,
                    Some(dead) => Some(DeadLetter {
                        queue: dead.queue.as_ref()?.pattern.clone(),
                        after: dead.after?,
                    }),
                },
                format: sqs.format,
            }),
        })
    }
}

impl StageDraft {
    /// A stage with a name as short as can be, where the file has none.
    pub fn stand_in() -> Self {
        let name = Spanned { value: "a".to_owned(), span: Span::default() };
        Self { name, throttle: None, variables: Vec::new() }
    }

    fn finish(&self) -> Stage {
        Stage {
            name: self.name.value.clone(),
            throttle: self.throttle,
            variables: self
                .variables
                .iter()
                .map(|(name, value)| (name.clone(), value.pattern.clone()))
                .collect(),
        }
    }
}
