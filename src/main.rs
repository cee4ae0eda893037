//! The command line's entry: parses, runs, prints what went wrong. No decisions.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use longtake::cli::{self, Cli, exit};

/// Small rows and futures come and go on a dozen threads at once, where glibc's allocator took a fifth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody to tell when stderr is closed; so below.
            let _ = error.print();
            return exit::of_usage(&error);
        }
    };
    match cli::run(cli) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "longtake: {error:#}");
            exit::of_error(&error)
        }
    }
}
