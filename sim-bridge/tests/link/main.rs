//! The link: between threads and processes, in time, and when things go wrong.

mod corruption;
mod files;
mod processes;
mod scripts;
mod threads;
mod time;
