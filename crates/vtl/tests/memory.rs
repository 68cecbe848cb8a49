//! A render's peak memory, counted by the allocator: at most three times input and output together.

#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use vtl::{Limits, Request, Template};

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came; only numbers are kept
// beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Peak bytes above what was there before, and the bytes of the output.
fn peak(template: &Template, request: &Request) -> (usize, usize) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let rendered = template.render(request, &Limits::GATEWAY).expect("it renders");
    (PEAK.load(Relaxed) - before, rendered.text.len())
}

#[test]
fn a_renders_peak_memory_is_within_three_times_input_and_output() {
    let event = r#"{"email":"user@example.com","timestamp":1513499000,"event":"delivered","category":["cat facts","news"],"attempt":1.50}"#;
    let body = format!("[{}]", vec![event; 8000].join(","));
    let templates = [
        "{\"body\": $input.body}",
        "{\"body\": $input.json('$')}",
        "{\"body\": \"$util.base64Encode($input.body)\"}",
        "{\"body\": \"$util.escapeJavaScript($input.body).replaceAll(\"\\\\'\",\"'\")\"}",
        "{\"body\": \"$util.urlEncode($input.body)\"}",
    ];
    let request = Request { body: Some(body), ..Request::new() };
    let mut wrong = Vec::new();
    for source in templates {
        let template = Template::parse(source).expect("it parses");
        let (peak, output) = peak(&template, &request);
        let allowed = 3 * (request.body_text().len() + source.len() + output);
        if peak > allowed {
            wrong.push(format!("{source}: {peak} bytes, {allowed} allowed"));
        }
        println!("{:.2} x (input + output): {source}", peak as f64 / (allowed as f64 / 3.0));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
