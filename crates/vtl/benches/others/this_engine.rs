//! Renders per second of this engine, measured as the other engines are: warmed up, then the least
//! of five rounds, by processor time.

#[path = "../engine/recipe.rs"]
mod recipe;

use recipe::{RAW, json, request};
use rustix::time::{ClockId, clock_gettime};
use vtl::{Limits, Template};

/// Nanoseconds.
fn processor() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

fn time(name: &str, count: u32, run: impl Fn() -> usize) {
    let round = || (0..count).map(|_| std::hint::black_box(run())).sum::<usize>();
    round();
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = processor();
        round();
        best = best.min((processor() - start) / f64::from(count));
    }
    println!("{:36} {:8.3} us  {:10.0}/s", format!("routeto {name}"), best / 1e3, 1e9 / best);
}

fn main() {
    let request = request();
    for (kind, source) in [("raw", RAW.to_owned()), ("json", json())] {
        let template = Template::parse(&source).expect("the template parses");
        let render = |template: &Template| {
            template.render(&request, &Limits::GATEWAY).expect("it renders").text.len()
        };
        time(kind, 100_000, || render(&template));
        time(&format!("parsed each time, {kind}"), 20_000, || {
            render(&Template::parse(&source).expect("the template parses"))
        });
    }
    let large = recipe::ten_kilobytes();
    time("parse of 10 KB", 1_000, || {
        Template::parse(&large).expect("the template parses").source().len()
    });
}
