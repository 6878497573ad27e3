//! Makes sure that there is a console to embed: without a build of it, a page that says how to get one.

use std::path::Path;
use std::{env, fs};

const PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Landfall</title>\
<h1>Landfall</h1><p>The console is not built yet. Run <code>make console</code> and start again; \
the API under <code>/api/v1</code> works without it.</p></html>\n";

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo names the folder of the crate");
    let dist = Path::new(&root).join("../../web/console/dist");
    let index = dist.join("index.html");
    if !index.exists() {
        fs::create_dir_all(&dist).expect("web/console/dist can be made");
        fs::write(&index, PAGE).expect("web/console/dist/index.html can be written");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", dist.display());
}
