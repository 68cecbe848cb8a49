"""make LocalStack's data plane refuse a Lambda whose resource policy lets API Gateway not in (AWS: 500, API_CONFIGURATION_ERROR)"""
import fnmatch, json, logging

from localstack.aws.connect import connect_to
from localstack.services.apigateway.next_gen.execute_api.gateway_response import ApiConfigurationError
from localstack.services.apigateway.next_gen.execute_api.integrations import aws as m

LOG = logging.getLogger(__name__)


def _many(x):
    return x if isinstance(x, list) else [x]


def _arn_like(pattern, arn):
    p, a = pattern.split(":", 5), arn.split(":", 5)
    return len(p) == len(a) and all(fnmatch.fnmatchcase(x, y) for x, y in zip(a, p))


def allowed(policy, source_arn):
    for st in policy.get("Statement", []):
        pr = st.get("Principal")
        svc = pr if isinstance(pr, str) else pr.get("Service", "")
        if st.get("Effect") != "Allow" or not set(_many(svc)) & {"apigateway.amazonaws.com", "*"}:
            continue
        if not any(fnmatch.fnmatchcase("lambda:InvokeFunction", a) for a in _many(st.get("Action", []))):
            continue
        cond, ok = st.get("Condition", {}), True
        for op, kv in cond.items():
            for k, v in kv.items():
                if k.lower() == "aws:sourcearn":
                    ok &= any(_arn_like(p, source_arn) for p in _many(v))
                elif k.lower() == "aws:sourceaccount":
                    ok &= source_arn.split(":")[4] in _many(v)
                else:
                    ok = False
        if ok:
            return True
    return False


def _check(context, uri):
    if context.integration.get("credentials") or ":lambda:path/" not in uri:
        return
    fn = uri.split("/functions/", 1)[1].split("/invocations")[0]
    source = m.get_source_arn(context)
    try:
        parts = fn.split(":")
        kw = {"FunctionName": ":".join(parts[:7])} | ({"Qualifier": parts[7]} if len(parts) > 7 else {})
        pol = json.loads(connect_to(region_name=parts[3], aws_access_key_id=parts[4]).lambda_.get_policy(**kw)["Policy"])
    except Exception:
        pol = {}
    if not allowed(pol, source):
        LOG.warning("Invalid permissions on Lambda function %s for %s", fn, source)
        raise ApiConfigurationError("Internal server error")


def install():
    for cls in (m.RestApiAwsIntegration, m.RestApiAwsProxyIntegration):
        if getattr(cls, "_permcheck", None):
            continue
        def wrap(orig):
            def invoke(self, context):
                _check(context, context.integration_request["uri"])
                return orig(self, context)
            return invoke
        cls.invoke, cls._permcheck = wrap(cls.invoke), True
