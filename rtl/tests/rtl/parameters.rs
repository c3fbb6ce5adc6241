//! Parameters and plusargs out of range.

use std::path::Path;
use std::process::Command;

use ntb_rtl::Ntb;

/// Verilator's messages about the design with a parameter.
fn elaborate(parameter: &str) -> (bool, String) {
    let verilator = std::env::var_os("VERILATOR").unwrap_or_else(|| "verilator".into());
    let output = Command::new(verilator)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sv"))
        .args(["--lint-only", "-Wall", "--top-module", "ntb_sim_top"])
        .args(["-F", "ntb.f", "ntb_sim_top.sv"])
        .arg(format!("-G{parameter}"))
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn parameters_in_range_are_accepted_without_a_warning() {
    for parameter in [
        "VECTORS=1",
        "VECTORS=33",
        "VECTORS=64",
        "TABLE_SIZE=1",
        "TABLE_SIZE=511",
        "TABLE_SIZE=512",
    ] {
        assert_eq!(elaborate(parameter), (true, String::new()), "{parameter}");
    }
}

#[test]
fn a_parameter_out_of_range_is_an_elaboration_error_that_names_it() {
    for (parameter, message) in [
        ("VECTORS=65", "parameter VECTORS is out of range: 1 to 64"),
        ("VECTORS=0", "parameter VECTORS is out of range: 1 to 64"),
        ("TABLE_SIZE=513", "parameter TABLE_SIZE is out of range: 1 to 512"),
        ("TABLE_SIZE=0", "parameter TABLE_SIZE is out of range: 1 to 512"),
        (
            "VENDOR_ID=65536",
            "parameter VENDOR_ID is out of range: 0 to 0xffff",
        ),
        (
            "DEVICE_ID=65536",
            "parameter DEVICE_ID is out of range: 0 to 0xffff",
        ),
        (
            "CLASS_CODE=16777216",
            "parameter CLASS_CODE is out of range: 0 to 0xffffff",
        ),
    ] {
        let (accepted, text) = elaborate(parameter);
        assert!(!accepted && text.contains(message), "{parameter}: {text}");
        assert_eq!(text.matches("%Warning").count(), 1, "{parameter}: {text}");
    }
}

#[test]
fn a_wrong_plusarg_is_an_error_that_names_it() {
    for (plusarg, message) in [
        (
            "+vendor_id=10000",
            "plusarg +vendor_id=10000 is out of range: 0 to ffff",
        ),
        (
            "+device_id=xyz",
            "plusarg +device_id=xyz is not a number to base 16",
        ),
        (
            "+class_code=1000000",
            "plusarg +class_code=1000000 is out of range: 0 to ffffff",
        ),
        (
            "+table_size=513",
            "plusarg +table_size=513 is out of range: 0 to 512",
        ),
        (
            "+table_size=1f",
            "plusarg +table_size=1f is not a number to base 10",
        ),
        ("+table_size=99999999999999999999999", "is out of range: 0 to 512"),
        (
            "+table_first_devfn=100",
            "plusarg +table_first_devfn=100 is out of range: 0 to ff",
        ),
        ("+rid_mode=4", "plusarg +rid_mode=4 is out of range: 0 to 3"),
        (
            "+rid_value=10000",
            "plusarg +rid_value=10000 is out of range: 0 to ffff",
        ),
        ("+rid_value=", "is not a number to base 16"),
    ] {
        let error = Ntb::with_plusargs([plusarg])
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains(message), "{plusarg}: {error}");
    }
}

#[test]
fn plusargs_at_their_limits_are_accepted() {
    let args = [
        "+vendor_id=ffff",
        "+class_code=FFFFFF",
        "+table_size=512",
        "+table_first_devfn=ff",
        "+rid_mode=3",
    ];
    assert!(Ntb::with_plusargs(args).is_ok());
}
