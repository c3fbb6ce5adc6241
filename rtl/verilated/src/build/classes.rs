//! `V*_classes.mk`, Verilator's list of what it generated. Also compiled into this crate's own build script.

/// Names without `.cpp`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// So much code that it is in files for several compilers at a time.
    pub parallel: bool,
    /// Generated code that runs in each evaluation.
    pub fast: Vec<String>,
    /// Generated code that runs once.
    pub slow: Vec<String>,
    /// Parts of the run-time library.
    pub global: Vec<String>,
}

impl Classes {
    /// Reads `VM_*_FAST += \` and `VM_*_SLOW += \` with the names on the lines that follow.
    pub fn parse(text: &str) -> Classes {
        let mut classes = Classes::default();
        let mut into = None;
        for line in text.lines() {
            let words = line.trim_end_matches('\\').trim();
            if words == "VM_PARALLEL_BUILDS = 1" {
                classes.parallel = true;
            } else if let Some(name) = words.strip_suffix("+=") {
                into = match name.trim() {
                    "VM_GLOBAL_FAST" | "VM_GLOBAL_SLOW" => Some(&mut classes.global),
                    "VM_CLASSES_FAST" | "VM_SUPPORT_FAST" => Some(&mut classes.fast),
                    "VM_CLASSES_SLOW" | "VM_SUPPORT_SLOW" => Some(&mut classes.slow),
                    _ => None,
                };
            } else if words.is_empty() {
                into = None;
            } else if let Some(names) = &mut into {
                names.extend(words.split_whitespace().map(str::to_owned));
            }
        }
        classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_told_apart_by_how_often_they_run() {
        // From Verilator 5.006.
        let text = "VM_PARALLEL_BUILDS = 0\n\n### Object file lists...\nVM_CLASSES_FAST += \\\n\tVx \\\n\tVx___024root__0 \\\n\n\
                    # Generated\nVM_CLASSES_SLOW += \\\n\tVx___024root__Slow \\\n\nVM_SUPPORT_FAST += \\\n\tVx__Trace__0 \\\n\
                    \nVM_SUPPORT_SLOW += \\\n\tVx__Syms \\\n\nVM_GLOBAL_FAST += \\\n\tverilated \\\n\tverilated_threads \\\n\
                    \nVM_GLOBAL_SLOW += \\\n\n";

        let classes = Classes::parse(text);

        assert_eq!(classes.fast, ["Vx", "Vx___024root__0", "Vx__Trace__0"]);
        assert_eq!(classes.slow, ["Vx___024root__Slow", "Vx__Syms"]);
        assert_eq!(classes.global, ["verilated", "verilated_threads"]);
        assert!(!classes.parallel);
    }

    #[test]
    fn a_big_model_is_known_to_be_split() {
        assert!(Classes::parse("VM_COVERAGE = 0\nVM_PARALLEL_BUILDS = 1\n").parallel);
    }
}
