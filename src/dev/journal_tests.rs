use super::*;
use crate::dev::exchange::{FunctionSaid, Request, Response, TemplateUsed, TokenSent};

fn exchange(id: u64, body: &[u8]) -> Exchange {
    Exchange {
        id,
        time: 1_700_000_000_000 + id,
        stage: "dev".into(),
        route: Some("/input".into()),
        request: Request {
            method: "POST".into(),
            path: "/input".into(),
            query: vec![("app".into(), "shop".into())],
            token: TokenSent::Right,
            version: "HTTP/1.1".into(),
            headers: vec![("Content-Type".into(), "application/json".into())],
            body: body.to_vec(),
        },
        status: 200,
        millis: 1.25,
        response: Response { headers: vec![], body: b"{}".to_vec() },
        template: Some(TemplateUsed {
            content_type: "application/json".into(),
            file: None,
            text: "$input.body".into(),
        }),
        event: Some("{}".into()),
        function: Some(FunctionSaid {
            id: format!("id-{id}"),
            answer: "{}".into(),
            failed: false,
            log: "{}".into(),
        }),
        record: Some(Stored::S3 {
            bucket: "b".into(),
            key: format!("k{id}"),
            bytes: body.len() as u64,
        }),
        why: None,
        again: None,
    }
}

fn ids(journal: &Journal) -> Vec<u64> {
    journal.since(0).0.iter().map(|summary| summary.id).collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    numbers(directory).expect("read").into_iter().map(|number| path(directory, number)).collect()
}

#[test]
fn a_record_is_summed_up_read_back_and_there_after_a_restart_and_ids_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(directory.path()).expect("open");
    let mut news = journal.subscribe().expect("open");
    let one = exchange(journal.next_id(), b"{\n \"a\": 1.50\t}");
    journal.record(&one).expect("recorded");
    let summary = Summary {
        seq: 1,
        id: 1,
        time: 1_700_000_000_001,
        stage: "dev".into(),
        route: Some("/input".into()),
        method: "POST".into(),
        path: "/input?app=shop".into(),
        status: 200,
        millis: 1.25,
        bytes: 14,
        content_type: "application/json".into(),
        stored: Some("s3".into()),
        preview: "{ \"a\": 1.50 }".into(),
        more: vec!["b".into(), "k1".into()],
        again: None,
    };
    let Ok(News::Recorded(told)) = news.try_recv() else { panic!("told") };
    assert_eq!(*told, summary);
    assert_eq!(journal.get(1), Ok(Some(one.clone())));
    assert_eq!(journal.get(2), Ok(None));
    drop(journal);

    let again = Journal::open(directory.path()).expect("open");
    assert_eq!(again.since(0), (vec![Arc::new(summary)], 1));
    assert_eq!(again.get(1), Ok(Some(one)));
    let two = exchange(again.next_id(), b"");
    again.record(&two).expect("recorded");
    assert_eq!((ids(&again), again.since(1).0.len(), again.since(2)), (vec![1, 2], 1, (vec![], 2)));
}

#[test]
fn the_last_thousand_stay_and_files_of_older_ones_go() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(directory.path()).expect("open");
    for _ in 0..1250 {
        journal.record(&exchange(journal.next_id(), b"x")).expect("recorded");
    }
    assert_eq!(ids(&journal), (251..=1250).collect::<Vec<_>>());
    assert_eq!(files(directory.path()).len(), 11);
    drop(journal);
    let again = Journal::open(directory.path()).expect("open");
    assert_eq!(ids(&again), (251..=1250).collect::<Vec<_>>());
    assert_eq!(again.next_id(), 1251);
    // A file of its own for each start, and still no more than a thousand records.
    again.record(&exchange(1251, b"y")).expect("recorded");
    assert_eq!(ids(&again), (252..=1251).collect::<Vec<_>>());
}

#[test]
fn large_bodies_are_bounded_in_bytes_on_disk_and_none_stays_in_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let most = 64 * 1024 * 1024;
    let journal = Journal::bounded(directory.path(), most).expect("open");
    let body = vec![0xff; 6 * 1024 * 1024];
    for _ in 0..12 {
        journal.record(&exchange(journal.next_id(), &body)).expect("recorded");
    }
    let on_disk: u64 =
        files(directory.path()).iter().map(|file| fs::metadata(file).expect("there").len()).sum();
    assert!(on_disk <= most, "{on_disk}");
    // Two, of 8 MB and some in base64, are a file; four files would be too much.
    assert_eq!(ids(&journal), [7, 8, 9, 10, 11, 12]);
    assert_eq!(journal.get(12).expect("read").expect("kept").request.body, body);
    assert_eq!(journal.get(1), Ok(None));
}

#[test]
fn what_a_kill_left_half_written_is_passed_over_wherever_it_was_cut() {
    let whole = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(whole.path()).expect("open");
    for id in 1..=3 {
        journal.record(&exchange(id, b"body")).expect("recorded");
    }
    drop(journal);
    let file = files(whole.path()).remove(0);
    let bytes = fs::read(&file).expect("read");
    let ends: Vec<usize> = {
        let newlines: Vec<usize> = bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1)
            .collect();
        newlines.chunks(2).map(|pair| pair[1]).collect()
    };
    for cut in 0..=bytes.len() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(path(directory.path(), 1), &bytes[..cut]).expect("written");
        let journal = Journal::open(directory.path()).expect("open");
        let there = ends.iter().filter(|end| **end <= cut).count() as u64;
        assert_eq!(ids(&journal), (1..=there).collect::<Vec<_>>(), "cut at {cut}");
        let id = journal.next_id();
        assert_eq!(id, there + 1, "cut at {cut}");
        journal.record(&exchange(id, b"next")).expect("recorded");
        assert_eq!(journal.get(id).expect("read").expect("kept").request.body, b"next");
    }
}

#[test]
fn a_file_that_is_none_of_ours_or_garbage_stops_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("000000000001.journal"), b"\xff\xfe garbage\n{}\n")
        .expect("written");
    fs::write(directory.path().join("notes.txt"), b"mine").expect("written");
    fs::write(
        directory.path().join("000000000005.journal"),
        b"{\"length\":18446744073709551615,\"summary\":{}}\n",
    )
    .expect("written");
    let journal = Journal::open(directory.path()).expect("open");
    assert_eq!(ids(&journal), [] as [u64; 0]);
    journal.record(&exchange(journal.next_id(), b"x")).expect("recorded");
    assert_eq!(ids(&journal), [1]);
    assert!(directory.path().join("notes.txt").exists());
}

#[test]
fn when_it_cannot_be_written_the_request_is_told_of_all_the_same_and_the_next_one_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let inner = directory.path().join("journal");
    let journal = Journal::open(&inner).expect("open");
    let mut news = journal.subscribe().expect("open");
    fs::remove_dir_all(&inner).expect("removed");
    let failure = journal.record(&exchange(1, b"x")).expect_err("there is no directory");
    assert!(failure.what.starts_with("request 1 can't be written down: "), "{failure}");
    assert!(matches!(news.try_recv(), Ok(News::Recorded(_))));
    assert_eq!(ids(&journal), [] as [u64; 0]);
    fs::create_dir(&inner).expect("made");
    journal.record(&exchange(2, b"x")).expect("recorded");
    assert_eq!(ids(&journal), [2]);
}

#[test]
fn many_at_once_are_all_kept_and_told_in_the_order_of_their_seq() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(directory.path()).expect("open");
    let mut news = journal.subscribe().expect("open");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    journal.record(&exchange(journal.next_id(), b"x")).expect("recorded");
                }
            });
        }
    });
    let told: Vec<u64> = std::iter::from_fn(|| match news.try_recv() {
        Ok(News::Recorded(summary)) => Some(summary.seq),
        _ => None,
    })
    .collect();
    assert_eq!(told, (1..=200).collect::<Vec<_>>());
    let mut all = ids(&journal);
    all.sort_unstable();
    assert_eq!(all, (1..=200).collect::<Vec<_>>());
    journal.close();
    assert!(journal.subscribe().is_none());
    assert!(matches!(news.try_recv(), Err(broadcast::error::TryRecvError::Closed)));
}

#[test]
fn a_summary_is_short_whatever_was_sent() {
    let mut long = exchange(1, "é".repeat(1000).as_bytes());
    long.request.path = format!("/{}", "x".repeat(10_000));
    long.request.method = "M".repeat(10_000);
    long.stage = "s".repeat(10_000);
    long.request.headers = vec![("content-type".into(), "t".repeat(10_000))];
    let summary = summary(&long);
    let longest =
        [&summary.path, &summary.method, &summary.stage, &summary.content_type, &summary.preview];
    assert_eq!(longest.map(|text| text.chars().count()), [LONGEST + 1; 5]);
    assert_eq!(preview(b"\x89PNG\r\n\x1a\n", false), "");
    assert_eq!(preview(b"a\0b", false), "");
    // A character that the cut goes through is left out, not the whole text.
    let text = format!("{}€", "x".repeat(4 * LONGEST - 1));
    assert_eq!(preview(text.as_bytes(), false), format!("{}…", "x".repeat(LONGEST)));
}

#[test]
fn the_preview_of_a_form_is_what_its_fields_hold_not_its_boundary() {
    let part = |head: &str, value: &[u8]| {
        [
            format!("--xYzZY\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(),
            value,
            b"\r\n",
        ]
        .concat()
    };
    let body = [
        part("name=\"from\"", "Ann é".as_bytes()),
        part("name=\"text\"", b"two\r\nlines"),
        part("name=\"attachment1\"; filename=\"a.png\"", b"\x89PNG\r\n\x1a\n\0"),
        b"--xYzZY--\r\n".to_vec(),
    ]
    .concat();
    assert_eq!(preview(&body, true), "from=Ann é text=two lines attachment1=");
    assert_eq!(preview(b"no form at all", true), "no form at all");
}

fn words(text: &str) -> Search {
    Search::parse(text).expect("few words")
}

#[test]
fn a_search_reads_all_that_is_kept_newest_first_a_part_at_a_time_and_what_came_since() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(directory.path()).expect("open");
    let all = |text: &str, after: u64| {
        let (mut ids, mut before, mut steps) = (vec![], Some(u64::MAX), 0);
        while let Some(from) = before {
            let found =
                journal.search_some(&words(text), after, from, 48 * 1024).expect("searched");
            ids.extend(found.ids);
            before = found.before;
            steps += 1;
        }
        (ids, steps)
    };
    let padding = "x".repeat(20 * 1024);
    for n in 1..=8 {
        let body = format!("{padding} needle-{}", n % 2);
        journal.record(&exchange(journal.next_id(), body.as_bytes())).expect("recorded");
    }
    // Two of 27 KB in base64 are a step.
    assert_eq!(all("NEEDLE-1", 0), (vec![7, 5, 3, 1], 4));
    assert_eq!(all("needle-0", 4), (vec![8, 6], 2));
    // What the list shows needs no body.
    assert_eq!(all("application/JSON #3 shop", 0).0, [3]);
    let found = journal.search_some(&words("#3"), 0, u64::MAX, 48 * 1024).expect("searched");
    assert_eq!((found.ids, found.before, found.last), (vec![], Some(7), 8));
    assert_eq!(journal.search(&words("needle-0"), 0, 8).expect("searched").ids, [6, 4, 2]);
    assert_eq!(all("nothing-like-it", 0).0, [] as [u64; 0]);
    // A file that went meanwhile is no failure.
    for file in files(directory.path()) {
        fs::remove_file(file).expect("removed");
    }
    assert_eq!(all("needle", 0).0, [] as [u64; 0]);
}
