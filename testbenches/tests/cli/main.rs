//! The `ntb-cosim` command as its users have it: a program with arguments, output, an exit status, and processes.

mod bad_input;
mod command;
mod death;
mod determinism;
mod explain;
mod help;
mod links;
mod many;
mod output;
mod perfetto;
mod results;
mod traces;
