//! One case in, one answer out, as JSON lines: the format of the test engine that answers with
//! Apache Velocity itself.
//!
//! In: `{"id","template","vars"?,"body"?,"params"?:{"path","querystring","header"},"
//! stage_variables"?,"context"?}`. Out: `{"id","expected"}` or `{"id","error","message"}`. Always
//! API Gateway's settings, whatever `profile` says.

use super::{
    Limits, Request, Template,
    request::{Data, Pairs},
    text, to_data,
    value::{NoBlocks, Text, Value, print_json, push_json_string},
};

/// Answers one line. Never fails: what can't be read is answered with an error too.
pub fn render_batch(line: &str, limits: &Limits) -> String {
    let case = match super::json::parse(&Text::Borrowed(line)) {
        Ok(case @ Value::Map(_)) => case,
        Ok(_) => return answer("null", Err(("ParseException", "the line is not a JSON object"))),
        Err(error) => {
            return answer(
                "null",
                Err((
                    "ParseException",
                    &format!("the line is not JSON: {} at byte {}", error.message, error.at),
                )),
            );
        }
    };
    let Data::Map(case) = to_data(&case, 0) else {
        return answer("null", Err(("ParseException", "the line is not a JSON object")));
    };
    let field = |name: &str| {
        case.iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
            .filter(|value| **value != Data::Null)
    };
    let id = field("id").map_or_else(|| "null".to_owned(), json_text);
    match request(&field) {
        Ok((template, request)) => {
            match Template::parse(template).and_then(|template| template.render(&request, limits)) {
                Ok(rendered) => answer(&id, Ok(&rendered.text)),
                Err(error) => answer(&id, Err((&error.class, &error.to_string()))),
            }
        }
        Err((class, message)) => answer(&id, Err((class, &message))),
    }
}

fn json_text(data: &Data) -> String {
    let mut out = String::new();
    match print_json(&super::eval::from_data(data), true, &mut out, 0, &mut NoBlocks) {
        Ok(()) => text::leave(out),
        Err(_) => "null".to_owned(),
    }
}

fn answer(id: &str, result: Result<&str, (&str, &str)>) -> String {
    let mut out = format!("{{\"id\":{id},");
    match result {
        Ok(text) => {
            out.reserve(text.len() + text.len() / 8);
            out.push_str("\"expected\":");
            push_json_string(text, true, &mut out);
        }
        Err((class, message)) => {
            out.push_str("\"error\":");
            push_json_string(class, true, &mut out);
            out.push_str(",\"message\":");
            push_json_string(message, true, &mut out);
        }
    }
    out.push('}');
    out
}

type Wrong = (&'static str, String);

fn pairs(data: Option<&Data>, name: &str) -> Result<Pairs, Wrong> {
    match data {
        None | Some(Data::Null) => Ok(Pairs::new()),
        Some(Data::Map(pairs)) => Ok(pairs.clone()),
        Some(_) => Err(("ClassCastException", format!("`{name}` must be an object"))),
    }
}

/// The template and the request of a case.
fn request<'d>(field: &impl Fn(&str) -> Option<&'d Data>) -> Result<(&'d str, Request), Wrong> {
    let template = match field("template") {
        Some(Data::Text(template)) => template,
        Some(_) => return Err(("ClassCastException", "`template` must be a text".to_owned())),
        None => return Err(("NullPointerException", "the case has no `template`".to_owned())),
    };
    let body = match field("body") {
        None => None,
        Some(Data::Text(body)) => Some(body.clone()),
        Some(_) => return Err(("ClassCastException", "`body` must be a text".to_owned())),
    };
    let params = pairs(field("params"), "params")?;
    let part = |name: &str| {
        pairs(params.iter().find(|(key, _)| key == name).map(|(_, value)| value), name)
    };
    let request = Request {
        body,
        path: part("path")?,
        query: part("querystring")?,
        header: part("header")?,
        stage_variables: pairs(field("stage_variables"), "stage_variables")?,
        context: pairs(field("context"), "context")?,
        variables: pairs(field("vars"), "vars")?,
    };
    Ok((template, request))
}
