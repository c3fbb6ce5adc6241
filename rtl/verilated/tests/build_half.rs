//! What the build half says when something is wrong, and when it does nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use verilated::build::{Direction, Error, Model, Severity, Verilator, VerilatorError, Version};

const GOOD: &str = "\
module good #(parameter int N = 4) (input logic clk, input logic [N-1:0] d_i, output logic [N-1:0] q_o);
  if (N > 8) $error(\"N is %0d, more than 8\", N);
  always_ff @(posedge clk) q_o <= d_i;
endmodule
";

struct Bed {
    dir: TempDir,
}

impl Bed {
    fn new() -> Bed {
        Bed {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// One of the programs in `tests/fake`. A program that a test has just written may be busy, as another test's child
    /// process can still have it open.
    fn fake(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        if !path.exists() {
            symlink(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("tests/fake")
                    .join(name),
                &path,
            )
            .unwrap();
        }
        path
    }

    /// A model of module `top` in `text`, which is translated but not compiled.
    fn model(&self, top: &str, text: &str) -> Model {
        self.compiled(top, text).compiler(self.fake("c++"))
    }

    /// A model of module `top` in `text`.
    fn compiled(&self, top: &str, text: &str) -> Model {
        Model::new(top)
            .source(self.write(&format!("{top}.sv"), text))
            .out_dir(self.path("out"))
            .opt_level(0)
    }

    /// A program that answers as Verilator might.
    fn fake_verilator(&self, version: &str) -> PathBuf {
        let root = self.path("root");
        fs::create_dir_all(root.join("include")).unwrap();
        fs::write(root.join("include/verilated.h"), "").unwrap();
        self.write("version", version);
        self.fake("verilator")
    }
}

fn error(model: &Model) -> Error {
    model.build().expect_err("this must not build")
}

#[test]
fn ports_are_told_with_direction_and_width() {
    let bed = Bed::new();
    let built = bed.model("good", GOOD).parameter("N", 6).build().unwrap();
    let ports: Vec<_> = built
        .ports
        .iter()
        .map(|p| (p.name.as_str(), p.direction, p.width))
        .collect();
    assert_eq!(
        ports,
        [
            ("clk", Direction::Input, 1),
            ("d_i", Direction::Input, 6),
            ("q_o", Direction::Output, 6)
        ]
    );
}

#[test]
fn a_second_build_does_nothing_until_the_source_changes() {
    let bed = Bed::new();
    let model = bed.model("good", GOOD);
    assert!(model.build().unwrap().rebuilt);
    assert!(!model.build().unwrap().rebuilt, "nothing has changed");
    assert!(
        model.clone().parameter("N", 5).build().unwrap().rebuilt,
        "a parameter has changed"
    );
    bed.write("good.sv", &GOOD.replace("d_i;", "~d_i;"));
    assert!(model.build().unwrap().rebuilt, "the source has changed");
    assert!(!model.build().unwrap().rebuilt, "nothing has changed");
}

#[test]
fn an_included_file_that_changes_is_noticed() {
    let bed = Bed::new();
    bed.write("width.svh", "`define WIDTH 4\n");
    let text = "`include \"width.svh\"\nmodule good(input logic clk, output logic [`WIDTH-1:0] q_o);\n\
                always_ff @(posedge clk) q_o <= '1;\nendmodule\n";
    let model = bed.model("good", text).include_dir(bed.dir.path());
    model.build().unwrap();

    bed.write("width.svh", "`define WIDTH 9\n");
    let built = model.build().unwrap();

    assert!(built.rebuilt);
    assert_eq!(built.ports.last().unwrap().width, 9);
}

#[test]
fn a_lost_or_broken_result_is_built_again() {
    let bed = Bed::new();
    let model = bed.model("good", GOOD);
    let built = model.build().unwrap();
    fs::remove_file(&built.rust_file).unwrap();
    assert!(model.build().unwrap().rebuilt);
    assert!(built.rust_file.exists());
}

#[test]
fn wrong_verilog_is_an_error_at_its_file_and_line() {
    let bed = Bed::new();
    let text = "module good(input logic clk);\n  assign nothing = clk +;\nendmodule\n";
    let error = error(&bed.model("good", text));
    let place = format!("{}:2:", bed.path("good.sv").display());
    assert!(matches!(error, Error::Design(_)), "{error}");
    assert!(error.to_string().starts_with(&place), "{error}");
}

#[test]
fn a_failed_build_is_not_taken_for_a_good_one() {
    let bed = Bed::new();
    bed.model("good", GOOD).build().unwrap();
    error(&bed.model("good", "module good(input logic clk; endmodule"));
    assert!(bed.model("good", GOOD).build().unwrap().rebuilt);
}

#[test]
fn a_parameter_out_of_range_is_an_error_in_the_designs_own_words() {
    let bed = Bed::new();
    let error = error(&bed.model("good", GOOD).parameter("N", 9));
    assert!(
        error
            .to_string()
            .contains("good.sv:2:14: error[USERERROR]: N is 9, more than 8"),
        "{error}"
    );
}

#[test]
fn a_parameter_that_is_not_there_is_named() {
    let bed = Bed::new();
    let error = error(&bed.model("good", GOOD).parameter("DEPTH", 9));
    assert!(error.to_string().contains("DEPTH"), "{error}");
}

#[test]
fn parameters_of_each_type_arrive() {
    let bed = Bed::new();
    let text = "module good #(parameter int A = 0, parameter logic [31:0] B = 0, parameter longint C = 0,\n\
                parameter D = \"\", parameter bit E = 0)(input logic clk);\n\
                if (A != -5) $error(\"A\"); if (B != 32'hffff_fffe) $error(\"B\");\n\
                if (C != 64'h0123_4567_89ab_cdef) $error(\"C\"); if (D != \"four\") $error(\"D\");\n\
                if (!E) $error(\"E\");\nendmodule\n";
    let model = bed.model("good", text);
    model
        .parameter("A", -5)
        .parameter("B", 0xffff_fffeu32)
        .parameter("C", 0x0123_4567_89ab_cdefu64)
        .parameter("D", "four")
        .parameter("E", true)
        .build()
        .unwrap();
}

#[test]
fn a_missing_source_is_named() {
    let bed = Bed::new();
    let error = error(
        &Model::new("good")
            .source(bed.path("lost.sv"))
            .out_dir(bed.path("out")),
    );
    assert!(error.to_string().contains("lost.sv"), "{error}");
}

#[test]
fn a_warning_is_passed_on_also_when_nothing_is_built() {
    let bed = Bed::new();
    let text = "module good(input logic clk, input logic [7:0] d_i, output logic [3:0] q_o);\n\
                always_ff @(posedge clk) q_o <= d_i;\nendmodule\n";
    let model = bed.model("good", text);
    for rebuilt in [true, false] {
        let built = model.build().unwrap();
        assert_eq!(built.rebuilt, rebuilt);
        assert_eq!(built.warnings[0].severity, Severity::Warning);
        assert!(built.warnings[0].place.as_ref().unwrap().contains("good.sv:2:"));
    }
}

#[test]
fn a_warning_ends_the_build_where_warnings_are_denied() {
    let bed = Bed::new();
    let text = "module good(input logic clk, input logic [7:0] d_i, output logic [3:0] q_o);\n\
                always_ff @(posedge clk) q_o <= d_i;\nendmodule\n";
    let error = error(&bed.model("good", text).deny_warnings(true));
    assert!(error.to_string().contains("good.sv:2:"), "{error}");
}

#[test]
fn an_unknown_clock_is_an_error_that_lists_the_candidates() {
    let bed = Bed::new();
    let error = error(&bed.model("good", GOOD).clock("clock"));
    assert_eq!(
        error.to_string(),
        "design `good` has no 1-bit input `clock` for its clock; it has `clk`"
    );
}

#[test]
fn an_inout_port_is_refused_by_name() {
    let bed = Bed::new();
    let error = error(&bed.model("good", "module good(input logic clk, inout wire pad); endmodule"));
    assert!(
        error
            .to_string()
            .starts_with("design `good`: port `pad` is an inout"),
        "{error}"
    );
}

#[test]
fn an_unpacked_port_is_refused_by_name() {
    let bed = Bed::new();
    let text = "module good(input logic clk, input logic [7:0] lanes [2]); endmodule";
    let error = error(&bed.model("good", text));
    assert!(
        error
            .to_string()
            .starts_with("design `good`: port `lanes` has a type"),
        "{error}"
    );
}

#[test]
fn shared_ports_must_be_the_same() {
    let bed = Bed::new();
    let model = bed.model("good", GOOD);
    model.clone().module_name("narrow").build().unwrap();

    let other = error(
        &model
            .clone()
            .module_name("wide")
            .parameter("N", 5)
            .ports_of("narrow"),
    );
    assert_eq!(
        other.to_string(),
        "`wide` can't share the ports of `narrow`: only one of them has `input d_i 5`"
    );
    let missing = error(&model.module_name("wide").ports_of("nothing"));
    assert!(missing.to_string().contains("it is not built"), "{missing}");
}

#[test]
fn a_name_that_is_no_identifier_is_refused() {
    let bed = Bed::new();
    for name in ["Upper", "../up", "", "9lives", "a-b", "fn"] {
        let error = error(&bed.model("good", GOOD).module_name(name));
        assert!(matches!(error, Error::Name(_)), "{name}: {error}");
    }
}

#[test]
fn a_verilator_that_is_too_old_is_named_with_what_is_needed() {
    let bed = Bed::new();
    let path = bed.fake_verilator("Verilator 4.038 2020-07-11 rev v4.036-114-g0cd4a57ad");
    let error = error(&bed.model("good", GOOD).verilator(&path));
    assert_eq!(
        error.to_string(),
        format!(
            "{} is Verilator 4.038, but 5.006 or later is needed",
            path.display()
        )
    );
}

#[test]
fn five_point_zero_zero_four_is_too_old_and_five_point_zero_three_two_is_not() {
    let bed = Bed::new();
    let old = Verilator::at(bed.fake_verilator("Verilator 5.004 2022-12-14 rev v5.004"));
    assert!(matches!(old, Err(VerilatorError::TooOld { .. })));
    let new = Verilator::at(bed.fake_verilator("Verilator 5.032 2025-01-01 rev (Debian 5.032-1)")).unwrap();
    assert_eq!(new.version, Some(Version { major: 5, minor: 32 }));
    assert_eq!(new.warning(), None);
}

#[test]
fn a_verilator_that_does_not_tell_its_version_is_taken_with_a_warning() {
    let bed = Bed::new();
    for answer in ["", " rev vUNKNOWN-built20260516-4e853d8"] {
        let verilator = Verilator::at(bed.fake_verilator(answer)).unwrap();
        assert_eq!(verilator.version, None);
        assert!(verilator.warning().unwrap().contains("does not tell its version"));
    }
}

#[test]
fn a_verilator_that_is_not_there_or_fails_is_an_error_with_its_path() {
    let bed = Bed::new();
    let missing = error(&bed.model("good", GOOD).verilator("/no/such/verilator"));
    assert!(
        missing.to_string().starts_with("/no/such/verilator: "),
        "{missing}"
    );

    let broken = bed.fake("broken");
    let said = error(&bed.model("good", GOOD).verilator(&broken)).to_string();
    assert!(
        said.starts_with(broken.to_str().unwrap()) && said.contains("it broke"),
        "{said}"
    );
}

#[test]
fn a_verilator_without_its_run_time_is_an_error() {
    let bed = Bed::new();
    let path = bed.fake_verilator("Verilator 5.006 2023-01-22");
    fs::remove_dir_all(bed.path("root")).unwrap();
    let error = error(&bed.model("good", GOOD).verilator(path));
    assert!(
        error
            .to_string()
            .contains("no include/verilated.h in its VERILATOR_ROOT"),
        "{error}"
    );
}

#[test]
fn a_part_of_the_run_time_that_nobody_drives_is_named() {
    let bed = Bed::new();
    let text = "module good(input logic clk, output int q_o); import \"DPI-C\" function int f(); \
                always_ff @(posedge clk) q_o <= f(); endmodule";
    let error = error(&bed.model("good", text));
    assert!(
        matches!(&error, Error::Runtime { parts, .. } if parts == "verilated_dpi"),
        "{error}"
    );
}

#[test]
fn cxx_that_does_not_compile_is_an_error() {
    let bed = Bed::new();
    let text = "module good(input logic clk);\n`systemc_header\n#error no such luck\n`verilog\nendmodule\n";
    let error = error(&bed.compiled("good", text));
    assert!(matches!(error, Error::Cxx(_)), "{error}");
    assert!(error.to_string().contains("no such luck"), "{error}");
    assert!(!Path::new(&bed.path("out/verilated/good/manifest")).exists());
}
