//! An [`Api`] as the one OpenAPI document that `PutRestApi` takes. Pure.
//!
//! Source of the extensions: API Gateway developer guide, "OpenAPI extensions for API Gateway".

use crate::{
    observed::{Carried, ServedRoute},
    resource::{Api, GatewayResponse, Integration, IntegrationResponse, Method},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The name of the one request validator.
pub const VALIDATOR: &str = "parameters";

/// The API's description as the document sets it: with the digest of all that the document says, so
/// that the list of APIs tells already whether there is something to write.
pub fn description(api: &Api) -> String {
    format!("{} ({})", api.description, api.digest())
}

/// A description without the digest.
pub fn plain(description: &str) -> &str {
    parts(description).map_or(description, |(plain, _)| plain)
}

/// The digest in a description, if it has one.
pub fn digest(description: &str) -> Option<&str> {
    parts(description).map(|(_, digest)| digest)
}

fn parts(description: &str) -> Option<(&str, &str)> {
    let digest = |text: &str| {
        text.strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    description.strip_suffix(')')?.rsplit_once(" (").filter(|(_, digits)| digest(digits))
}

/// The document, ready to be sent. Overwriting drops what it lacks, so it has what the API has by
/// hand as well.
pub fn document(api: &Api, carried: &Carried) -> Value {
    let mut paths = Map::new();
    for (path, verbs) in &api.methods {
        let verbs: Map<String, Value> = verbs
            .iter()
            .map(|(verb, method)| (verb.to_ascii_lowercase(), operation(method)))
            .collect();
        paths.insert(path.clone(), Value::Object(verbs));
    }
    let gateway_responses: Map<String, Value> = api
        .gateway_responses
        .iter()
        .map(|(kind, response)| (kind.clone(), gateway_response(response)))
        .collect();
    let mut document = json!({
        "openapi": "3.0.1",
        "info": {"title": api.name, "description": description(api), "version": "1"},
        "paths": paths,
        "x-amazon-apigateway-binary-media-types": api.binary_media_types,
        "x-amazon-apigateway-request-validators": {
            VALIDATOR: {"validateRequestParameters": true, "validateRequestBody": false}
        },
        "x-amazon-apigateway-gateway-responses": gateway_responses,
    });
    if let Some(policy) =
        carried.policy.as_deref().and_then(|policy| serde_json::from_str::<Value>(policy).ok())
    {
        document["x-amazon-apigateway-policy"] = policy;
    }
    if let Some(endpoint) = endpoint_configuration(carried) {
        // OpenAPI 3.0 wants a server's `url`; "/" is what it stands for where there are no servers.
        // The import ignores base paths unless it is told otherwise.
        document["servers"] =
            json!([{"url": "/", "x-amazon-apigateway-endpoint-configuration": endpoint}]);
    }
    if let Some(bytes) = carried.minimum_compression_size {
        document["x-amazon-apigateway-minimum-compression-size"] = json!(bytes);
    }
    if let Some(source) = &carried.api_key_source {
        document["x-amazon-apigateway-api-key-source"] = json!(source);
    }
    document
}

/// What of the endpoint's configuration a REST API's document may set; `None` where it is the
/// default. In the document it is never unset, not even between the overwrite and the next call.
/// Source: "x-amazon-apigateway-endpoint-configuration object"; `ipAddressType` is for HTTP APIs.
fn endpoint_configuration(carried: &Carried) -> Option<Value> {
    let mut endpoint = Map::new();
    if carried.disable_execute_api_endpoint {
        endpoint.insert("disableExecuteApiEndpoint".into(), json!(true));
    }
    if !carried.vpc_endpoint_ids.is_empty() {
        endpoint.insert("vpcEndpointIds".into(), json!(carried.vpc_endpoint_ids));
    }
    (!endpoint.is_empty()).then_some(Value::Object(endpoint))
}

fn operation(method: &Method) -> Value {
    let parameters: Vec<Value> = method
        .parameters
        .iter()
        .map(|(key, required)| {
            let name = key.strip_prefix("method.request.querystring.").unwrap_or(key);
            json!({"name": name, "in": "query", "required": required, "schema": {"type": "string"}})
        })
        .collect();
    let responses: Map<String, Value> = method
        .responses
        .iter()
        .map(|status| (status.clone(), json!({"description": "an answer of routeto's"})))
        .collect();
    let mut operation = json!({"parameters": parameters, "responses": responses});
    if method.parameters_validated {
        operation["x-amazon-apigateway-request-validator"] = json!(VALIDATOR);
    }
    if let Some(integration) = &method.integration {
        operation["x-amazon-apigateway-integration"] = self::integration(integration);
    }
    operation
}

fn integration(integration: &Integration) -> Value {
    let mut responses = Map::new();
    for (status, IntegrationResponse { selection_pattern, content_handling, templates }) in
        &integration.responses
    {
        let mut response = json!({"statusCode": status, "responseTemplates": templates});
        if let Some(handling) = content_handling {
            response["contentHandling"] = json!(handling);
        }
        responses.insert(selection_pattern.clone().unwrap_or_else(|| "default".into()), response);
    }
    let mut value = json!({
        "type": integration.kind.to_ascii_lowercase(),
        // Lambda is only ever invoked by POST.
        "httpMethod": "POST",
        "uri": integration.uri,
        "timeoutInMillis": integration.timeout,
        "passthroughBehavior": integration.passthrough.to_ascii_lowercase(),
        "requestTemplates": integration.templates,
        "responses": responses,
    });
    if let Some(handling) = &integration.content_handling {
        value["contentHandling"] = json!(handling);
    }
    value
}

fn gateway_response(response: &GatewayResponse) -> Value {
    json!({
        "statusCode": response.status,
        "responseParameters": response.parameters,
        "responseTemplates": response.templates,
    })
}

/// The routes that take a POST, by path, in what `GetExport` answers as `swagger` with API
/// Gateway's extensions: the API as a stage's deployment has it.
pub fn served(export: &Value) -> BTreeMap<String, ServedRoute> {
    let paths = export["paths"].as_object().into_iter().flatten();
    paths
        .filter_map(|(path, verbs)| {
            let operation = verbs.get("post")?;
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let asks = |parameter: &Value| {
                parameter["in"] == "query"
                    && parameter["name"] == "token"
                    && parameter["required"] == true
            };
            let templates = operation["x-amazon-apigateway-integration"]["requestTemplates"]
                .as_object()
                .into_iter()
                .flatten();
            let route = ServedRoute {
                asks_for_token: parameters.into_iter().any(asks),
                templates: templates
                    .filter_map(|(media, text)| Some((media.clone(), text.as_str()?.to_owned())))
                    .collect(),
            };
            Some((path.clone(), route))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_was_configured_by_hand_is_in_a_server_that_has_a_url() {
        let api = Api {
            name: "hooks".into(),
            tags: BTreeMap::new(),
            description: String::new(),
            binary_media_types: Default::default(),
            methods: BTreeMap::new(),
            gateway_responses: BTreeMap::new(),
        };
        let closed = Carried { disable_execute_api_endpoint: true, ..Carried::default() };
        let vpc = Carried { vpc_endpoint_ids: ["vpce-1".to_owned()].into(), ..Carried::default() };
        let servers = |carried: &Carried| document(&api, carried)["servers"].clone();
        let server = |endpoint: Value| json!([{"url": "/", "x-amazon-apigateway-endpoint-configuration": endpoint}]);
        assert_eq!(servers(&closed), server(json!({"disableExecuteApiEndpoint": true})));
        assert_eq!(servers(&vpc), server(json!({"vpcEndpointIds": ["vpce-1"]})));
        assert_eq!(servers(&Carried::default()), Value::Null);
    }

    /// In the form of the developer guide's "Export a REST API from API Gateway".
    #[test]
    fn an_export_tells_which_routes_a_stage_serves_and_what_they_ask_for() {
        let integration = json!({
            "type": "aws", "httpMethod": "POST", "passthroughBehavior": "never",
            "requestTemplates": {"application/json": "{}", "text/plain": "x"}, "responses": {},
        });
        let export = json!({
            "swagger": "2.0", "info": {"title": "webhooks"}, "basePath": "/prod", "schemes": ["https"],
            "paths": {
                "/input": {"post": {
                    "parameters": [{"name": "token", "in": "query", "required": true, "type": "string"}],
                    "responses": {}, "x-amazon-apigateway-integration": integration,
                }},
                "/open": {"post": {"responses": {}, "x-amazon-apigateway-integration": integration}},
                "/by-hand": {"get": {"responses": {}}},
            },
        });
        let templates: BTreeMap<String, String> = [("application/json", "{}"), ("text/plain", "x")]
            .map(|(media, text)| (media.to_owned(), text.to_owned()))
            .into();
        let route = |asks_for_token| ServedRoute { asks_for_token, templates: templates.clone() };
        assert_eq!(
            served(&export),
            [("/input".to_owned(), route(true)), ("/open".to_owned(), route(false))].into()
        );
        assert_eq!(served(&json!({"message": "Internal server error"})), BTreeMap::new());
    }
}
