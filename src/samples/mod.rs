//! What webhook providers post, as `routeto test` sends it: bodies and headers as the providers
//! document them. Pure.
//!
//! The signatures are of the right form and by nobody's secret: what checks them turns these away,
//! which is its business and not routeto's.

use clap::ValueEnum;

/// Who posts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Provider {
    /// Event Webhook: a JSON array of events
    SendgridEvents,
    /// Inbound Parse: a mail as multipart/form-data, with an attachment
    SendgridInbound,
    Github,
    Stripe,
    /// A text message: a form
    Twilio,
    /// A slash command: a form
    Slack,
    Shopify,
}

/// One POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Content-Type is the first.
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: Vec<u8>,
}

impl Provider {
    /// As on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The media type that it posts, as a route's `accept` has it.
    pub fn media(self) -> &'static str {
        match self {
            Provider::SendgridEvents | Provider::Github | Provider::Stripe | Provider::Shopify => {
                "application/json"
            }
            Provider::SendgridInbound => "multipart/form-data",
            Provider::Twilio | Provider::Slack => "application/x-www-form-urlencoded",
        }
    }

    /// Whose sample stands for a media type where none was asked for.
    pub fn of(media: &str) -> Option<Provider> {
        [Provider::SendgridEvents, Provider::SendgridInbound, Provider::Twilio]
            .into_iter()
            .find(|provider| provider.media() == media)
    }

    /// Whose sample goes to a route as a media type: the provider's that the route is named after,
    /// if it posts that type, else the one that stands for the type.
    pub fn for_route(path: &str, media: &str) -> Option<Provider> {
        let words =
            || path.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_ascii_lowercase);
        // `sendgrid` of `sendgrid-events`
        let is_named = |provider: &&Provider| {
            let name = provider.name();
            let first = name.split('-').next().unwrap_or_default();
            provider.media() == media && words().any(|word| word == first)
        };
        Provider::value_variants().iter().find(is_named).copied().or_else(|| Provider::of(media))
    }

    pub fn sample(self) -> Sample {
        match self {
            // Source: twilio.com/docs/sendgrid/for-developers/tracking-events/event. The line breaks within are SendGrid's own and signed.
            Provider::SendgridEvents => Sample {
                headers: vec![
                    ("content-type", "application/json"),
                    ("user-agent", "SendGrid Event API"),
                    ("accept", "*/*"),
                    (
                        "x-twilio-email-event-webhook-signature",
                        "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=",
                    ),
                    ("x-twilio-email-event-webhook-timestamp", "1763800131"),
                ],
                body: include_str!("sendgrid-events.json").replace('\n', "\r\n").into_bytes(),
            },
            // Source: twilio.com/docs/sendgrid/for-developers/parsing-email/setting-up-the-inbound-parse-webhook
            Provider::SendgridInbound => Sample {
                headers: vec![
                    ("content-type", "multipart/form-data; boundary=xYzZY"),
                    ("user-agent", "Sendlib/1.0 server.sendgrid.net"),
                    ("accept", "*/*"),
                ],
                body: mail(),
            },
            // Source: docs.github.com/en/webhooks/webhook-events-and-payloads
            Provider::Github => Sample {
                headers: vec![
                    ("content-type", "application/json"),
                    ("user-agent", "GitHub-Hookshot/044aadd"),
                    ("accept", "*/*"),
                    ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
                    ("x-github-event", "push"),
                    ("x-github-hook-id", "292430182"),
                    ("x-github-hook-installation-target-id", "79929171"),
                    ("x-github-hook-installation-target-type", "repository"),
                    ("x-hub-signature", "sha1=7d38cdd689735b008b3c702edd92eea23791c5f6"),
                    ("x-hub-signature-256", "sha256=d57c68ca6f92289e6987922ff26938930f6e66a2d161ef06abdf1859230aa23c"),
                ],
                body: include_str!("github.json").trim_end().as_bytes().to_vec(),
            },
            // Source: docs.stripe.com/api/events/object, docs.stripe.com/webhooks
            Provider::Stripe => Sample {
                headers: vec![
                    ("content-type", "application/json; charset=utf-8"),
                    ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
                    ("accept", "*/*; q=0.5, application/xml"),
                    ("cache-control", "no-cache"),
                    (
                        "stripe-signature",
                        "t=1763800001,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd,\
                         v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39",
                    ),
                ],
                body: include_str!("stripe.json").trim_end().as_bytes().to_vec(),
            },
            // Source: twilio.com/docs/messaging/guides/webhook-request
            Provider::Twilio => Sample {
                headers: vec![
                    ("content-type", "application/x-www-form-urlencoded; charset=UTF-8"),
                    ("user-agent", "TwilioProxy/1.1"),
                    ("accept", "*/*"),
                    ("i-twilio-idempotency-token", "4d1ee0d4-6d0c-4a5c-9d0b-9bd6ba8f1d64"),
                    ("x-twilio-signature", "0/KCTR6DLpKmkAf8muzZqo1nDgQ="),
                ],
                body: b"ToCountry=US&ToState=CA&SmsMessageSid=SM1f0e8ae6ade43cb3c0ce4525424e404f&NumMedia=0&ToCity=&FromZip=94103\
                        &SmsSid=SM1f0e8ae6ade43cb3c0ce4525424e404f&FromState=CA&SmsStatus=received&FromCity=SAN+FRANCISCO\
                        &Body=It%27s+5+%E2%82%AC%2C+%26+%22quoted%22%0A%F0%9F%98%80&FromCountry=US&To=%2B15558675310&ToZip=&NumSegments=1\
                        &MessageSid=SM1f0e8ae6ade43cb3c0ce4525424e404f&AccountSid=AC00000000000000000000000000000000&From=%2B14158675309\
                        &ApiVersion=2010-04-01"
                    .to_vec(),
            },
            // Source: docs.slack.dev/interactivity/implementing-slash-commands, docs.slack.dev/authentication/verifying-requests-from-slack
            Provider::Slack => Sample {
                headers: vec![
                    ("content-type", "application/x-www-form-urlencoded"),
                    ("user-agent", "Slackbot 1.0 (+https://api.slack.com/robots)"),
                    ("accept", "application/json,*/*"),
                    ("x-slack-request-timestamp", "1763800000"),
                    ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
                ],
                body: b"token=gIkuvaNzQIHg97ATvDxqgjtO&team_id=T0001&team_domain=example&enterprise_id=E0001\
                        &enterprise_name=Globular%20Construct%20Inc&channel_id=C2147483705&channel_name=test&user_id=U2147483697\
                        &user_name=Steve&command=%2Fweather&text=94070&response_url=https%3A%2F%2Fhooks.slack.example%2Fcommands%2F1234%2F5678\
                        &trigger_id=13345224609.738474920.8088930838d88f008e0&api_app_id=A123456"
                    .to_vec(),
            },
            // Source: shopify.dev/docs/api/webhooks, shopify.dev/docs/apps/build/webhooks/verify-deliveries
            Provider::Shopify => Sample {
                headers: vec![
                    ("content-type", "application/json"),
                    ("user-agent", "Shopify-Captain-Hook"),
                    ("accept", "*/*"),
                    ("x-shopify-topic", "orders/create"),
                    ("x-shopify-hmac-sha256", "XWmrwMey6OsLMeiZKwP4FppHH3cmAiiJJAweH5Jo4bM="),
                    ("x-shopify-shop-domain", "example.myshopify.com"),
                    ("x-shopify-api-version", "2025-10"),
                    ("x-shopify-webhook-id", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"),
                    ("x-shopify-event-id", "98880550-7158-44d4-b7cd-2c97c8a091b5"),
                    ("x-shopify-triggered-at", "2025-11-22T08:26:40.123456789Z"),
                ],
                body: include_str!("shopify.json").trim_end().as_bytes().to_vec(),
            },
        }
    }
}

/// The smallest PNG there is: one pixel, and many bytes that are no text.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\nIDATx\x9cc\0\x01\0\0\x05\0\x01\r\n-\xb4\0\0\0\0IEND\xaeB`\x82";

fn mail() -> Vec<u8> {
    let fields: [(&str, &[u8]); 17] = [
        (
            "headers",
            b"Received: by mx0047p1mdw1.sendgrid.net with SMTP id 6WCVv7KAWn Wed, 27 Jul 2016 20:53:06 +0000 (UTC)\n\
              From: Example User <example@example.com>\nTo: inbound@parse.example.com\nSubject: Caf\xc3\xa9 \xe2\x82\xac\n\
              MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"001a113ee97c89842f0538640cb7\"\n",
        ),
        ("dkim", b"{@example.com : pass}"),
        ("content-ids", br#"{"ii_139db99fdb5c3704":"attachment1"}"#),
        ("to", b"inbound@parse.example.com"),
        ("cc", b""),
        ("from", b"Example User <example@example.com>"),
        // In iso-8859-1, as `charsets` says: 0xe9 alone is no UTF-8.
        ("text", b"Bonjour,\r\nle caf\xe9 est d\xe9j\xe0 pay\xe9.\r\n"),
        ("html", "<p>Bonjour,<br>le café est déjà payé.</p>\n".as_bytes()),
        ("sender_ip", b"209.85.166.45"),
        ("spam_report", b"Spam detection software, running on the system, has not identified this message as spam."),
        ("envelope", br#"{"to":["inbound@parse.example.com"],"from":"example@example.com"}"#),
        ("attachments", b"1"),
        ("subject", "Café €".as_bytes()),
        ("spam_score", b"0.012"),
        (
            "attachment-info",
            br#"{"attachment1":{"filename":"dot.png","name":"dot.png","type":"image/png","content-id":"ii_139db99fdb5c3704"}}"#,
        ),
        ("charsets", br#"{"to":"UTF-8","from":"UTF-8","subject":"UTF-8","html":"UTF-8","text":"iso-8859-1"}"#),
        ("SPF", b"pass"),
    ];
    let mut body = Vec::new();
    let mut part = |head: &str, content: &[u8]| {
        body.extend_from_slice(b"--xYzZY\r\nContent-Disposition: form-data; name=\"");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    };
    for (name, content) in fields {
        part(&format!("{name}\""), content);
    }
    part("attachment1\"; filename=\"dot.png\"\r\nContent-Type: image/png", PNG);
    body.extend_from_slice(b"--xYzZY--\r\n");
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde_json::Value;
    use std::collections::BTreeMap;

    fn json(provider: Provider) -> Value {
        serde_json::from_slice(&provider.sample().body).expect("JSON")
    }

    fn header(provider: Provider, name: &str) -> &'static str {
        provider
            .sample()
            .headers
            .iter()
            .find(|(given, _)| *given == name)
            .map(|(_, value)| *value)
            .expect("a header")
    }

    fn form(provider: Provider) -> BTreeMap<String, String> {
        let body = String::from_utf8(provider.sample().body).expect("text");
        assert!(!body.contains(char::is_whitespace), "{body}");
        body.split('&')
            .map(|pair| pair.split_once('=').expect("a pair"))
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn is_hex(text: &str, length: usize) -> bool {
        text.len() == length
            && text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
    }

    #[test]
    fn every_sample_is_of_the_type_that_its_provider_posts_and_each_header_is_there_once() {
        for provider in Provider::value_variants() {
            let sample = provider.sample();
            let (name, value) = sample.headers[0];
            assert_eq!(
                (name, value.split(';').next()),
                ("content-type", Some(provider.media())),
                "{provider:?}"
            );
            let mut names: Vec<&str> = sample.headers.iter().map(|(name, _)| *name).collect();
            assert!(names.iter().all(|name| *name == name.to_lowercase()), "{names:?}");
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{provider:?}");
            // SQS takes a mebibyte, and SendGrid sends at most 768 KB.
            assert!((100..64 * 1024).contains(&sample.body.len()), "{provider:?}");
        }
    }

    #[test]
    fn media_types_have_their_sample_and_others_have_none() {
        assert_eq!(Provider::of("application/json"), Some(Provider::SendgridEvents));
        assert_eq!(Provider::of("multipart/form-data"), Some(Provider::SendgridInbound));
        assert_eq!(Provider::of("application/x-www-form-urlencoded"), Some(Provider::Twilio));
        assert_eq!(Provider::of("image/png"), None);
        assert_eq!(Provider::SendgridInbound.name(), "sendgrid-inbound");
    }

    #[test]
    fn a_route_that_is_named_after_a_provider_gets_its_sample_where_it_takes_the_type() {
        const JSON: &str = "application/json";
        const FORM: &str = "application/x-www-form-urlencoded";
        for (path, media, provider) in [
            ("/github", JSON, Some(Provider::Github)),
            ("/hooks/Stripe", JSON, Some(Provider::Stripe)),
            ("/shopify-orders", JSON, Some(Provider::Shopify)),
            ("/slack", FORM, Some(Provider::Slack)),
            ("/twilio/sms", FORM, Some(Provider::Twilio)),
            ("/sendgrid", "multipart/form-data", Some(Provider::SendgridInbound)),
            // Not of a type that its provider posts, and not named after one.
            ("/slack", JSON, Some(Provider::SendgridEvents)),
            ("/github", FORM, Some(Provider::Twilio)),
            ("/stripes", JSON, Some(Provider::SendgridEvents)),
            ("/github", "image/png", None),
        ] {
            assert_eq!(Provider::for_route(path, media), provider, "{path} {media}");
        }
    }

    #[test]
    fn sendgrids_events_are_an_array_with_its_line_breaks_and_an_id_for_each() {
        let body = Provider::SendgridEvents.sample().body;
        assert!(body.starts_with(b"[{") && body.ends_with(b"}]\r\n"));
        let text = String::from_utf8(body).expect("text");
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        let events = json(Provider::SendgridEvents);
        let kinds: Vec<&str> = events
            .as_array()
            .expect("an array")
            .iter()
            .map(|event| event["event"].as_str().expect("a word"))
            .collect();
        assert_eq!(
            kinds,
            [
                "processed",
                "deferred",
                "delivered",
                "open",
                "click",
                "bounce",
                "dropped",
                "spamreport",
                "group_unsubscribe"
            ]
        );
        for event in events.as_array().expect("an array") {
            for name in ["email", "sg_event_id", "sg_message_id"] {
                assert!(
                    event[name].as_str().is_some_and(|text| !text.is_empty()),
                    "{name} in {event}"
                );
            }
            assert!(event["timestamp"].is_u64());
        }
        let signature = BASE64_STANDARD
            .decode(header(Provider::SendgridEvents, "x-twilio-email-event-webhook-signature"))
            .expect("base64");
        // A sequence of two integers of P-256, in DER.
        assert_eq!(
            (signature[0], usize::from(signature[1]), signature[2]),
            (0x30, signature.len() - 2, 0x02)
        );
    }

    #[test]
    fn an_inbound_mail_has_sendgrids_parts_a_text_that_is_no_utf8_and_an_attachment() {
        let body = Provider::SendgridInbound.sample().body;
        let text: String = body.iter().map(|byte| char::from(*byte)).collect();
        let parts: Vec<&str> = text
            .strip_suffix("\r\n--xYzZY--\r\n")
            .expect("its end")
            .split("--xYzZY\r\n")
            .skip(1)
            .collect();
        let named = parts.iter().map(|part| {
            let (head, content) = part.split_once("\r\n\r\n").expect("a head");
            let name = head
                .strip_prefix("Content-Disposition: form-data; name=\"")
                .and_then(|rest| rest.split('"').next())
                .expect("a name");
            (name, (head, content.strip_suffix("\r\n").unwrap_or(content)))
        });
        let named: BTreeMap<_, _> = named.collect();
        let names: Vec<&str> = named.keys().copied().collect();
        assert_eq!(
            names,
            [
                "SPF",
                "attachment-info",
                "attachment1",
                "attachments",
                "cc",
                "charsets",
                "content-ids",
                "dkim",
                "envelope",
                "from",
                "headers",
                "html",
                "sender_ip",
                "spam_report",
                "spam_score",
                "subject",
                "text",
                "to"
            ]
        );
        for name in ["attachment-info", "charsets", "content-ids", "envelope"] {
            assert!(
                serde_json::from_str::<Value>(named[name].1).is_ok_and(|value| value.is_object()),
                "{name}"
            );
        }
        assert!(named["text"].1.contains("d\u{e9}j\u{e0}"));
        assert!(std::str::from_utf8(&body).is_err());
        let (head, content) = named["attachment1"];
        assert!(head.ends_with("filename=\"dot.png\"\r\nContent-Type: image/png"), "{head}");
        assert_eq!(
            content
                .chars()
                .map(|c| u8::try_from(u32::from(c)).expect("a byte"))
                .collect::<Vec<_>>(),
            PNG
        );
    }

    #[test]
    fn github_stripe_and_shopify_post_an_object_with_their_ids_and_signatures() {
        let push = json(Provider::Github);
        assert_eq!(
            (&push["ref"], push["commits"].as_array().map(Vec::len)),
            (&"refs/heads/main".into(), Some(1))
        );
        assert_eq!(push["head_commit"]["id"], push["after"]);
        assert_eq!(header(Provider::Github, "x-github-event"), "push");
        assert!(
            header(Provider::Github, "x-hub-signature-256")
                .strip_prefix("sha256=")
                .is_some_and(|hex| is_hex(hex, 64))
        );
        assert!(
            header(Provider::Github, "x-hub-signature")
                .strip_prefix("sha1=")
                .is_some_and(|hex| is_hex(hex, 40))
        );

        let event = json(Provider::Stripe);
        assert_eq!(
            (&event["object"], &event["type"], &event["data"]["object"]["object"]),
            (&"event".into(), &"charge.succeeded".into(), &"charge".into())
        );
        let signature: BTreeMap<&str, &str> = header(Provider::Stripe, "stripe-signature")
            .split(',')
            .map(|part| part.split_once('=').expect("a pair"))
            .collect();
        assert!(
            signature["t"].parse::<u64>().is_ok()
                && is_hex(signature["v1"], 64)
                && is_hex(signature["v0"], 64),
            "{signature:?}"
        );

        let order = json(Provider::Shopify);
        assert_eq!(
            (order["id"].as_u64(), order["total_price"].as_str()),
            (Some(820_982_911_946_154_508), Some("388.00"))
        );
        assert_eq!(
            BASE64_STANDARD
                .decode(header(Provider::Shopify, "x-shopify-hmac-sha256"))
                .map(|bytes| bytes.len()),
            Ok(32)
        );
    }

    #[test]
    fn twilio_and_slack_post_forms() {
        let message = form(Provider::Twilio);
        assert_eq!(
            (message["From"].as_str(), message["SmsStatus"].as_str(), message["NumMedia"].as_str()),
            ("%2B14158675309", "received", "0")
        );
        assert_eq!(message["MessageSid"].len(), 34);
        // SHA-1 has 20 bytes.
        assert_eq!(
            BASE64_STANDARD
                .decode(header(Provider::Twilio, "x-twilio-signature"))
                .map(|bytes| bytes.len()),
            Ok(20)
        );
        let command = form(Provider::Slack);
        assert_eq!(
            (command["command"].as_str(), command["text"].as_str()),
            ("%2Fweather", "94070")
        );
        assert!(
            header(Provider::Slack, "x-slack-signature")
                .strip_prefix("v0=")
                .is_some_and(|hex| is_hex(hex, 64))
        );
        assert!(header(Provider::Slack, "x-slack-request-timestamp").parse::<u64>().is_ok());
    }
}
