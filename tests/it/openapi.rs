//! `api.md` 10: the OpenAPI document of the running server says what its routes do, and Swagger UI
//! shows it without network.

use crate::support::shared;

#[test]
fn the_document_is_openapi_3_1_in_json_and_yaml() {
    let answer = shared().get("/openapi.json");
    assert_eq!(answer.expect(200).header("Content-Type"), Some("application/json"));
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let yaml = shared().get("/openapi.yaml");
    assert_eq!(yaml.expect(200).header("Content-Type"), Some("application/yaml"));
    // `make contract` reads it and compares it with the JSON.
    assert!(yaml.text().contains("\n\"openapi\": \"3.1.0\"\n"));
}

#[test]
fn swagger_ui_is_in_the_binary_and_asks_no_other_host() {
    let server = shared();
    for path in ["/swagger", "/swagger/"] {
        let answer = server.get(path);
        assert_eq!(answer.expect(302).header("Location"), Some("/swagger/index.html"));
    }
    let page = server.get("/swagger/index.html").expect(200).text();
    let mut files = 0;
    for quoted in page.split('"').filter(|text| text.starts_with("./")) {
        let answer = server.get(&format!("/swagger/{}", quoted.trim_start_matches("./")));
        assert!(answer.header("Content-Security-Policy").is_some(), "{quoted}");
        assert!(!answer.expect(200).body.is_empty(), "{quoted}");
        files += 1;
    }
    assert!(files >= 3, "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
    let script = server.get("/swagger/swagger-initializer.js").expect(200).text();
    assert!(script.contains("../openapi.json"), "{script}");
    assert!(script.contains("\"validatorUrl\": \"none\""), "{script}");
    server.get("/swagger/nothing.js").refused(404, "no_route");
}
