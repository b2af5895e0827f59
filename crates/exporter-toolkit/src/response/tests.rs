use super::*;
use std::io::Read;

use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use hyper::header::ACCEPT_ENCODING;
use maud::html as markup;

#[tokio::test]
async fn response_helpers() {
    let response = method_not_allowed(&[Method::GET, Method::HEAD]);
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()[ALLOW], "GET, HEAD");
    let page = html(&HeaderMap::new(), StatusCode::OK, "<p>");
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

/// A browser runs the script of a page only if the hash in the policy is that of the text
/// between its tags.
#[tokio::test]
async fn a_page_is_compressed_and_names_its_script_by_hash() {
    let document = page::document(
        "t",
        "",
        None,
        &markup! { @for _ in 0..500 { p { "a row" } } },
    );
    let mut gzip = HeaderMap::new();
    gzip.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"));
    let plain = html(&HeaderMap::new(), StatusCode::OK, document.clone());
    let zipped = html(&gzip, StatusCode::NOT_FOUND, document.clone());
    assert_eq!(zipped.status(), 404);
    assert_eq!(zipped.headers()[CONTENT_ENCODING], "gzip");
    assert_eq!(zipped.headers()[VARY], "Accept-Encoding");
    assert!(!plain.headers().contains_key(CONTENT_ENCODING));
    assert_eq!(plain.headers()[VARY], "Accept-Encoding");
    let policy = plain.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
    let script = document.split_once("<script>").unwrap().1;
    let script = script.split_once("</script>").unwrap().0;
    let digest = ring::digest::digest(&ring::digest::SHA256, script.as_bytes());
    let source = format!("script-src 'sha256-{}';", BASE64_STANDARD.encode(digest));
    assert!(policy.contains(&source), "{policy}");
    let body = plain.into_body().collect().await.unwrap().to_bytes();
    let packed = zipped.into_body().collect().await.unwrap().to_bytes();
    assert!(
        packed.len() * 3 < body.len(),
        "{} of {}",
        packed.len(),
        body.len()
    );
    let mut text = String::new();
    GzDecoder::new(&*packed).read_to_string(&mut text).unwrap();
    assert_eq!(text.as_bytes(), body);
}
