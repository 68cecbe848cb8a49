//! What `dev` says of each request: a line for people, or a JSON line.

use super::{Report, Style, tell};
use crate::dev::exchange::{Exchange, Stored};
use serde_json::json;

/// Characters of a path in a line.
const LONGEST: usize = 60;

impl Report {
    /// One request. `clock`: when it came, for people.
    pub fn exchange(&self, exchange: &Exchange, clock: &str) {
        let Exchange { id, time, stage, route, request, status, millis, record, why, .. } =
            exchange;
        let place = record.as_ref().map(|record| match record {
            Stored::S3 { bucket, key, .. } => format!("s3://{bucket}/{key}"),
            // Of one in the account the message's id is not known.
            Stored::Sqs { queue, message_id, .. } if message_id.is_empty() => {
                format!("sqs {queue}")
            }
            Stored::Sqs { queue, message_id, .. } => format!("sqs {queue} {message_id}"),
        });
        let stage = Some(stage.as_str()).filter(|stage| !stage.is_empty());
        if self.json {
            return self.event(&json!({
                "event": "request", "id": id, "time": time, "stage": stage, "route": route, "method": request.method, "path": request.path,
                "status": status, "ms": (millis * 100.0).round() / 100.0, "bytes": request.body.len(), "stored": place, "why": why,
            }));
        }
        if self.quiet {
            return;
        }
        let style = match status {
            200..=299 => Style::Good,
            500.. => Style::Bad,
            _ => Style::Changed,
        };
        let what = match (place, why) {
            (Some(place), _) => format!(" → {place}"),
            (None, Some(why)) => format!("  {}", why.lines().next().unwrap_or_default()),
            (None, None) => format!("  {}", said(exchange)),
        };
        let method =
            if request.method == "POST" { String::new() } else { format!("{} ", request.method) };
        let line = format!(
            "{clock} {} {:<5} {method}{} {millis:.1} ms {}{}",
            self.paint(style, &status.to_string()),
            plain(stage.unwrap_or("-")),
            plain(&request.path),
            size(request.body.len()),
            plain_whole(&what)
        );
        tell(&line);
        // A template's error is worth its whole frame.
        if let Some((_, frame)) = why.as_deref().and_then(|why| why.split_once('\n')) {
            tell(frame);
        }
    }
}

/// The reason that the function gave.
fn said(exchange: &Exchange) -> String {
    let answer: Option<serde_json::Value> = serde_json::from_slice(&exchange.response.body).ok();
    let word =
        |key: &str| answer.as_ref().and_then(|answer| answer[key].as_str()).map(str::to_owned);
    word("reason").or_else(|| word("result")).unwrap_or_default()
}

/// What a caller chose can't drive the terminal, nor fill it.
fn plain(text: &str) -> String {
    let mut shown: String = plain_whole(text).chars().take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

fn plain_whole(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn size(bytes: usize) -> String {
    match bytes {
        0..=999 => format!("{bytes} B"),
        1000..=999_949 => format!("{:.1} KB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
