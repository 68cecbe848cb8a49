// Renders per second of velocityjs 2.1.7, serverless-offline's engine, for the template and body that benches/vtl.rs uses, by processor time.
'use strict';
const { parse, Compile } = require('velocityjs');

const events = Array.from({ length: 8 }, (_, n) =>
  `{"email":"user${n}@example.com","timestamp":15134990${String(n).padStart(2, '0')},"event":"delivered","category":["cat facts","news"],"sg_event_id":"ZGVsaXZlcmVkLTAtMTM${n}","sg_message_id":"14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.${n}","response":"250 OK","attempt":${n}}`);
const body = `[${events.join(',')}]`;
const raw = '{\n"bucket": "$input.params(\'bucket\')",\n"app": "$input.params(\'app\')",\n"token": "$input.params(\'token\')",\n"validToken": "$stageVariables.validToken",\n"body": $input.body\n}\n';
const query = { token: 's3cret', app: 'SendGrid', bucket: 'my-bucket/routeToS3/SendGrid' };

const context = () => ({
  input: { body, params: (name) => query[name] ?? '', json: () => JSON.stringify(JSON.parse(body)) },
  stageVariables: { validToken: 's3cret' },
});

function time(name, count, run) {
  for (let i = 0; i < count; i++) run();
  let best = Infinity;
  for (let round = 0; round < 5; round++) {
    const start = process.cpuUsage();
    for (let i = 0; i < count; i++) run();
    const { user, system } = process.cpuUsage(start);
    best = Math.min(best, (user + system) / count);
  }
  console.log(`${('velocityjs ' + name).padEnd(36)} ${best.toFixed(3).padStart(8)} us  ${(1e6 / best).toFixed(0).padStart(10)}/s`);
}

for (const [kind, template] of [['raw', raw], ['json', raw.replace('$input.body', () => "$input.json('$')")]]) {
  const tree = parse(template);
  time(kind, 20000, () => new Compile(tree).render(context()).length);
  time(`parsed each time, ${kind}`, 2000, () => new Compile(parse(template)).render(context()).length);
}
