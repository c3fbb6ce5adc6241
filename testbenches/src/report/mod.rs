//! Results, for programs and for people.

pub mod explain;
pub mod finding_id;
pub mod json;
pub mod matrix;
pub mod seeds;
pub mod text;
