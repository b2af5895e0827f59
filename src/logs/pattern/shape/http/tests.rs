#![allow(clippy::unwrap_used)]
use super::*;

fn json(record: &str) -> bool {
    is_of_http(&serde_json::from_str(record).unwrap())
}

#[test]
fn a_request_and_an_error_with_a_code_of_its_own_are_of_http() {
    for record in [
        r#"{"req":{"method":"GET","url":"/"}}"#,
        r#"{"res":{"statusCode":401}}"#,
        r#"{"responseTime":3}"#,
        r#"{"err":{"type":"Error","message":"x","stack":"x","statusCode":401}}"#,
        r#"{"err":{"type":"Error","message":"x","stack":"x","expose":true,"status":401}}"#,
        r#"{"error":{"message":"x","stack":"x","code":"403"}}"#,
        r#"{"err":{"type":"FastifyError","message":"x","stack":"x"}}"#,
        r#"{"err":{"type":"Error","stack":"x","code":"FST_JWT_NO_AUTHORIZATION_IN_HEADER"}}"#,
        r#"{"reqId":"req-1","err":{"statusCode":401}}"#,
    ] {
        assert!(json(record), "{record}");
    }
    for record in [
        "{}",
        r#"{"reqId":"req-1","statusCode":401}"#,
        r#"{"reqId":3234,"err":{"statusCode":401}}"#,
        r#"{"req":"x","res":401}"#,
        r#"{"err":{"statusCode":401}}"#,
        r#"{"err":{"type":"Error","message":"x","stack":"x","code":"ECONNRESET"}}"#,
        r#"{"err":{"type":"Error","stack":"x","isBoom":true,"output":{"statusCode":401}}}"#,
        r#"{"err":{"type":"Boom","message":"x","stack":"x","statusCode":401}}"#,
        r#"{"err":{"type":"DisconnectError","message":"x","stack":"x","statusCode":401}}"#,
        r#"{"err":{"stack":"at x (/a/baileys/lib/Socket/socket.js:1:1)","statusCode":401}}"#,
    ] {
        assert!(!json(record), "{record}");
    }
}

#[test]
fn pino_pretty_prints_the_same_on_lines() {
    let record = |fields: &str| format!("[10:00:00.000] ERROR (31): Connection closed\n{fields}");
    let error = |class: &str, rest: &str| {
        record(&format!(
            "    err: {{\n      \"type\": \"{class}\",\n      \"message\": \"x\",\n      \"stack\":\n          Error: x\n              at y (/app/server.js:1:1)\n{rest}\n    }}"
        ))
    };
    for text in [
        record("    res: {\n      \"statusCode\": 401\n    }"),
        record("    reqId: \"req-1\"\n    req: {\n      \"method\": \"GET\"\n    }"),
        record("    responseTime: 1.5"),
        error("Error", "      \"statusCode\": 401"),
        error(
            "FastifyError",
            "      \"code\": \"FST_X\",\n      \"statusCode\": 401",
        ),
    ] {
        assert!(is_of_http_in_lines(text.as_bytes()), "{text}");
    }
    for text in [
        record("    statusCode: 401"),
        record("    reqId: 3234\n    statusCode: 401"),
        error("Error", "      \"code\": \"ECONNRESET\""),
        error("DisconnectError", "      \"statusCode\": 401"),
        error(
            "Error",
            "      \"isBoom\": true,\n      \"output\": {\n        \"statusCode\": 401\n      }",
        ),
    ] {
        assert!(!is_of_http_in_lines(text.as_bytes()), "{text}");
    }
}
