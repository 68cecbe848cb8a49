#!/usr/bin/env python3
"""Runs routeto on a real AWS account and settles what an emulator can't show.

    AWS_PROFILE=sandbox-admin python3 tests/live/live.py --routeto target/release/routeto

Needs boto3 and an administrator's credentials in an account for experiments. Takes about 15 minutes
and costs less than 0.10 dollars. Everything it makes is named `rtl-<random>` and is deleted at the
end, whatever happens.

Each line of its output is a PASS, a FAIL, or a FACT: something that AWS's documentation doesn't say.
It ends with 1 if anything failed. `--report FILE` also writes the lines as JSON.

With AWS_ENDPOINT_URL set it runs against an emulator and leaves out what needs AWS itself.
"""

import argparse
import concurrent.futures
import gzip
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

import boto3
from botocore.exceptions import ClientError

EMULATOR = bool(os.environ.get("AWS_ENDPOINT_URL"))
SERVICES = ("sts", "iam", "s3", "sqs", "logs", "lambda", "apigateway")
CREDENTIALS = re.compile("AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|PROFILE)$")
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


def outcome(call, *args, **options):
    """What a call answers, or the error's code and message as text."""
    try:
        return call(*args, **options)
    except ClientError as error:
        return f'{error.response["Error"]["Code"]}: {error.response["Error"]["Message"]}'


def pause(seconds):
    """Waits for AWS; an emulator changes things at once."""
    time.sleep(0 if EMULATOR else seconds)


def post(url, body=b"[{}]", headers=None, method="POST"):
    """Status, headers and the first bytes of the answer; status 0 where there is none."""
    headers = {"Content-Type": "application/json", **(headers or {})}
    data = body if method == "POST" else None
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=40)
    except urllib.error.HTTPError as refused:
        answer = refused
    except OSError as error:
        return 0, {}, str(error)
    return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()[:200]


class Run:
    def __init__(self, options):
        self.routeto_binary = pathlib.Path(options.routeto).resolve()
        self.zip = options.function_zip and pathlib.Path(options.function_zip).resolve()
        self.policy_file = pathlib.Path(options.policy)
        self.report = options.report
        self.lines = []
        self.session = boto3.Session(region_name=options.region)
        self.aws = {name: self.session.client(name) for name in SERVICES}
        caller = self.aws["sts"].get_caller_identity()
        self.region = options.region
        self.account = caller["Account"]
        self.partition = caller["Arn"].split(":")[1]
        self.name = "rtl-" + uuid.uuid4().hex[:6]
        self.lock_bucket = f"{self.name}-lock-{self.account}"
        self.scratch_api = None
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="routeto-live-"))
        self.tokens = {stage: f"{stage}-{uuid.uuid4().hex}" for stage in ("dev", "prod")}
        self.admin = dict(os.environ, AWS_REGION=self.region)
        for stage, token in self.tokens.items():
            self.admin[f"ROUTETO_TOKEN_{stage.upper()}"] = token
        # The role of the documented policy, once there is one.
        self.environment = dict(self.admin)

    # What is said

    def say(self, kind, what, got=""):
        self.lines.append((kind, what, str(got)))
        print(kind, what, got, flush=True)
        if self.report:
            pathlib.Path(self.report).write_text(json.dumps(self.lines, indent=1))

    def check(self, what, good, got=""):
        self.say("PASS" if good else "FAIL", what, got)
        return good

    def fact(self, what, got):
        self.say("FACT", what, got)

    # What is done

    def routeto(self, *words, environment=None, stdin=None):
        """Runs a command; its JSON, or nothing where it failed."""
        words = list(words)
        if self.zip and words[0] in ("deploy", "plan"):
            words += ["--function-zip", str(self.zip)]
        begun = time.time()
        done = subprocess.run(
            [self.routeto_binary, words[0], "stack.yaml", *words[1:], "--output", "json"],
            env=environment or self.environment,
            cwd=self.directory,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
        )
        got = f"exit {done.returncode} after {time.time() - begun:.0f} s"
        good = done.returncode == 0
        if not good:
            got += " " + (done.stderr + done.stdout)[-900:]
        self.check("routeto " + " ".join(words[:3]), good, got)
        if not good:
            return None
        try:
            return json.loads(done.stdout)
        except ValueError:
            return {}

    def write_stack(self, routes="", dev="{ throttle: { rate: 2, burst: 1 } }"):
        bucket = f"{self.name}-${{account}}-${{region}}-${{stage}}"
        queue = f"{self.name}-mail-${{stage}}"
        dead = f"{self.name}-dead-${{stage}}"
        text = f"{self.name}-text-${{stage}}"
        (self.directory / "stack.yaml").write_text(
            f"""
stack: {self.name}
routes:
  /hook:
    accept: [application/json, application/octet-stream]
    s3: {{ bucket: "{bucket}", prefix: in/, expire_after: 30 }}
  /mail:
    accept: [multipart/form-data]
    sqs: {{ queue: "{queue}", dead_letter: {{ queue: "{dead}", after: 5 }} }}
  /text:
    templates: {{ application/json: encode.vtl }}
    token: none
    sqs: {{ queue: "{text}", format: body }}
  /broken:
    templates: {{ application/json: broken.vtl }}
    token: none
    sqs: {{ queue: "{text}", format: body }}
{routes}
stages:
  dev: {dev}
  prod: {{ throttle: {{ rate: 100, burst: 200 }} }}
"""
        )
        event = '"destination": "$destination", "path": "/text", "time": $context.requestTimeEpoch'
        encoded = '"$util.base64Encode($util.base64Encode($input.body))"'
        (self.directory / "encode.vtl").write_text(f'{{{event}, "body": {encoded}}}')
        (self.directory / "broken.vtl").write_text('{"destination": "$destination", "body": ')

    def api(self):
        every = self.aws["apigateway"].get_rest_apis(limit=500)["items"]
        return next(api for api in every if api["name"] == self.name)

    def patch_api(self, path, value):
        patch = {"op": "replace", "path": path, "value": value}
        return outcome(self.aws["apigateway"].update_rest_api, restApiId=self.api()["id"], patchOperations=[patch])

    def url(self, stage, route):
        return self.urls[stage]["routes"][route] + "?token=" + self.tokens[stage]

    def stored(self, answer):
        """The bytes of the object that a 200 named."""
        bucket = f"{self.name}-{self.account}-{self.region}-prod"
        record = json.loads(answer[2])["id"]
        pages = self.aws["s3"].get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        key = next(key for key in keys if record in key)
        return self.aws["s3"].get_object(Bucket=bucket, Key=key)["Body"].read()


def deploy_with_the_documented_policy(run):
    """The policy of the docs, as a managed policy of a new role that deploys."""
    text = run.policy_file.read_text()
    blocks = re.findall(r"```json\n(.*?)```", text, re.S)
    policy = next(block for block in blocks if '"PassRoles"' in block)
    for placeholder, value in (
        ("us-east-1", run.region),
        ("123456789012", run.account),
        ("webhooks", run.name),
        ("arn:aws:", f"arn:{run.partition}:"),
    ):
        policy = policy.replace(placeholder, value)
    policy = json.dumps(json.loads(policy), separators=(",", ":"))
    run.fact("characters of the policy", len(policy))
    iam = run.aws["iam"]
    arn = iam.create_policy(PolicyName=run.name, PolicyDocument=policy)["Policy"]["Arn"]
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": run.account}}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam.create_role(RoleName=run.name + "-ci", AssumeRolePolicyDocument=trust)
    iam.attach_role_policy(RoleName=run.name + "-ci", PolicyArn=arn)
    pause(15)
    run.role = f"arn:{run.partition}:iam::{run.account}:role/{run.name}-ci"
    keys = run.aws["sts"].assume_role(RoleArn=run.role, RoleSessionName="live")["Credentials"]
    run.environment = {name: value for name, value in run.admin.items() if not CREDENTIALS.match(name)}
    run.environment.update(
        AWS_ACCESS_KEY_ID=keys["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=keys["SecretAccessKey"],
        AWS_SESSION_TOKEN=keys["SessionToken"],
    )

    run.write_stack()
    deployed = run.routeto("deploy")
    if deployed is None:
        raise SystemExit("without a deploy there is nothing to try")
    run.urls = deployed["stages"]
    run.routeto("plan", "--exit-code")
    run.routeto("status")
    api = run.api()
    endpoint = api["endpointConfiguration"]
    run.check("the API is REGIONAL", endpoint["types"] == ["REGIONAL"], endpoint)
    description = api.get("description", "")
    run.check("the API's description holds the digest", "sha256:" in description, description)
    stage = run.aws["apigateway"].get_stage(restApiId=api["id"], stageName="dev")
    run.fact("method settings of a stage with a throttle", stage.get("methodSettings"))


def ask(run):
    """Every answer of the contract, and what no recording shows."""
    hook, mail = run.url("prod", "/hook"), run.url("prod", "/mail")
    bare = hook.split("?")[0]
    binary = {"Content-Type": "application/octet-stream"}
    every_byte = bytes(range(256))
    cases = [
        ("a JSON body", 200, post(hook)),
        ("every byte value", 200, post(hook, every_byte, binary)),
        ("a charset beside the type", 200, post(hook, b"{}", {"Content-Type": "application/json; charset=utf-8"})),
        ("a multipart body of 500 KB", 200, post(mail, b"\xff" * 500_000, MULTIPART)),
        ("a wrong token", 401, post(bare + "?token=x")),
        ("no token", 400, post(bare)),
        ("an unknown content type", 415, post(hook, b"x", {"Content-Type": "text/x"})),
        ("a GET", 403, post(hook, method="GET")),
    ]
    if not EMULATOR:
        quoted = lambda size: b'"' + b"a" * size + b'"'
        cases += [
            ("an empty token", 400, post(bare + "?token=")),
            ("a JSON body of 4 MB", 200, post(hook, quoted(4_000_000))),
            ("a JSON body of 5.5 MB", 413, post(hook, quoted(5_500_000))),
            ("a JSON body of 9.5 MB", 413, post(hook, quoted(9_500_000))),
            ("a multipart body of 4.4 MB", 413, post(mail, b"\xff" * 4_400_000, MULTIPART)),
            ("Expect: 100-continue", 200, post(hook, headers={"Expect": "100-continue"})),
            ("a gzip'd JSON body", 200, post(hook, gzip.compress(b"[{}]"), {"Content-Encoding": "gzip"})),
            ("a gzip'd binary body", 200, post(hook, gzip.compress(every_byte), {"Content-Encoding": "gzip", **binary})),
            ("an unsupported coding", 415, post(hook, b"[{}]", {"Content-Encoding": "br"})),
            ("a body that isn't in its coding", 415, post(hook, b"[{}]", {"Content-Encoding": "gzip"})),
            ("Content-Encoding: identity", 200, post(hook, headers={"Content-Encoding": "identity"})),
        ]
    for what, wanted, answer in cases:
        run.check(f"POST of {what}: {wanted}", answer[0] == wanted, (answer[0], answer[2]))
    # (a gzip'd body is stored inflated)
    exact = {"a JSON body": b"[{}]", "every byte value": every_byte, "a gzip'd JSON body": b"[{}]", "a gzip'd binary body": every_byte}
    for what, _, answer in cases:
        if what in exact and answer[0] == 200:
            run.check(f"{what} is stored exactly", run.stored(answer) == exact[what])
    if EMULATOR:
        return
    burst_url = run.url("dev", "/hook")
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        burst = list(pool.map(lambda _: post(burst_url), range(60)))
    refused = [answer for answer in burst if answer[0] != 200]
    good = bool(refused) and all(answer[0] == 503 and "retry-after" in answer[1] for answer in refused)
    run.check("a throttled request gets 503 with Retry-After", good, refused[:1])

    for text in ("é", "€", "😀", "\ufeff"):
        answer = post(run.url("prod", "/text"), text.encode())
        url = run.aws["sqs"].get_queue_url(QueueName=run.name + "-text-prod")["QueueUrl"]
        found = run.aws["sqs"].receive_message(QueueUrl=url, WaitTimeSeconds=5).get("Messages", [])
        run.fact(f"base64Encode of {text!r}", (answer[0], [message["Body"] for message in found]))
    run.fact("an empty binary body", post(hook, b"", binary))
    run.fact("an empty JSON body", post(hook, b""))
    for size in (4.5, 4.6, 4.7, 4.8, 7.0, 11.0):
        answer = post(hook, b"\x80" * int(size * 1e6), binary)
        run.fact(f"a binary body of {size} MB", (answer[0], answer[2]))
    run.fact("a template that renders broken JSON", post(run.url("prod", "/broken"), b"{}"))
    for header in ("Basic dXNlcjpwYXNz", "Bearer x", "x"):
        answer = post(bare + "/nowhere", headers={"Authorization": header})
        run.fact(f"a wrong path with Authorization: {header.split()[0]}", (answer[0], answer[1].get("x-amzn-errortype"), answer[2]))
    run.fact("fastest of 20 warm POSTs, seconds", min(timed(lambda: post(hook)) for _ in range(20)))


def timed(call):
    begun = time.time()
    call()
    return round(time.time() - begun, 3)


def what_was_set_by_hand_stays(run):
    """A resource policy, dual stack and a disabled endpoint survive a deploy that writes the API."""
    dualstack = run.patch_api("/endpointConfiguration/ipAddressType", "dualstack")
    run.fact("dualstack can be set", isinstance(dualstack, dict) or dualstack)
    allow = {"Effect": "Allow", "Principal": "*", "Action": "execute-api:Invoke", "Resource": "execute-api:/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    run.fact("a resource policy can be set", isinstance(run.patch_api("/policy", policy), dict))
    bucket = f"{run.name}-${{account}}-${{region}}-${{stage}}"
    run.write_stack(f'  /more: {{ s3: {{ bucket: "{bucket}", prefix: more/ }} }}')
    run.routeto("deploy")
    api = run.api()
    run.fact("endpoint after PutRestApi", api["endpointConfiguration"])
    run.check("the resource policy is still there", EMULATOR or bool(api.get("policy")))
    run.patch_api("/policy", "")

    run.patch_api("/disableExecuteApiEndpoint", "true")
    run.write_stack()
    run.routeto("deploy")
    run.check("the endpoint is still disabled", run.api().get("disableExecuteApiEndpoint") is True)
    run.patch_api("/disableExecuteApiEndpoint", "false")
    pause(35)


def tokens_and_rollback(run):
    second = "second-" + uuid.uuid4().hex
    hook = run.url("prod", "/hook")
    begun = time.time()
    run.routeto("set-token", "--stage", "prod", "--token-stdin", "--now", stdin=second)
    run.fact("set-token took, seconds", round(time.time() - begun, 1))
    last = None
    while not EMULATOR and time.time() - begun < 120:
        if post(hook)[0] == 200:
            last = round(time.time() - begun, 1)
        if time.time() - begun > 30 and (last is None or time.time() - begun > last + 20):
            break
        time.sleep(0.2)
    run.fact("the old token was last taken after, seconds", last)
    run.tokens["prod"] = second
    run.check("the new token works", post(run.url("prod", "/hook"))[0] == 200)
    run.routeto("rollback", "--stage", "prod")
    run.routeto("rollback", "--stage", "prod")

    run.write_stack(dev="{}")
    run.routeto("deploy")
    stage = run.aws["apigateway"].get_stage(restApiId=run.api()["id"], stageName="dev")
    run.fact("method settings once the throttle is gone", stage.get("methodSettings"))
    run.routeto("plan", "--exit-code")


def a_queue_set_to_kms_goes_back(run):
    sqs = run.aws["sqs"]
    url = sqs.get_queue_url(QueueName=run.name + "-mail-dev")["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"KmsMasterKeyId": "alias/aws/sqs"})
    pause(65)
    alone = outcome(sqs.set_queue_attributes, QueueUrl=url, Attributes={"SqsManagedSseEnabled": "true"})
    run.fact("SqsManagedSseEnabled alone, on a queue with a KMS key", alone if isinstance(alone, str) else "accepted")
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"KmsMasterKeyId": "alias/aws/sqs"})
    pause(65)
    run.routeto("deploy")
    pause(65)
    run.routeto("plan", "--exit-code")


def how_soon_a_log_stream_is_seen(run):
    """The lock relies on it: a stream that was made, and one that is listed."""
    logs, group = run.aws["logs"], f"/routeto/{run.name}-x"
    logs.create_log_group(logGroupName=group)
    unlisted = refused = unread = 0
    for number in range(5 if EMULATOR else 25):
        stream = f"taken-{number}"
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        event = {"timestamp": int(time.time() * 1000), "message": "m"}
        put = outcome(logs.put_log_events, logGroupName=group, logStreamName=stream, logEvents=[event])
        refused += isinstance(put, str)
        listed = logs.describe_log_streams(logGroupName=group)["logStreams"]
        unlisted += stream not in [found["logStreamName"] for found in listed]
        read = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
        unread += not read["events"]
        pause(0.2)
    run.fact("log streams: refused right after, not listed, not readable", (refused, unlisted, unread))
    second = outcome(logs.create_log_stream, logGroupName=group, logStreamName="taken-0")
    run.check("a stream is made only once", str(second).startswith("ResourceAlreadyExists"), second)


def stage_patches(run):
    """On an API of its own: how many patches one UpdateStage takes, and throttles of -1."""
    gateway = run.aws["apigateway"]
    run.scratch_api = api = gateway.create_rest_api(name=run.name + "-scratch")["id"]
    root = gateway.get_resources(restApiId=api)["items"][0]["id"]
    method = {"restApiId": api, "resourceId": root, "httpMethod": "GET"}
    gateway.put_method(**method, authorizationType="NONE")
    gateway.put_integration(**method, type="MOCK")
    deployment = gateway.create_deployment(restApiId=api)["id"]
    gateway.create_stage(restApiId=api, stageName="s", deploymentId=deployment)

    def update(*patches):
        return outcome(gateway.update_stage, restApiId=api, stageName="s", patchOperations=list(patches))

    def replace(path, value):
        return {"op": "replace", "path": path, "value": value}

    many = update(*[replace(f"/variables/v{n}", "https://x.y/?a=b&c#d~e,f") for n in range(95)])
    run.check("one UpdateStage takes 95 patches", isinstance(many, dict), many if isinstance(many, str) else "")
    for value in ("5", "-1"):
        limits = [replace("/*/*/throttling/rateLimit", value), replace("/*/*/throttling/burstLimit", value)]
        answer = update(*limits)
        run.fact(f"a throttle of {value}", answer if isinstance(answer, str) else answer.get("methodSettings"))
    for which in ("first", "second"):
        answer = update({"op": "remove", "path": "/*/*"})
        run.fact(f"{which} removal of /*/*", answer if isinstance(answer, str) else answer.get("methodSettings"))


def object_lock(run):
    """What PutBucketEncryption changes on a new bucket, and records in a bucket with a retention."""
    s3 = run.aws["s3"]
    place = {"CreateBucketConfiguration": {"LocationConstraint": run.region}}
    place = {} if run.region == "us-east-1" else place
    s3.create_bucket(Bucket=run.lock_bucket, ObjectLockEnabledForBucket=True, **place)

    def encryption():
        answer = outcome(s3.get_bucket_encryption, Bucket=run.lock_bucket)
        return answer if isinstance(answer, str) else answer["ServerSideEncryptionConfiguration"]

    before = encryption()
    aes = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}
    s3.put_bucket_encryption(Bucket=run.lock_bucket, ServerSideEncryptionConfiguration={"Rules": [aes]})
    run.fact("encryption of a new bucket, before and after PutBucketEncryption", (before, encryption()))
    retention = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    lock = {"ObjectLockEnabled": "Enabled", "Rule": retention}
    s3.put_object_lock_configuration(Bucket=run.lock_bucket, ObjectLockConfiguration=lock)
    run.write_stack(f"  /kept: {{ s3: {{ bucket: {run.lock_bucket}, existing: true, prefix: k/ }} }}")
    deployed = run.routeto("deploy")
    if deployed:
        run.urls = deployed["stages"]
        answer = post(run.url("prod", "/kept"))
        run.check("a bucket with Object Lock takes a record", answer[0] == 200, answer)
    run.routeto("deploy")


def a_profile_that_assumes_a_role(run):
    profile = f"[profile r]\nrole_arn={run.role}\nsource_profile=base\nregion={run.region}\n"
    (run.directory / "config").write_text(profile)
    keys = run.session.get_credentials().get_frozen_credentials()
    base = f"[base]\naws_access_key_id={keys.access_key}\naws_secret_access_key={keys.secret_key}\n"
    base += f"aws_session_token={keys.token}\n" if keys.token else ""
    (run.directory / "credentials").write_text(base)
    clean = {name: value for name, value in run.admin.items() if not CREDENTIALS.match(name)}
    clean.pop("AWS_REGION")
    clean.pop("AWS_DEFAULT_REGION", None)
    clean["AWS_CONFIG_FILE"] = str(run.directory / "config")
    clean["AWS_SHARED_CREDENTIALS_FILE"] = str(run.directory / "credentials")
    run.routeto("status", "--profile", "r", environment=clean)


def remove_everything(run):
    if (run.directory / "stack.yaml").exists():
        if run.routeto("teardown", "--delete-data", "--yes") is None:
            run.routeto("teardown", "--delete-data", "--yes", environment=run.admin)
    if run.scratch_api:
        # One DeleteRestApi per 30 s and account.
        pause(31)
        outcome(run.aws["apigateway"].delete_rest_api, restApiId=run.scratch_api)
    outcome(run.aws["logs"].delete_log_group, logGroupName=f"/routeto/{run.name}-x")
    versions = outcome(run.aws["s3"].list_object_versions, Bucket=run.lock_bucket)
    if isinstance(versions, dict):
        for version in versions.get("Versions", []) + versions.get("DeleteMarkers", []):
            outcome(
                run.aws["s3"].delete_object,
                Bucket=run.lock_bucket,
                Key=version["Key"],
                VersionId=version["VersionId"],
                BypassGovernanceRetention=True,
            )
    outcome(run.aws["s3"].delete_bucket, Bucket=run.lock_bucket)
    policy = f"arn:{run.partition}:iam::{run.account}:policy/{run.name}"
    outcome(run.aws["iam"].detach_role_policy, RoleName=run.name + "-ci", PolicyArn=policy)
    outcome(run.aws["iam"].delete_role, RoleName=run.name + "-ci")
    outcome(run.aws["iam"].delete_policy, PolicyArn=policy)

    aws, name = run.aws, run.name
    left = [api["name"] for api in aws["apigateway"].get_rest_apis(limit=500)["items"]]
    left += [bucket["Name"] for bucket in aws["s3"].list_buckets()["Buckets"]]
    left += [function["FunctionName"] for function in aws["lambda"].list_functions()["Functions"]]
    for page in aws["iam"].get_paginator("list_roles").paginate():
        left += [role["RoleName"] for role in page["Roles"]]
    for prefix in ("/aws/lambda/", "/routeto/"):
        groups = aws["logs"].describe_log_groups(logGroupNamePrefix=prefix + name)["logGroups"]
        left += [group["logGroupName"].removeprefix(prefix) for group in groups]
    queues = aws["sqs"].list_queues(QueueNamePrefix=name).get("QueueUrls", [])
    left += [queue.rsplit("/", 1)[1] for queue in queues]
    left = [thing for thing in left if thing.startswith(name)]
    run.check("nothing is left", not left, left)


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routeto", required=True, help="the binary")
    parser.add_argument("--function-zip", help="a zip that is built already; routeto builds one otherwise")
    parser.add_argument("--policy", default=root / "docs/permissions.md", help="the Markdown file with the policy")
    parser.add_argument("--region", default=os.environ.get("AWS_REGION", "us-east-1"))
    parser.add_argument("--report", help="a file for the lines as JSON")
    run = Run(parser.parse_args())
    try:
        for chapter in (
            deploy_with_the_documented_policy,
            ask,
            what_was_set_by_hand_stays,
            tokens_and_rollback,
            a_queue_set_to_kms_goes_back,
            how_soon_a_log_stream_is_seen,
            stage_patches,
            object_lock,
            a_profile_that_assumes_a_role,
        ):
            chapter(run)
    finally:
        remove_everything(run)
    failed = [what for kind, what, _ in run.lines if kind == "FAIL"]
    print(f"{len(run.lines) - len(failed)} passed or noted, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
