//! The AWS CLI against the store, unchanged but for its endpoint.

use crate::{place::Place, support::emulator};
use std::{fs, process::Command};

fn aws(place: &Place, arguments: &[&str]) -> String {
    let output = Command::new(emulator::python())
        // AWS_ENDPOINT_URL alone doesn't turn version 1 of the CLI away from SQS's old host names.
        .args(["-m", "awscli", "--endpoint-url", &place.endpoint])
        .args(arguments)
        .env_clear()
        .envs([
            ("AWS_ACCESS_KEY_ID", "any"),
            ("AWS_SECRET_ACCESS_KEY", "thing"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
        ])
        .envs([
            ("AWS_CONFIG_FILE", "/nonexistent"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
            ("LANG", "C.UTF-8"),
            ("HOME", "/nonexistent"),
        ])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "aws {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_aws_cli_copies_lists_syncs_and_polls() {
    emulator::install().unwrap();
    let place = Place::new();
    let files = tempfile::TempDir::new().unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    // above 8 MB the CLI uploads in parts
    let big: Vec<u8> = (0..20 * 1024 * 1024u32).map(|n| (n % 253) as u8).collect();
    fs::write(path("big"), &big).unwrap();
    fs::write(path("small.json"), "{}").unwrap();
    aws(&place, &["s3", "mb", "s3://records"]);
    aws(&place, &["s3", "cp", &path("big"), "s3://records/a/big"]);
    aws(&place, &["s3", "cp", &path("small.json"), "s3://records/a/small.json"]);
    aws(&place, &["s3", "cp", "s3://records/a/big", "s3://records/b/copied"]);
    let listed = aws(&place, &["s3", "ls", "--recursive", "s3://records"]);
    let listed: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split_whitespace().skip(2).collect()).collect();
    assert_eq!(listed, [["20971520", "a/big"], ["2", "a/small.json"], ["20971520", "b/copied"]]);
    aws(&place, &["s3", "cp", "s3://records/b/copied", &path("back")]);
    assert!(fs::read(path("back")).unwrap() == big);
    aws(&place, &["s3", "sync", "s3://records/a/", &path("synced")]);
    assert_eq!(fs::read_to_string(path("synced/small.json")).unwrap(), "{}");
    let kind = aws(
        &place,
        &[
            "s3api",
            "head-object",
            "--bucket",
            "records",
            "--key",
            "a/small.json",
            "--query",
            "ContentType",
            "--output",
            "text",
        ],
    );
    assert_eq!(kind, "application/json\n");
    let unsigned = aws(&place, &["--no-sign-request", "s3", "ls", "s3://records/a/small.json"]);
    assert_eq!(unsigned.split_whitespace().skip(2).collect::<Vec<_>>(), ["2", "small.json"]);
    aws(
        &place,
        &["--no-sign-request", "s3", "cp", "s3://records/a/small.json", &path("unsigned.json")],
    );
    assert_eq!(fs::read_to_string(path("unsigned.json")).unwrap(), "{}");
    aws(&place, &["s3", "rb", "--force", "s3://records"]);
    assert_eq!(aws(&place, &["s3", "ls"]), "");

    let url = aws(
        &place,
        &[
            "sqs",
            "create-queue",
            "--queue-name",
            "events",
            "--query",
            "QueueUrl",
            "--output",
            "text",
        ],
    );
    let url = url.trim();
    aws(&place, &["sqs", "send-message", "--queue-url", url, "--message-body", "hello"]);
    let body = aws(
        &place,
        &[
            "sqs",
            "receive-message",
            "--queue-url",
            url,
            "--query",
            "Messages[0].Body",
            "--output",
            "text",
        ],
    );
    assert_eq!(body, "hello\n");
    let arn = aws(
        &place,
        &[
            "sqs",
            "get-queue-attributes",
            "--queue-url",
            url,
            "--attribute-names",
            "QueueArn",
            "--query",
            "Attributes.QueueArn",
            "--output",
            "text",
        ],
    );
    assert_eq!(arn, "arn:aws:sqs:eu-west-1:123456789012:events\n");
}
