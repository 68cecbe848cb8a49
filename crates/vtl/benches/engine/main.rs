//! How fast templates are parsed and rendered: a recipe's template with a body of 2 KB, as it is,
//! through JSON, and parsed each time.

mod recipe;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use recipe::{RAW, json, request, ten_kilobytes};
use vtl::{Limits, Template};

fn renders(c: &mut Criterion) {
    let request = request();
    let limits = Limits::GATEWAY;
    let mut group = c.benchmark_group("render");
    group.throughput(Throughput::Elements(1));
    let raw = Template::parse(RAW).expect("the template parses");
    group.bench_function("raw", |b| {
        b.iter(|| raw.render(&request, &limits).expect("it renders").text.len())
    });
    let json_text = json();
    let json = Template::parse(&json_text).expect("the template parses");
    group.bench_function("json", |b| {
        b.iter(|| json.render(&request, &limits).expect("it renders").text.len())
    });
    group.bench_function("parsed each time, raw", |b| {
        b.iter(|| {
            Template::parse(RAW)
                .expect("the template parses")
                .render(&request, &limits)
                .expect("it renders")
                .text
                .len()
        })
    });
    group.bench_function("parsed each time, json", |b| {
        b.iter(|| {
            Template::parse(&json_text)
                .expect("the template parses")
                .render(&request, &limits)
                .expect("it renders")
                .text
                .len()
        })
    });
    group.finish();
}

fn parses(c: &mut Criterion) {
    let text = ten_kilobytes();
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("10 KB", |b| {
        b.iter(|| Template::parse(&text).expect("the template parses"))
    });
    group.finish();
}

criterion_group!(benches, renders, parses);
criterion_main!(benches);
