//! The `landfall` binary. `main` is thin: it reads the command line and turns an error into one line on
//! standard error and an exit code.
//!
//! Exit codes: 0 done; 1 it failed; 2 the command line, the configuration or the input was not acceptable.

use std::process::ExitCode;

use clap::Parser;
use landfall::cli;

/// Many threads and short-lived buffers: the system's allocator keeps a heap per thread and gives little of it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("landfall: the asynchronous runtime does not start: {error}");
            return ExitCode::from(1);
        }
    };
    match runtime.block_on(cli::run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("landfall: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
