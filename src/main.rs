//! The command line's entry: parses, runs, prints what went wrong. No decisions.

use std::{io::Write, process::ExitCode};

use clap::Parser;

fn main() -> ExitCode {
    match longtake::cli::run(longtake::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Nobody to tell when stderr is closed.
            let _ = writeln!(std::io::stderr(), "longtake: {error:#}");
            ExitCode::FAILURE
        }
    }
}
