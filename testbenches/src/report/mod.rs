//! Results, for programs and for people.

pub mod json;
pub mod text;
