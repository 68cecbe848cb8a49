"""Renders per second of airspeed 0.7.1 for the template and body that benches/vtl.rs uses, by processor time."""
import json
import time

import airspeed

EVENT = ('{{"email":"user{0}@example.com","timestamp":15134990{0:02},"event":"delivered","category":["cat facts","news"],'
         '"sg_event_id":"ZGVsaXZlcmVkLTAtMTM{0}","sg_message_id":"14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.{0}",'
         '"response":"250 OK","attempt":{0}}}')
BODY = "[" + ",".join(EVENT.format(n) for n in range(8)) + "]"
RAW = ('{\n"bucket": "$input.params(\'bucket\')",\n"app": "$input.params(\'app\')",\n"token": "$input.params(\'token\')",\n'
       '"validToken": "$stageVariables.validToken",\n"body": $input.body\n}\n')
QUERY = {"token": "s3cret", "app": "SendGrid", "bucket": "my-bucket/routeToS3/SendGrid"}


class Input:
    body = BODY

    def params(self, name):
        return QUERY.get(name, "")

    def json(self, _path):
        return json.dumps(json.loads(BODY), separators=(",", ":"))


def measure(name, count, run):
    for _ in range(count):
        run()
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(count):
            run()
        best = min(best, (time.process_time() - start) / count)
    print(f"{'airspeed ' + name:36} {best * 1e6:8.3f} us  {1 / best:10.0f}/s")


for kind, source in (("raw", RAW), ("json", RAW.replace("$input.body", "$input.json('$')"))):
    values = {"input": Input(), "stageVariables": {"validToken": "s3cret"}}
    template = airspeed.Template(source)
    assert "SendGrid" in template.merge(values), template.merge(values)
    measure(kind, 2000, lambda: len(template.merge(values)))
    measure(f"parsed each time, {kind}", 300, lambda: len(airspeed.Template(source).merge(values)))
