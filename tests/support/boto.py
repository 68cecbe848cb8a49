"""A real AWS client for the tests: JSON lines in, JSON lines out, ended by the end of its input.

In:  {"service": "s3", "operation": "list_objects_v2", "arguments": {"Bucket": "b"}}    or {"world": "<stack>"}
Out: {"ok": {…}} or {"error": "<code>", "message": "…"}; bytes are {"base64": "…"} both ways, times are ISO 8601.

The world is all that stands in the account for a stack, found by its name and its tags, with everything left out that differs between two clean runs
(ids, times, revisions): two worlds are equal when two deploys did the same.
"""

import base64, datetime, json, re, sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ENDPOINT, REGION = sys.argv[1], sys.argv[2]
CLIENTS = {}


def client(service, region=None):
    key = service, region or REGION
    if key not in CLIENTS:
        config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}, read_timeout=60)
        emulator = {"endpoint_url": ENDPOINT, "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        CLIENTS[key] = boto3.client(service, region_name=key[1], config=config, **emulator)
    return CLIENTS[key]


def plain(value):
    """As JSON can say it."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items() if k != "ResponseMetadata"}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "read"):
        value = value.read()
    if isinstance(value, (bytes, bytearray)):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    return value


def arguments(value):
    if isinstance(value, dict):
        return base64.b64decode(value["base64"]) if set(value) == {"base64"} else {k: arguments(v) for k, v in value.items()}
    return [arguments(v) for v in value] if isinstance(value, list) else value


def absent(call, *codes, default=None):
    """What the call gives; `default` where AWS says that there is none."""
    try:
        return call()
    except ClientError as e:
        if e.response["Error"]["Code"] in codes:
            return default
        raise


def pages(service, operation, key, **kw):
    return [item for page in client(service).get_paginator(operation).paginate(**kw) for item in page.get(key, [])]


def tags_of(pairs, key="Key", value="Value"):
    return {t[key]: t[value] for t in pairs}


def bucket(name):
    s3 = client("s3")
    pick = lambda call, part, *codes: (absent(call, *codes) or {}).get(part)
    policy = pick(lambda: s3.get_bucket_policy(Bucket=name), "Policy", "NoSuchBucketPolicy")
    lifecycle = pick(lambda: s3.get_bucket_lifecycle_configuration(Bucket=name), "Rules", "NoSuchLifecycleConfiguration")
    return {
        "tags": tags_of(pick(lambda: s3.get_bucket_tagging(Bucket=name), "TagSet", "NoSuchTagSet", "NoSuchTagSetError") or []),
        "policy": policy and json.loads(policy),
        "public_access": pick(lambda: s3.get_public_access_block(Bucket=name), "PublicAccessBlockConfiguration", "NoSuchPublicAccessBlockConfiguration"),
        "encryption": pick(lambda: s3.get_bucket_encryption(Bucket=name), "ServerSideEncryptionConfiguration", "ServerSideEncryptionConfigurationNotFoundError"),
        "ownership": pick(lambda: s3.get_bucket_ownership_controls(Bucket=name), "OwnershipControls", "OwnershipControlsNotFoundError"),
        "lifecycle": lifecycle,
        "objects": sorted(o["Key"] for o in pages("s3", "list_objects_v2", "Contents", Bucket=name)),
    }


def queue(url):
    sqs = client("sqs")
    left_out = {"CreatedTimestamp", "LastModifiedTimestamp", "QueueArn"}
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return {
        "attributes": {k: v for k, v in attributes.items() if k not in left_out},
        "tags": sqs.list_queue_tags(QueueUrl=url).get("Tags", {}),
    }


def function(name):
    lam = client("lambda")
    got = lam.get_function(FunctionName=name)
    kept = ["Runtime", "Role", "Handler", "Timeout", "MemorySize", "CodeSha256", "Architectures", "LoggingConfig", "Environment", "State", "LastUpdateStatus", "Description"]
    # no environment and an empty one are the same
    shape = lambda c: {k: c[k] for k in kept if k in c and not (k == "Environment" and not c[k].get("Variables"))}
    policies = {}
    versions = {v["Version"]: shape(v) for v in pages("lambda", "list_versions_by_function", "Versions", FunctionName=name)}
    for version in versions:
        qualifier = {} if version == "$LATEST" else {"Qualifier": version}
        got_policy = absent(lambda: lam.get_policy(FunctionName=name, **qualifier), "ResourceNotFoundException")
        policies[version] = got_policy and json.loads(got_policy["Policy"])
    return {"configuration": shape(got["Configuration"]), "tags": got.get("Tags", {}), "versions": versions, "policies": policies}


def role(name):
    iam = client("iam")
    got = iam.get_role(RoleName=name)["Role"]
    inline = {p: iam.get_role_policy(RoleName=name, PolicyName=p)["PolicyDocument"] for p in iam.list_role_policies(RoleName=name)["PolicyNames"]}
    attached = [p["PolicyArn"] for p in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]]
    return {"description": got.get("Description"), "trust": got["AssumeRolePolicyDocument"], "inline": inline, "attached": attached, "tags": tags_of(iam.list_role_tags(RoleName=name)["Tags"])}


def group(name, arn):
    logs = client("logs")
    got = next(g for g in logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"] if g["logGroupName"] == name)
    tags = logs.list_tags_for_resource(resourceArn=arn.removesuffix(":*"))["tags"]
    return {"retention": got.get("retentionInDays"), "tags": tags, **({"lock": lock(name)} if name.startswith("/routeto/") else {})}


def lock(group):
    """Whether somebody has the stack's lock: of the streams lock-<n> and free-<n> the highest number counts."""
    names = [s["logStreamName"].split("-") for s in pages("logs", "describe_log_streams", "logStreams", logGroupName=group)]
    numbers = [(int(n[1]), n[0]) for n in names if n[0] in ("lock", "free")]
    return "free" if not numbers or (max(numbers)[0], "free") in numbers else "held"


def api(got):
    gateway, id = client("apigateway"), got["id"]
    strip = lambda d, *keys: {k: v for k, v in d.items() if k not in keys}
    validators = {v["id"]: strip(v, "id") for v in gateway.get_request_validators(restApiId=id)["items"]}
    resources = {}
    for resource in pages("apigateway", "get_resources", "items", restApiId=id, embed=["methods"]):
        methods = resource.get("resourceMethods", {})
        for verb in list(methods):
            method = gateway.get_method(restApiId=id, resourceId=resource["id"], httpMethod=verb)
            method = strip(plain(method), "ResponseMetadata")
            method["requestValidator"] = validators.get(method.pop("requestValidatorId", None))
            if "methodIntegration" in method:
                method["methodIntegration"].pop("cacheNamespace", None)
            methods[verb] = method
        resources[resource["path"]] = methods
    responses = {r["responseType"]: r for r in gateway.get_gateway_responses(restApiId=id)["items"] if not r.get("defaultResponse")}
    # numbered, as ids differ between two clean runs
    made = sorted((d["createdDate"], d["id"]) for d in pages("apigateway", "get_deployments", "items", restApiId=id))
    deployments = {id: f"deployment {n}" for n, (_, id) in enumerate(made, 1)}
    stages = {}
    for stage in gateway.get_stages(restApiId=id)["item"]:
        variables = dict(stage.get("variables", {}))
        for name in variables:
            if name.startswith("previous"):
                value = re.sub(r"[a-z0-9]{6,}", lambda id: deployments.get(id[0], id[0]), variables[name])
                variables[name] = re.sub(r"=\d+:", "=", value)  # lengths of values, which differ as the stacks' names do
        stages[stage["stageName"]] = {
            "variables": variables, "settings": stage.get("methodSettings", {}), "tags": stage.get("tags", {}),
            "deployment": deployments.get(stage.get("deploymentId")), "description": stage.get("description"),
        }  # fmt: skip
    return {
        "description": re.sub(r"sha256:[0-9a-f]{64}", "DIGEST", got.get("description") or ""), "binary": sorted(got.get("binaryMediaTypes", [])), "endpoint": got.get("endpointConfiguration", {}).get("types"),
        "tags": got.get("tags", {}), "key_source": got.get("apiKeySource"), "compression": got.get("minimumCompressionSize"), "policy": got.get("policy"),
        "disabled": got.get("disableExecuteApiEndpoint"),
        # as a set: the emulator's PutRestApi adds them anew each time
        "resources": resources, "validators": [json.loads(v) for v in sorted({json.dumps(v, sort_keys=True) for v in validators.values()})], "gateway_responses": responses, "stages": stages,
        "deployments": len(deployments),
    }  # fmt: skip


def named(name, stack):
    """By name: the stack's own, or one that starts with it and a dash."""
    return name == stack or name.startswith(stack + "-")


# Other stacks' buckets, by name and date of creation: each would be a call more for every world.
OTHERS = {}


def world(stack):
    ours = lambda tags: tags.get("routeto:stack") == stack
    s3, out = client("s3"), {}
    listed = s3.list_buckets()["Buckets"]
    names = [b["Name"] for b in listed]
    buckets = {n: None for n in names if named(n, stack)}
    for b in listed:
        n, made = b["Name"], (b["Name"], b["CreationDate"])
        if n in buckets or OTHERS.get(made, stack) != stack:
            continue
        tags = tags_of((absent(lambda: s3.get_bucket_tagging(Bucket=n), "NoSuchTagSet", "NoSuchTagSetError", "NoSuchBucket") or {}).get("TagSet", []))
        if ours(tags):
            buckets[n] = None
        elif "routeto:stack" in tags:
            OTHERS[made] = tags["routeto:stack"]
    out["buckets"] = {n: bucket(n) for n in buckets}
    urls = pages("sqs", "list_queues", "QueueUrls")
    out["queues"] = {}
    for url in urls:
        name = url.rsplit("/", 1)[1]
        if named(name, stack):
            out["queues"][name] = queue(url)
    out["functions"] = {f["FunctionName"]: function(f["FunctionName"]) for f in pages("lambda", "list_functions", "Functions") if named(f["FunctionName"], stack)}
    out["roles"] = {r["RoleName"]: role(r["RoleName"]) for r in pages("iam", "list_roles", "Roles") if named(r["RoleName"], stack)}
    out["log_groups"] = {}
    for prefix in (f"/aws/lambda/{stack}", f"/routeto/{stack}"):
        for g in pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=prefix):
            if named(g["logGroupName"].rsplit("/", 1)[1], stack):
                out["log_groups"][g["logGroupName"]] = group(g["logGroupName"], g["arn"])
    found = [a for a in pages("apigateway", "get_rest_apis", "items") if a["name"] == stack or ours(a.get("tags", {}))]
    out["apis"] = [dict(api(a), name=a["name"]) for a in found]
    return out


def answer(request):
    try:
        if "world" in request:
            return {"ok": plain(world(request["world"]))}
        call = getattr(client(request["service"], request.get("region")), request["operation"])
        return {"ok": plain(call(**arguments(request.get("arguments", {}))))}
    except ClientError as e:
        return {"error": e.response["Error"]["Code"], "message": e.response["Error"].get("Message", "")}
    except (BotoCoreError, AttributeError, TypeError) as e:
        return {"error": type(e).__name__, "message": str(e)}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
