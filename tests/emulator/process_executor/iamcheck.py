"""IAM for whoever has a policy: a Lambda's role, and a user with policies, may do what those policies allow and nothing else (AWS: 403).

The emulator itself lets everybody do everything. Its root key `test` still may; so may a user who has no policy at all, which no test makes.
Known: Allow and Deny, Action and Resource with wildcards, the operators StringEquals, StringLike and ArnLike with IfExists. What isn't known doesn't match.
Source of action and resource names: the Service Authorization Reference.
"""

import fnmatch, json, logging
from urllib.parse import quote, unquote

from localstack.aws import handlers
from localstack.aws.api import CommonServiceException
from localstack.runtime import hooks
from localstack.utils.aws.request_context import extract_access_key_id_from_auth_header

LOG = logging.getLogger(__name__)

S3 = {
    "ListBuckets": "ListAllMyBuckets", "HeadBucket": "ListBucket", "ListObjects": "ListBucket", "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions", "HeadObject": "GetObject", "DeleteObjects": "DeleteObject",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock", "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketEncryption": "GetEncryptionConfiguration", "PutBucketEncryption": "PutEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration", "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration", "DeleteBucketTagging": "PutBucketTagging",
}  # fmt: skip


def _many(x):
    return x if isinstance(x, list) else [x]


def _like(pattern, text):
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def wanted(service, operation, request, method, path, region, account):
    """What a request needs: (action, resource, condition keys) each."""
    out, tags = [], request.get("Tags") or request.get("tags")
    if service == "s3":
        bucket, key = request.get("Bucket"), request.get("Key")
        arn = "*" if not bucket else f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "/*" if operation == "DeleteObjects" else "")
        out.append((f"s3:{S3.get(operation, operation)}", arn, {}))
        if (request.get("CreateBucketConfiguration") or {}).get("Tags"):
            out.append(("s3:TagResource", arn, {}))
    elif service == "sqs":
        name = request.get("QueueName") or (request.get("QueueUrl") or "").rstrip("/").rsplit("/", 1)[-1]
        arn = f"arn:aws:sqs:{region}:{account}:{name}" if name else f"arn:aws:sqs:{region}:{account}:*"
        out.append((f"sqs:{operation.removesuffix('Batch')}", arn, {}))
        if tags and operation == "CreateQueue":
            out.append(("sqs:TagQueue", arn, {}))
    elif service == "iam":
        role, user = request.get("RoleName"), request.get("UserName")
        arn = f"arn:aws:iam::{account}:role/{role}" if role else f"arn:aws:iam::{account}:user/{user}" if user else "*"
        out.append((f"iam:{operation}", arn, {}))
        if tags and operation == "CreateRole":
            out.append(("iam:TagRole", arn, {}))
    elif service == "lambda":
        name = request.get("FunctionName") or request.get("Resource") or ""
        arn = name if name.startswith("arn:") else f"arn:aws:lambda:{region}:{account}:function:{name}" if name else "*"
        out.append(({"Invoke": "lambda:InvokeFunction"}.get(operation, f"lambda:{operation}"), arn, {}))
        if tags and operation == "CreateFunction":
            out.append(("lambda:TagResource", arn, {}))
        if operation in ("CreateFunction", "UpdateFunctionConfiguration") and request.get("Role"):
            out.append(("iam:PassRole", request["Role"], {"iam:passedtoservice": "lambda.amazonaws.com"}))
    elif service == "apigateway":
        out.append((f"apigateway:{method}", f"arn:aws:apigateway:{region}::{path}", {}))
        if tags and not path.startswith("/tags"):
            out.append(("apigateway:PUT", f"arn:aws:apigateway:{region}::/tags/{quote(f'arn:aws:apigateway:{region}::/restapis/', safe='')}", {}))
    elif service == "logs":
        name = request.get("logGroupName") or request.get("logGroupIdentifier") or request.get("resourceArn") or ""
        arn = name if name.startswith("arn:") else f"arn:aws:logs:{region}:{account}:log-group:{name}"
        # asked about none in particular, CloudWatch Logs names this one
        arn = f"arn:aws:logs:{region}:{account}:log-group::log-stream:" if operation == "DescribeLogGroups" else arn
        out.append((f"logs:{operation}", arn, {}))
        if tags and operation == "CreateLogGroup":
            out.append(("logs:TagResource", arn, {}))
    elif service != "sts":
        out.append((f"{service}:{operation}", "*", {}))
    return out


def _holds(condition, keys):
    for operator, wants in condition.items():
        plain = operator.removesuffix("IfExists")
        if plain not in ("StringEquals", "StringLike", "ArnLike", "ArnEquals"):
            return False
        for key, values in wants.items():
            have = keys.get(key.lower())
            if have is None:
                if plain == operator:
                    return False
            elif not any(have == v if plain == "StringEquals" else _like(v, have) for v in _many(values)):
                return False
    return True


def allowed(policies, action, resource, keys):
    verdict = False
    for policy in policies:
        for statement in _many(policy.get("Statement", [])):
            # the ARN of a log group is written with and without its streams, and a policy may have either
            resources = [resource, resource + ":*"] if resource.startswith("arn:aws:logs:") else [resource]
            if (
                any(_like(a.lower(), action.lower()) for a in _many(statement.get("Action", [])))
                and any(_like(r, have) for r in _many(statement.get("Resource", [])) for have in resources)
                and _holds(statement.get("Condition", {}), keys)
            ):
                if statement.get("Effect") == "Deny":
                    return False
                verdict = True
    return verdict


def _policies(owner):
    """The inline policies of a user or a role, and the managed ones attached to it."""
    managed = [version.document for policy in owner.managed_policies.values() for version in policy.versions if version.is_default]
    return [json.loads(unquote(p)) if isinstance(p, str) else p for p in [*owner.policies.values(), *managed]]


def principal(access_key, account):
    """ARN and policies of who has this key; None for the emulator's own root."""
    from moto.iam.models import iam_backends
    from moto.sts.models import sts_backends

    if access_key == "test":
        return None
    for backend in sts_backends[account].values():
        # every start of a function is a session, and none ever goes: the newest first
        if session := next((session for session in reversed(backend.assumed_roles) if session.access_key_id == access_key), None):
            iam = iam_backends[account]["aws"]
            role = next((r for r in iam.roles.values() if r.arn == session.role_arn), None)
            return session.arn, _policies(role) if role else []
    iam = iam_backends[account]["aws"]
    for user in iam.users.values():
        if any(k.access_key_id == access_key for k in user.access_keys):
            return user.arn, _policies(user)
    return None


def check(_chain, context, _response):
    if context.is_internal_call or not context.service or not context.operation:
        return
    who = principal(extract_access_key_id_from_auth_header(context.request.headers) or "", context.account_id)
    if who is None:
        return
    arn, policies = who
    service, request = context.service.service_name, context.service_request or {}
    keys = {"aws:resourceaccount": context.account_id, "aws:requestedregion": context.region}
    needs = wanted(service, context.operation.name, request, context.request.method, context.request.path, context.region, context.account_id)
    for action, resource, more in needs:
        if not allowed(policies, action, resource, keys | more):
            LOG.warning("%s may not %s on %s", arn, action, resource)
            code = "AccessDenied" if service in ("s3", "sqs", "iam", "sts") else "AccessDeniedException"
            raise CommonServiceException(
                code, f"User: {arn} is not authorized to perform: {action} on resource: {resource} because no identity-based policy allows the {action} action", 403, True
            )


@hooks.on_infra_start()
def install():
    handlers.serve_custom_service_request_handlers.append(check)
