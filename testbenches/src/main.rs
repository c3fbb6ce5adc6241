//! The `ntb-cosim` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    testbenches::cli::main()
}
