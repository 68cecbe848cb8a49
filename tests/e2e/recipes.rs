//! The two recipes from the first deploy to the teardown, and the published templates unchanged.

use crate::support::{Deployed, Emulator, Proxy, Stack, aws, multipart, post, query, root, stack};
use serde_json::{Value, json};

const JSON: &str = "application/json";

/// deploy → POST → read back → deploy again → change → plan → deploy → set-token → teardown, the
/// steps that both recipes have.
fn life(proxy: &Proxy, stack: &Stack, route: &str, changed: &str, sees: &dyn Fn(&str, &[u8])) {
    let deployed = stack.deploy();
    let id = deployed.store("prod", route, JSON, br#"[{"event":"open","n":1.50}]"#);
    sees(&id, br#"[{"event":"open","n":1.50}]"#);

    proxy.clear();
    let again = stack.deploy();
    assert_eq!(proxy.mutations(), [] as [String; 0], "a second deploy changes nothing");
    assert!(!proxy.calls().is_empty());
    assert_eq!(
        again.0["stages"]["prod"]["deployment_id"],
        deployed.0["stages"]["prod"]["deployment_id"]
    );
    assert_eq!(stack.routeto("plan", "--exit-code").status(0).check().status, 0);

    stack.rewrite(changed);
    proxy.clear();
    let plan = stack.routeto("plan", "--exit-code").status(2).check();
    assert!(!plan.stdout.is_empty());
    assert_eq!(proxy.mutations(), [] as [String; 0], "a plan changes nothing");
    let before = stack.world();
    let third = stack.deploy();
    assert_ne!(stack.world(), before);
    assert_eq!(
        stack.routeto("plan", "--exit-code").status(0).check().status,
        0,
        "planned, deployed, nothing left"
    );
    // the URL is what the provider knows: it never changes
    assert_eq!(third.url("prod", route), deployed.url("prod", route));
    let id = third.store("prod", route, JSON, b"{}");
    sees(&id, b"{}");

    proxy.clear();
    let new = "another-Token_that-is-long.enough~";
    stack
        .routeto("set-token", "--stage prod --token-stdin --now")
        .stdin(format!("{new}\n"))
        .secret(new)
        .check();
    // (the lock and the history are CloudWatch Logs')
    let mutations = proxy.mutations();
    let mutations: Vec<&String> =
        mutations.iter().filter(|call| !call.starts_with("logs:")).collect();
    assert_eq!(mutations, ["apigateway:UpdateStage"], "one mutating call");
    assert_eq!(third.post("prod", route, JSON, b"{}").status, 401, "the old token");
    let id = stack::stored(&post(
        &(third.url("prod", route) + &query(&[("token", new)])),
        JSON,
        b"{\"new\":true}",
    ));
    sees(&id, b"{\"new\":true}");
    // deploying leaves the token alone
    proxy.clear();
    stack.deploy();
    assert_eq!(proxy.mutations(), [] as [String; 0]);

    stack.teardown();
    assert_eq!(stack.world().names(), [] as [String; 0]);
    proxy.clear();
    stack.teardown();
    assert_eq!(proxy.mutations(), [] as [String; 0], "a second teardown has nothing to do");
}

#[test]
fn recipe_one_lives_from_deploy_to_teardown() {
    let yaml = r#"
stack: NAME
routes:
  /input:
    s3: { bucket: "NAME-${account}-${stage}", prefix: SendGrid/ }
stages:
  dev: { throttle: { rate: 5, burst: 10 } }
  prod: { throttle: { rate: 100, burst: 200 } }
"#;
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, yaml);
    let bucket = format!("{}-000000000000-prod", stack.name);
    let changed = yaml
        .replace("/input:", "/input:\n    accept: [application/json, text/plain]")
        .replace("rate: 100", "rate: 50");
    life(&proxy, &stack, "/input", &changed, &|id, body| {
        let keys = aws::keys(&bucket).unwrap();
        let key =
            keys.iter().find(|key| key.ends_with(id)).unwrap_or_else(|| panic!("{id} in {keys:?}"));
        assert!(key.starts_with("SendGrid/input_"), "{key}");
        assert_eq!(aws::object(&bucket, key).body, body);
    });
}

#[test]
fn recipe_two_lives_from_deploy_to_teardown() {
    let yaml = r#"
stack: NAME
routes:
  /callbacks/events:
    sqs: { queue: "NAME-events-${stage}" }
  /callbacks/inbound:
    accept: [multipart/form-data]
    sqs:
      queue: NAME-inbound-${stage}
      dead_letter: { queue: "NAME-dead-${stage}", after: 5 }
stages:
  dev: {}
  prod: {}
"#;
    let proxy = Proxy::start(Emulator::shared());
    let stack = Stack::through(&proxy, yaml);
    let queue = format!("{}-events-prod", stack.name);
    let changed = yaml.replace("after: 5", "after: 3").replace(
        "/callbacks/events:\n",
        "/callbacks/events:\n    accept: [application/json, text/plain]\n",
    );
    life(&proxy, &stack, "/callbacks/events", &changed, &|id, body| {
        let message = aws::only_message(&queue);
        assert_eq!(message.json()["id"], id);
        let wanted = format!("{{\"body-json\":{},", std::str::from_utf8(body).unwrap());
        assert!(message.body.starts_with(&wanted), "{}", message.body);
    });
}

/// Deploys a published template unchanged.
fn published(template: &str, content_type: &str, route: &str, more: &str) -> (Stack, Deployed) {
    let yaml = format!(
        "stack: NAME\nroutes:\n  {route}\n    templates: {{ {content_type}: recipe.vtl }}\nstages:\n  prod: {{ variables: {{ {more} }} }}\n"
    );
    let stack = Stack::new(
        "stack: NAME\nroutes:\n  /a:\n    sqs: { queue: \"NAME-${stage}\" }\nstages:\n  prod: {}\n",
    );
    let text = std::fs::read(root().join("mapping-templates/recipes").join(template)).unwrap();
    stack.file("recipe.vtl", text);
    stack.rewrite(&yaml);
    let deployed = stack.deploy();
    (stack, deployed)
}

fn recipe(words: &str) -> String {
    let dir = root().join("mapping-templates/recipes");
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let found =
        names.iter().find(|name| std::fs::read_to_string(dir.join(name)).unwrap().contains(words));
    found.unwrap_or_else(|| panic!("no published template has {words:?}: {names:?}")).clone()
}

#[test]
fn the_published_template_of_recipe_one_does_its_job_unchanged() {
    let route = "/input:\n    s3: { bucket: \"NAME-${stage}\", allow: [\"NAME-${stage}/routeToS3/SendGrid\"] }";
    let (stack, deployed) = published(&recipe("validToken"), JSON, route, "team: payments");
    let bucket = format!("{}-prod", stack.name);
    let named = format!("{bucket}/routeToS3/SendGrid");
    let answer = post(
        &deployed.url_with("prod", "/input", &[("app", "SendGrid"), ("bucket", &named)]),
        JSON,
        br#"{"message": "success"}"#,
    );
    let id = stack::stored(&answer);
    let object = aws::only_object(&bucket);
    assert!(
        object.key.starts_with("routeToS3/SendGrid/SendGrid_") && object.key.ends_with(&id),
        "{}",
        object.key
    );
    assert_eq!(
        serde_json::from_slice::<Value>(&object.body).unwrap(),
        json!({"message": "success"})
    );
    // a quote in a parameter broke the recipe's event; here it is a caller's fault or a name that
    // isn't allowed
    for bad in ["\"", "x\",\n\"validToken\": \"x", "a\\"] {
        let answer = post(
            &deployed.url_with("prod", "/input", &[("app", bad), ("bucket", &named)]),
            JSON,
            b"{}",
        );
        assert_eq!(answer.status, 400, "{bad:?}: {}", answer.text());
    }
    let answer = post(
        &(deployed.url("prod", "/input")
            + &query(&[("token", "wrong"), ("app", "a"), ("bucket", &named)])),
        JSON,
        b"{}",
    );
    assert_eq!(
        (answer.status, answer.json()),
        (401, json!({"result": "fail", "reason": "Invalid token provided"}))
    );
    assert_eq!(aws::keys(&bucket).unwrap().len(), 1);
}

#[test]
fn the_published_templates_of_recipe_two_do_their_job_unchanged() {
    let queue_url = |stack: &Stack| aws::queue_url(&format!("{}-prod", stack.name)).unwrap();
    let variable =
        "appropriate_queue_url: \"https://sqs.${region}.amazonaws.com/${account}/NAME-${stage}\"";

    let route = "/callbacks/events:\n    token: none\n    sqs: { queue: \"NAME-${stage}\" }";
    let (stack, deployed) = published(&recipe("body-json"), JSON, route, variable);
    let answer =
        post(&deployed.url("prod", "/callbacks/events"), JSON, "{\"text\":\"Grüße\"}".as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let message = aws::only_message(&format!("{}-prod", stack.name)).json();
    assert_eq!(message["body-json"], json!({"text": "Grüße"}));
    assert!(
        queue_url(&stack)
            .ends_with(message["queue_url"].as_str().unwrap().rsplit('/').next().unwrap()),
        "{message}"
    );

    let route = "/callbacks/inbound:\n    accept: [multipart/form-data]\n    token: none\n    sqs: { queue: \"NAME-${stage}\" }";
    let (stack, deployed) = published(&recipe("body-raw"), "multipart/form-data", route, variable);
    let mail =
        "--xYzZY\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nGrüße\r\n--xYzZY--\r\n";
    let answer =
        post(&deployed.url("prod", "/callbacks/inbound"), multipart::CONTENT_TYPE, mail.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let message = aws::only_message(&format!("{}-prod", stack.name)).json();
    assert_eq!(
        String::from_utf8(aws::from_base64(message["body-raw"].as_str().unwrap())).unwrap(),
        mail
    );
    let headers =
        String::from_utf8(aws::from_base64(message["http-headers"].as_str().unwrap())).unwrap();
    assert!(
        headers.starts_with('{') && headers.contains("multipart/form-data; boundary=xYzZY"),
        "{headers}"
    );
}

#[test]
fn the_stack_file_that_comes_with_routeto_deploys_as_it_is() {
    // buckets and queues of a fixed name: the one test that uses it
    let stack = Stack::new(
        "stack: NAME\nroutes:\n  /a:\n    sqs: { queue: \"NAME-${stage}\" }\nstages:\n  prod: {}\n",
    );
    let text = std::fs::read_to_string(root().join("stacks/routeto.yaml")).unwrap();
    stack.rewrite(&text);
    let deployed = stack.deploy();
    let token = |stage: &str| query(&[("token", &stack::token(stage))]);
    for stage in ["dev", "prod"] {
        for (route, content_type) in [
            ("/input", JSON),
            ("/callbacks/events", JSON),
            ("/callbacks/inbound", multipart::CONTENT_TYPE),
        ] {
            stack::stored(&post(
                &(deployed.url(stage, route) + &token(stage)),
                content_type,
                &multipart::mail(10),
            ));
        }
    }
    let kept = stack.routeto("teardown", "--yes").json();
    let kept = kept["changes"]["kept"].as_array().unwrap_or_else(|| panic!("{kept:#}")).len();
    assert_eq!(kept, 8, "buckets with objects, queues with messages and their dead-letter queues");
    stack.teardown();
    assert_eq!(aws::world("webhooks")["functions"], json!({}));
    assert_eq!(aws::keys("webhooks-000000000000-us-east-1-prod"), None);
    assert_eq!(aws::queue_url("inbound-mail-prod"), None);
}
