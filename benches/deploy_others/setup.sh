#!/usr/bin/env bash
# Makes aws-cdk, chalice and claudia ready under DIRECTORY for `cargo bench --bench deploy -- DIRECTORY`: each in a directory of its own with
# begin.sh ROUTES NAME, change.sh, deploy.sh and teardown.sh. They come from npm and PyPI, as they are; Node, npm and Python are needed.
#
# What stands in the end is not the same everywhere; docs/performance.md says what differs.
#   cdk      CloudFormation: bucket, function (provided.al2023, the zip that FUNCTION_ZIP names), role, REST API with a method per route, throttled stage
#   chalice  a Python function with a REST API, role; no bucket, no throttle
#   claudia  a Node function with a REST API of one method per route, role; no bucket, no throttle
set -euo pipefail
directory=$(mkdir -p "$1" && cd "$1" && pwd)
zip=${FUNCTION_ZIP:?a zip with the function: routeto package makes one}

mkdir -p "$directory"/{cdk,chalice,claudia}
[ -d "$directory/cdk/node_modules" ] || (cd "$directory/cdk" && echo '{"private":true}' >package.json && npm install --no-audit --no-fund aws-cdk aws-cdk-lib constructs)
[ -d "$directory/claudia/node_modules" ] || (cd "$directory/claudia" && echo '{"private":true}' >package.json && npm install --no-audit --no-fund claudia aws-sdk)
[ -x "$directory/chalice/venv/bin/chalice" ] || (python3 -m venv "$directory/chalice/venv" && "$directory/chalice/venv/bin/pip" install --quiet chalice)

# --- aws-cdk: its S3 client puts the bucket into the host's name, which is this machine whatever it is
cd "$directory/cdk"
cp "$zip" function.zip
cat >hosts.js <<'JS'
const dns = require('dns'), lookup = dns.lookup
dns.lookup = (host, options, done) => lookup(/localhost/.test(host) ? '127.0.0.1' : host, options, done)
JS
cat >app.js <<'JS'
const cdk = require('aws-cdk-lib'), { aws_apigateway: gateway, aws_lambda: lambda, aws_s3: s3 } = cdk
const { name, routes, template } = JSON.parse(require('fs').readFileSync('state.json'))
// The tests' emulator gives the roles that cdk would take no more than their policies say, and knows not all of those.
const app = new cdk.App({ defaultStackSynthesizer: new cdk.CliCredentialsStackSynthesizer() }), stack = new cdk.Stack(app, name, { env: { account: '000000000000', region: 'us-east-1' } })
const bucket = new s3.Bucket(stack, 'Bucket', { encryption: s3.BucketEncryption.S3_MANAGED, enforceSSL: true, blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL, removalPolicy: cdk.RemovalPolicy.DESTROY })
const handler = new lambda.Function(stack, 'Function', { runtime: lambda.Runtime.PROVIDED_AL2023, handler: 'bootstrap', code: lambda.Code.fromAsset('function.zip') })
bucket.grantPut(handler)
const api = new gateway.RestApi(stack, 'Api', { cloudWatchRole: false, endpointTypes: [gateway.EndpointType.REGIONAL], deployOptions: { stageName: 'prod', throttlingRateLimit: 100, throttlingBurstLimit: 200 } })
for (let n = 1; n <= routes; n++) {
  const integration = new gateway.LambdaIntegration(handler, { proxy: false, allowTestInvoke: false, requestTemplates: { 'application/json': n === 1 ? template : '$input.json("$")' }, integrationResponses: [{ statusCode: '200' }] })
  api.root.addResource(`r${n}`).addMethod('POST', integration, { methodResponses: [{ statusCode: '200' }] })
}
JS
cat >begin.sh <<'SH'
echo "{\"name\":\"$2\",\"routes\":$1,\"template\":\"\$input.body\"}" >state.json
SH
cat >change.sh <<'SH'
sed -i 's/input.body/input.body /' state.json
SH
cat >env.sh <<'SH'
export CDK_DISABLE_CLI_TELEMETRY=1 NODE_OPTIONS="--require $PWD/hosts.js" AWS_ENDPOINT_URL_S3="http://s3.localhost.localstack.cloud:${AWS_ENDPOINT_URL##*:}"
cdk="node node_modules/aws-cdk/bin/cdk --app 'node app.js' --output cdk.out"
SH
cat >once.sh <<'SH'
. ./env.sh; node node_modules/aws-cdk/bin/cdk bootstrap aws://000000000000/us-east-1
SH
cat >deploy.sh <<'SH'
. ./env.sh; eval "$cdk deploy --require-approval never --progress events"
SH
cat >teardown.sh <<'SH'
. ./env.sh; eval "$cdk destroy --force"
SH

# --- chalice
cd "$directory/chalice"
cat >begin.sh <<'SH'
rm -rf project; mkdir -p project/.chalice; echo "{\"version\":\"2.0\",\"app_name\":\"$2\",\"stages\":{\"prod\":{\"api_gateway_stage\":\"prod\"}}}" >project/.chalice/config.json
: >project/requirements.txt
{ echo "from chalice import Chalice"; echo "app = Chalice(app_name='$2')"; for n in $(seq "$1"); do printf "@app.route('/r%s', methods=['POST'])\ndef r%s():\n    return {'result': 'success'}\n" "$n" "$n"; done; } >project/app.py
SH
cat >change.sh <<'SH'
sed -i "s/'success'/'success '/" project/app.py
SH
echo 'cd project && ../venv/bin/chalice deploy --stage prod --no-autogen-policy' >deploy.sh
echo 'cd project && ../venv/bin/chalice delete --stage prod' >teardown.sh
cat >>begin.sh <<'SH'
echo '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}]}' >project/.chalice/policy-prod.json
SH

# --- claudia: its SDK takes an endpoint from nowhere but its own configuration
cd "$directory/claudia"
cat >endpoint.js <<'JS'
const AWS = require('aws-sdk')
AWS.config.update({ endpoint: process.env.AWS_ENDPOINT_URL, s3ForcePathStyle: true, region: 'us-east-1' })
JS
cat >begin.sh <<'SH'
rm -rf project; mkdir project; echo "{\"name\":\"$2\",\"version\":\"1.0.0\",\"main\":\"api.js\",\"files\":[\"*.js\"]}" >project/package.json
# what claudia-api-builder makes of so many routes, without installing it anew in each deploy
{ echo "const routes = {}"; for n in $(seq "$1"); do echo "routes['r$n'] = { POST: { success: { code: 200 } } }"; done
  echo "module.exports = { apiConfig: () => ({ version: 4, routes }), proxyRouter: (event, context, done) => done(null, { statusCode: 200, body: '{}' }) }"; } >project/api.js
SH
echo "echo '// changed' >>project/api.js" >change.sh
cat >deploy.sh <<'SH'
export AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE=1 NODE_OPTIONS="--require $PWD/endpoint.js"; cd project
if [ -e claudia.json ]; then node ../node_modules/claudia/bin/cmd.js update --no-optional-dependencies; else node ../node_modules/claudia/bin/cmd.js create --region us-east-1 --api-module api --runtime nodejs20.x; fi
SH
cat >teardown.sh <<'SH'
export AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE=1 NODE_OPTIONS="--require $PWD/endpoint.js"; cd project && node ../node_modules/claudia/bin/cmd.js destroy
SH
