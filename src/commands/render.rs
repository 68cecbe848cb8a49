//! `routeto render`: the event that a request becomes; with `--batch`, cases on stdin as JSON
//! lines.

use super::{Context, now};
use crate::{
    cli,
    diagnostic::{Diagnostic, Severity},
    error::{Error, Failure, Result},
    render::{At, HttpRequest, NoEvent, event, parse_header, parse_query},
    report::Report,
};
use serde_json::json;
use std::io::BufRead;
use vtl::{Limits, render_batch};

pub async fn run(context: &Context, args: cli::Render) -> Result<()> {
    if args.batch {
        let report = context.report;
        // A signal is heard while the next line is waited for.
        return tokio::task::spawn_blocking(move || batch(report))
            .await
            .unwrap_or_else(|error| Err(Failure::new("stdin", error.to_string()).into()));
    }
    let usage = |place: &str, what: String| Error::Usage(Failure::new(place, what));
    let stack = context.load_for_route(&args.stack, args.route.as_deref())?;
    let Some(route) = &args.route else {
        let paths: Vec<&str> = stack.routes.keys().map(String::as_str).collect();
        return Err(Error::Usage(
            Failure::new("render", "which route?")
                .now(format!("give --route, one of {}", paths.join(", "))),
        ));
    };
    let route = stack.route(route).map_err(|what| usage("--route", what))?;
    let stage = match &args.stage {
        Some(stage) => stack
            .select_stages(std::slice::from_ref(stage))
            .map_err(|what| usage("--stage", what))?[0],
        None => &stack.stages[0],
    };
    let request = request(&args)?;
    let rendered =
        event(&At { stack: &stack, route, stage: &stage.name, time: now() }, &request, args.explain).map_err(
            |no_event| match *no_event {
                NoEvent::Template(_, diagnostic) => Error::Stack(vec![*diagnostic]),
                NoEvent::Answer(answer) => {
                    Failure::new(&route.path, format!("there is no event: API Gateway answers {} {}", answer.status(), answer.message()))
                        .now(format!("this route accepts {}", route.accept.iter().cloned().collect::<Vec<_>>().join(", ")))
                        .into()
                }
                NoEvent::Coding(refused) => {
                    let answer = refused.answer();
                    let what = format!("there is no event: API Gateway answers {} {}: {refused}", answer.status(), answer.message());
                    Failure::new(&route.path, what)
                        .now("send the body in the coding that its Content-Encoding header names, or without that header")
                        .into()
                }
            },
        )?;
    if context.report.json {
        let references: Vec<_> = rendered
            .references
            .iter()
            .map(|seen| json!({"reference": seen.reference, "value": seen.value, "line": seen.place.line, "column": seen.place.column}))
            .collect();
        context.report.result(
            &json!({"version": 1, "event": rendered.text, "references": references}).to_string(),
        );
        warn_of_no_json(context, &rendered.text);
        return Ok(());
    }
    context.report.result(&rendered.text);
    for seen in &rendered.references {
        context.report.note(&format!(
            "{:>4}:{:<3} {} = {}",
            seen.place.line,
            seen.place.column,
            seen.reference,
            short(&seen.value)
        ));
    }
    warn_of_no_json(context, &rendered.text);
    Ok(())
}

/// An event that isn't JSON is shown all the same: what is wrong with it can be seen.
fn warn_of_no_json(context: &Context, event: &str) {
    let Err(wrong) = serde_json::from_str::<serde::de::IgnoredAny>(event) else { return };
    let line = event.lines().nth(wrong.line().saturating_sub(1)).unwrap_or_default();
    context.report.warning(&format!(
        "this event isn't JSON ({wrong}); Lambda refuses it, and API Gateway answers 400: {}",
        short(line)
    ));
}

fn short(value: &str) -> String {
    let line: String =
        value.chars().take(100).map(|c| if c.is_control() { '·' } else { c }).collect();
    if value.chars().nth(100).is_some() {
        format!("{line}… ({} characters)", value.chars().count())
    } else {
        line
    }
}

/// From a file with a raw request, or from flags.
fn request(args: &cli::Render) -> Result<HttpRequest> {
    let usage = |place: &str, what: String| Error::Usage(Failure::new(place, what));
    if let Some(path) = &args.request {
        let bytes = super::read_file(path).map_err(|error| {
            usage("--request", format!("{} can't be read: {error}", path.display()))
        })?;
        return HttpRequest::parse(&bytes).map_err(|(line, message)| {
            let source_line =
                String::from_utf8_lossy(&bytes).lines().nth(line - 1).map(str::to_owned);
            Error::Stack(vec![Diagnostic {
                severity: Severity::Error,
                file: path.clone(),
                place: Some(crate::diagnostic::Place { line, column: 1 }),
                width: source_line.as_ref().map_or(1, |line| line.chars().count()),
                source_line,
                message,
                help: None,
            }])
        });
    }
    let headers = args
        .header
        .iter()
        .map(|header| parse_header(header))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|what| usage("--header", what))?;
    let query = args.query.iter().flat_map(|query| parse_query(query)).collect();
    let body = match args.body.as_deref() {
        None => vec![],
        Some(body) => match body.strip_prefix('@') {
            Some(path) => super::read_file(std::path::Path::new(path))
                .map_err(|error| usage("--body", format!("{path} can't be read: {error}")))?,
            None => body.as_bytes().to_vec(),
        },
    };
    Ok(HttpRequest { query, headers, body })
}

/// One line out per line in, whatever the line is.
fn batch(report: Report) -> Result<()> {
    let mut input = std::io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::new("stdin", error.to_string()))?;
        if read == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let answer = render_batch(text.trim_end_matches(['\n', '\r']), &Limits::ENGINE);
        if !report.line(&answer) {
            // Nobody reads any more.
            return Ok(());
        }
    }
}
