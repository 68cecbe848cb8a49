//! A queue against a model of it, through reopenings and torn ends.

use super::queue::{About, Changed, Counts, Handle, Message, Queue};
use crate::{
    dev::{now, uuid_text},
    resource::hex,
};
use std::{collections::BTreeMap, fs, io::Write, path::Path};

fn create(directory: &Path) -> Queue {
    Queue::create(directory, About { name: "q".into(), identity: 1, ..About::default() })
        .expect("a directory of one's own")
}

fn text(body: &str, delay: u64) -> Message {
    let sent = now();
    Message {
        sent,
        visible_from: if delay == 0 { 0 } else { sent + delay },
        body: body.to_owned(),
        ..Message::default()
    }
}

const HOUR: u64 = 3_600_000;

/// Small numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Bodies by what can be done with them.
#[derive(Default)]
struct Model {
    visible: Vec<String>,
    in_flight: BTreeMap<String, Handle>,
    delayed: Vec<String>,
}

impl Model {
    fn counts(&self) -> Counts {
        Counts {
            visible: self.visible.len() as u64,
            in_flight: self.in_flight.len() as u64,
            delayed: self.delayed.len() as u64,
        }
    }
}

#[test]
fn a_queue_does_what_its_model_does_however_often_it_is_opened_anew() {
    for seed in 1..=12 {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("q");
        let mut queue = create(&path);
        let mut model = Model::default();
        let mut dice = Dice(seed * 0x9e37_79b9);
        for step in 0..3000 {
            match dice.roll(20) {
                0..=7 => {
                    // some bodies are large, so that files are begun and removed
                    let body = format!(
                        "{step}:{}",
                        "x".repeat(
                            usize::try_from(dice.roll(30) * dice.roll(2) * 3000)
                                .unwrap_or_default()
                        )
                    );
                    queue.send(text(&body, 0)).expect("sent");
                    model.visible.push(body);
                }
                8 => {
                    let body = format!("delayed {step}");
                    queue.send(text(&body, HOUR)).expect("sent");
                    model.delayed.push(body);
                }
                9..=12 => {
                    let max = usize::try_from(dice.roll(10) + 1).unwrap_or(1);
                    let taken = queue.receive(max, now() + HOUR, None).expect("received");
                    assert_eq!(
                        taken.received.len(),
                        max.min(model.visible.len()),
                        "seed {seed}, step {step}"
                    );
                    for received in taken.received {
                        let at =
                            model.visible.iter().position(|body| *body == received.message.body);
                        let body = model.visible.remove(at.unwrap_or_else(|| {
                            panic!("seed {seed}, step {step}: nobody sent that")
                        }));
                        model.in_flight.insert(body, received.handle);
                    }
                }
                13..=16 => {
                    let at = usize::try_from(dice.roll(1000)).unwrap_or_default()
                        % model.in_flight.len().max(1);
                    let Some((body, handle)) = model
                        .in_flight
                        .iter()
                        .nth(at)
                        .map(|(body, handle)| (body.clone(), *handle))
                    else {
                        continue;
                    };
                    assert_eq!(queue.delete(handle).expect("deleted"), Changed::Done);
                    assert_eq!(queue.delete(handle).expect("nothing to do"), Changed::Gone);
                    model.in_flight.remove(&body);
                }
                17 => {
                    let Some((body, handle)) = model.in_flight.pop_last() else { continue };
                    assert_eq!(queue.hide(handle, now()).expect("given back"), Changed::Done);
                    model.visible.push(body);
                }
                18 => {
                    if dice.roll(2) == 0 {
                        queue.renew().expect("rewritten");
                    }
                    drop(queue);
                    queue = Queue::open(&path).expect("opened");
                }
                _ if dice.roll(40) == 0 => {
                    queue.purge().expect("purged");
                    model = Model::default();
                }
                _ => {}
            }
            assert_eq!(queue.counts(), model.counts(), "seed {seed}, step {step}");
        }
        // what is done with leaves no files behind
        queue.purge().expect("purged");
        drop(queue);
        let left: u64 = fs::read_dir(&path)
            .expect("there")
            .map(|entry| entry.expect("there").metadata().expect("there").len())
            .sum();
        assert!(left < 3 * 1024 * 1024, "seed {seed}: {left} bytes are left");
    }
}

#[test]
fn of_a_file_that_is_cut_off_anywhere_the_whole_messages_are_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let whole = directory.path().join("whole");
    let mut queue = create(&whole);
    let mut ends = vec![0];
    let file = whole.join("0000000000000001.messages");
    for body in ["first", "second, longer", "th\u{1f980}rd"] {
        queue.send(text(body, 0)).expect("sent");
        ends.push(fs::metadata(&file).expect("there").len());
    }
    let bytes = fs::read(&file).expect("there");
    for cut in 0..=bytes.len() {
        let path = directory.path().join("cut");
        drop(create(&path));
        fs::write(path.join("0000000000000001.messages"), &bytes[..cut]).expect("written");
        let mut queue = Queue::open(&path).expect("opened");
        let left = ends.iter().filter(|end| **end != 0 && **end <= cut as u64).count();
        queue.send(text("after", 0)).expect("sent");
        let bodies: Vec<String> = queue
            .receive(10, now() + HOUR, None)
            .expect("received")
            .received
            .into_iter()
            .map(|r| r.message.body)
            .collect();
        let mut expected = ["first", "second, longer", "th\u{1f980}rd"][..left].to_vec();
        expected.push("after");
        assert_eq!(bodies, expected, "cut at {cut}");
    }
}

#[test]
fn what_somebody_damaged_is_kept_aside_and_what_stands_before_it_is_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("q");
    let file = path.join("0000000000000001.messages");
    let mut queue = create(&path);
    queue.send(text("first", 0)).expect("sent");
    let end = fs::metadata(&file).expect("there").len();
    for body in ["second", "third"] {
        queue.send(text(body, 0)).expect("sent");
    }
    drop(queue);
    assert_eq!(Queue::open(&path).expect("opened").damaged, None);
    let mut bytes = fs::read(&file).expect("there");
    let at = usize::try_from(end).expect("small") + 20;
    bytes[at] ^= 1;
    fs::write(&file, &bytes).expect("written");
    let mut queue = Queue::open(&path).expect("opened");
    let kept = queue.damaged.clone().expect("kept");
    assert_eq!(fs::read(&kept).expect("there"), bytes[usize::try_from(end).expect("small")..]);
    let received = queue.receive(10, now(), None).expect("received").received;
    assert_eq!(received.iter().map(|one| one.message.body.as_str()).collect::<Vec<_>>(), ["first"]);
    drop(queue);
    // Damaged again: what was kept before stays.
    fs::write(&file, &bytes[..at - 10]).expect("written");
    fs::File::options()
        .append(true)
        .open(&file)
        .and_then(|mut file| file.write_all(&[0; 200]))
        .expect("written");
    let again = Queue::open(&path).expect("opened").damaged.expect("kept");
    assert_ne!(again, kept);
    assert_eq!(fs::read(kept).expect("there"), bytes[usize::try_from(end).expect("small")..]);
}

#[test]
fn of_a_state_that_is_cut_off_anywhere_each_message_is_there_or_was_deleted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("q");
    let mut queue = create(&path);
    for n in 0..4 {
        queue.send(text(&n.to_string(), 0)).expect("sent");
    }
    let taken = queue.receive(3, now(), None).expect("received").received;
    queue.delete(taken[1].handle).expect("deleted");
    drop(queue);
    let mut state = fs::read(path.join("state")).expect("there");
    // What follows the entries is room that was taken.
    let used = state.iter().rposition(|byte| *byte != 0).expect("entries").next_multiple_of(64);
    state.truncate(used);
    for cut in 0..=state.len() {
        fs::write(path.join("state"), &state[..cut]).expect("written");
        let mut queue = Queue::open(&path).expect("opened");
        let mut bodies: Vec<String> = queue
            .receive(10, now(), None)
            .expect("received")
            .received
            .into_iter()
            .map(|r| r.message.body)
            .collect();
        bodies.sort();
        let all: &[&str] = if cut < state.len() { &["0", "1", "2", "3"] } else { &["0", "2", "3"] };
        assert_eq!(bodies, all, "cut at {cut}");
    }
}

/// A kill may come at every step of it.
#[test]
fn a_state_that_was_rewritten_in_part_counts_for_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("q");
    let mut queue = create(&path);
    for n in 0..40 {
        queue.send(text(&n.to_string(), u64::from(n == 35) * HOUR)).expect("sent");
    }
    let in_flight = |queue: &mut Queue| {
        let Counts { visible, in_flight, delayed } = queue.counts();
        (visible, in_flight, delayed)
    };
    let mut expected = (39, 0, 1);
    for round in 0..4 {
        let taken = queue.receive(8, now() + HOUR, None).expect("received").received;
        queue.delete(taken[3].handle).expect("deleted");
        expected = (expected.0 - 8, expected.1 + 7, 1);
        let names = ["state", "state.spare"];
        let before = names.map(|name| fs::read(path.join(name)).expect("there"));
        queue.renew().expect("rewritten");
        let after = names.map(|name| fs::read(path.join(name)).expect("there"));
        // The other one of the two than the last time.
        let side = usize::from(round % 2 == 0);
        assert!(
            before[side] != after[side] && before[1 - side] == after[1 - side],
            "round {round}"
        );
        drop(queue);
        for written in (0..2000).step_by(50).chain([64, 128]) {
            let mut torn = before[side].clone();
            torn[..written].copy_from_slice(&after[side][..written]);
            torn[..64].fill(0);
            fs::write(path.join(names[side]), &torn).expect("written");
            let mut queue = Queue::open(&path).expect("opened");
            assert_eq!(
                in_flight(&mut queue),
                expected,
                "round {round}, {written} bytes were written"
            );
        }
        fs::write(path.join(names[side]), &after[side]).expect("written");
        queue = Queue::open(&path).expect("opened");
        assert_eq!(in_flight(&mut queue), expected, "round {round}");
    }
}

#[test]
fn what_is_sent_to_a_queue_whose_files_were_removed_or_moved_is_refused_and_none_of_it_appears_later()
 {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, moved) = (directory.path().join("q"), directory.path().join("moved"));
    let mut queue = create(&path);
    queue.send(text("first", 0)).expect("sent");
    fs::rename(&path, &moved).expect("moved");
    let refused = queue.send(text("refused", 0)).expect_err("it isn't there");
    assert!(
        refused.to_string().ends_with("was removed or replaced while it was in use"),
        "{refused}"
    );
    // Another process may have made one in its place.
    drop(create(&path));
    assert!(
        queue.check().is_err()
            && queue.send(text("refused", 0)).is_err()
            && queue.receive(1, now(), None).is_err()
    );
    fs::remove_dir_all(&path).expect("removed");
    fs::rename(&moved, &path).expect("moved back");
    queue.send(text("second", 0)).expect("sent");
    drop(queue);
    let received = Queue::open(&path)
        .expect("opened")
        .receive(10, now() + HOUR, None)
        .expect("received")
        .received;
    assert_eq!(
        received.iter().map(|one| one.message.body.as_str()).collect::<Vec<_>>(),
        ["first", "second"]
    );
}

/// As after a power cut that took the end of the messages and left the state.
#[test]
fn what_is_sent_after_the_end_of_a_queues_file_was_lost_is_delivered() {
    #[derive(Clone, Copy, Debug)]
    enum Before {
        Waiting,
        InFlight,
        Deleted,
        /// The last one is delayed, the others wait.
        Delayed,
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("q");
    let file = path.join("0000000000000001.messages");
    let bodies = |queue: &mut Queue| {
        let taken = queue.receive(100, now() + HOUR, None).expect("received").received;
        taken.into_iter().map(|one| one.message.body).collect::<Vec<_>>()
    };
    for before in [Before::Waiting, Before::InFlight, Before::Deleted, Before::Delayed] {
        for (left, zeros) in [(4, 0), (4, 1), (3, 0), (2, 0), (2, 1), (0, 0), (0, 1)] {
            let case = format!("{before:?}, {left} of 4 quarters left, {zeros}");
            let mut queue = create(&path);
            for n in 1..=4 {
                let delay = if matches!(before, Before::Delayed) && n == 4 { HOUR } else { 0 };
                queue.send(text(&format!("before {n}"), delay)).expect("sent");
            }
            let mut handles = vec![];
            if matches!(before, Before::InFlight | Before::Deleted) {
                let taken = queue.receive(10, now() + HOUR, None).expect("received").received;
                handles.extend(taken.iter().map(|one| one.handle));
            }
            if matches!(before, Before::Deleted) {
                handles.iter().for_each(|handle| {
                    assert_eq!(queue.delete(*handle).expect("deleted"), Changed::Done)
                });
            }
            drop(queue);
            // Some file systems leave zeros where the end was.
            let bytes = fs::read(&file).expect("there");
            let keep = bytes.len() * left / 4 - usize::from(left == 4);
            let mut cut = bytes[..keep].to_vec();
            cut.resize(if zeros == 1 { bytes.len() } else { keep }, 0);
            fs::write(&file, cut).expect("cut");
            // Each message is a quarter of the file, or nearly.
            let whole = if left == 4 { 3 } else { left };
            let mut queue = Queue::open(&path).expect("opened");
            let in_lost_part = match before {
                Before::Waiting => None,
                Before::InFlight => Some(4 - whole),
                Before::Deleted => Some(0),
                Before::Delayed => Some(1),
            };
            assert_eq!(queue.lost, in_lost_part, "{case}");
            for n in 1..=40 {
                queue.send(text(&format!("after {n}"), 0)).expect("sent");
            }
            drop(queue);
            let mut queue = Queue::open(&path).expect("opened again");
            assert_eq!((queue.lost, &queue.damaged), (None, &None), "{case}");
            let waited =
                if matches!(before, Before::Waiting | Before::Delayed) { whole } else { 0 };
            let old = (1..=waited).map(|n| format!("before {n}"));
            let expected: Vec<String> = old.chain((1..=40).map(|n| format!("after {n}"))).collect();
            assert_eq!(queue.counts().visible, expected.len() as u64, "{case}");
            assert_eq!(bodies(&mut queue), expected, "{case}");
            // A worker from before deletes what it got, and nothing of what came since.
            for handle in handles.iter().filter(|handle| handle.number > whole as u64) {
                assert_eq!(queue.delete(*handle).expect("nothing to do"), Changed::Gone, "{case}");
            }
            queue.send(text("last", 0)).expect("sent");
            drop(queue);
            let mut queue = Queue::open(&path).expect("opened a third time");
            let counts = queue.counts();
            let kept = if matches!(before, Before::InFlight) { whole } else { 0 };
            let in_flight = (expected.len() + kept) as u64;
            assert_eq!(counts, Counts { visible: 1, in_flight, delayed: 0 }, "{case}");
            assert_eq!(bodies(&mut queue), ["last"], "{case}");
        }
    }
}

#[test]
fn nothing_is_sent_to_a_file_that_another_program_changed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("q");
    let file = path.join("0000000000000001.messages");
    for (change, left) in [(-1_i64, 1), (-1000, 0), (7, 2)] {
        let mut queue = create(&path);
        for body in ["first", "second"] {
            queue.send(text(body, 0)).expect("sent");
        }
        let length = fs::metadata(&file).expect("there").len();
        let opened = fs::File::options().write(true).open(&file).expect("opened");
        opened.set_len(length.saturating_add_signed(change)).expect("changed");
        let refused = queue.send(text("refused", 0)).expect_err("it was changed").to_string();
        assert_eq!(
            refused,
            format!("another program changed {} while it was in use", file.display())
        );
        assert_eq!(queue.check().expect_err("the same").to_string(), refused);
        assert_eq!(queue.receive(1, now(), None).expect_err("the same").to_string(), refused);
        // A restart takes what is left, and new messages are delivered.
        drop(queue);
        let mut queue = Queue::open(&path).expect("opened");
        queue.send(text("after", 0)).expect("sent");
        let received = queue.receive(10, now() + HOUR, None).expect("received").received;
        let mut expected = ["first", "second"][..left].to_vec();
        expected.push("after");
        let bodies: Vec<&str> = received.iter().map(|one| one.message.body.as_str()).collect();
        assert_eq!(bodies, expected, "changed by {change}");
    }
}

#[test]
fn a_delayed_message_that_is_refused_is_not_there_afterwards() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("q");
    let mut queue = create(&path);
    queue.send(text("first", 0)).expect("sent");
    queue.fill_up().expect("opened");
    queue.send(text("refused", HOUR)).expect_err("its delay can't be written down");
    assert_eq!(queue.counts(), Counts { visible: 1, in_flight: 0, delayed: 0 });
    queue.send(text("second", 0)).expect("it needs no state");
    drop(queue);
    let mut queue = Queue::open(&path).expect("opened");
    let received = queue.receive(10, now() + HOUR, None).expect("received").received;
    assert_eq!(
        received.iter().map(|one| one.message.body.as_str()).collect::<Vec<_>>(),
        ["first", "second"]
    );
}

#[test]
fn a_message_is_found_by_its_id_and_looking_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("q");
    let mut queue = create(&path);
    let ids: Vec<_> =
        (0..50).map(|n| queue.send(text(&format!("body {n}"), 0)).expect("sent")).collect();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(
            queue.look(*id).expect("looked").map(|message| message.body),
            Some(format!("body {n}"))
        );
        let id_text = uuid_text(*id);
        assert_eq!((id_text.len(), super::queue::parse_id(&id_text)), (36, Some(*id)));
    }
    assert_eq!(queue.counts(), Counts { visible: 50, in_flight: 0, delayed: 0 });
    let mut other = ids[3];
    other[15] ^= 1;
    assert_eq!(queue.look(other).expect("looked"), None);
    assert_eq!(queue.look([0xff; 16]).expect("looked"), None);
    for wrong in ["", "x", "00000000-0000-4000-8000-00000000000g", &hex(&ids[0])] {
        assert_eq!(super::queue::parse_id(wrong), None, "{wrong}");
    }
}

#[test]
fn old_messages_are_gone_when_their_time_is_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("q");
    let mut queue = create(&path);
    queue.about.attributes.insert("MessageRetentionPeriod".into(), "60".into());
    queue.send(Message { sent: now() - 61_000, ..text("old", 0) }).expect("sent");
    queue.send(text("new", 0)).expect("sent");
    let bodies: Vec<String> = queue
        .receive(10, now() + HOUR, None)
        .expect("received")
        .received
        .into_iter()
        .map(|r| r.message.body)
        .collect();
    assert_eq!(
        (bodies, queue.counts()),
        (vec!["new".to_owned()], Counts { visible: 0, in_flight: 1, delayed: 0 })
    );
}
