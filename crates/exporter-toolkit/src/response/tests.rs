use super::*;
use http_body_util::BodyExt;

#[tokio::test]
async fn response_helpers() {
    let response = method_not_allowed(&[Method::GET, Method::HEAD]);
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()[ALLOW], "GET, HEAD");
    let page = html("<p>");
    let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'unsafe-inline'"));
    assert_eq!(page.headers()[CACHE_CONTROL], "no-store");
    assert_eq!(page.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
    let document = json(StatusCode::ACCEPTED, &serde_json::json!({"a": 1}));
    assert_eq!(document.status(), 202);
    let body = document.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "{\"a\":1}\n");
    assert_eq!(unauthorized().headers()[WWW_AUTHENTICATE], "Bearer");
    let missing = not_found(&["/", "/exposed"]);
    assert_eq!(missing.status(), 404);
    let body = missing.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "Not found. Paths: /, /exposed\n");
}
