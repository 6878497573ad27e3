//! The committed OpenAPI document is the one that the routes make.

use std::path::Path;

#[test]
fn the_committed_document_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/api-client/openapi.json");
    let fresh = api::openapi_json();
    if std::fs::read_to_string(&path).unwrap_or_default() != fresh {
        std::fs::create_dir_all(path.parent().expect("the file is in a folder")).expect("the folder can be made");
        std::fs::write(&path, fresh).expect("the document can be written");
        panic!(
            "web/api-client/openapi.json was stale and is now rewritten: run `npm run generate` there and commit both"
        );
    }
}
