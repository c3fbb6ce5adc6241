//! Results, for programs and for people.

pub mod json;
pub mod matrix;
pub mod seeds;
pub mod text;
