//! FST traces, read back by another implementation of the format.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use fst_reader::{FstFilter, FstHierarchyEntry, FstReader, FstSignalValue};
use verilated::{Error, Model, Options};
use verilated_example::widths;
use verilated_example::widths_traced::{DESIGN, Inputs, Outputs};

/// Times in picoseconds and values of one signal.
fn changes(path: &Path, name: &str) -> Vec<(u64, String)> {
    let mut reader = FstReader::open(BufReader::new(File::open(path).unwrap())).unwrap();
    assert_eq!(reader.get_header().timescale_exponent, -12);
    let mut wanted = None;
    reader
        .read_hierarchy(|entry| {
            if let FstHierarchyEntry::Var {
                name: found, handle, ..
            } = entry
                && found.split(' ').next() == Some(name)
            {
                wanted.get_or_insert(handle);
            }
        })
        .unwrap();
    let mut found = Vec::new();
    let filter = FstFilter::filter_signals(vec![wanted.unwrap()]);
    reader
        .read_signals(&filter, |time, _, value| {
            if let FstSignalValue::String(bits) = value {
                found.push((time, String::from_utf8_lossy(bits).into_owned()));
            }
            Ok::<(), std::io::Error>(())
        })
        .unwrap();
    found
}

fn eight(value: u8) -> Inputs {
    Inputs {
        eight_i: value,
        ..Inputs::default()
    }
}

#[test]
fn edges_and_values_are_at_their_times_across_a_jump() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.fst");
    let mut model = Model::new(&DESIGN, Options::new().period_ps(4000)).unwrap();
    model.open_trace(&path).unwrap();
    let mut outputs = Outputs::default();

    model.cycle(&eight(1), &mut outputs).unwrap();
    model.cycle_at(1_000_000_000, &eight(2), &mut outputs).unwrap();
    model.cycle_at(1_000_000_001, &eight(3), &mut outputs).unwrap();
    model.close_trace().unwrap();

    let at = |time: u64, value: u8| (time, format!("{value:08b}"));
    let clock = |time: u64, value: &str| (time, value.to_owned());
    assert_eq!(
        changes(&path, "eight_o"),
        [
            at(2000, 0),
            at(4000, 1),
            at(1_000_000_000, 2),
            at(1_000_000_001, 3)
        ]
    );
    assert_eq!(
        changes(&path, "clk_i"),
        [
            clock(2000, "0"),
            clock(4000, "1"),
            clock(999_998_000, "0"),
            clock(1_000_000_000, "1")
        ]
    );
}

#[test]
fn the_cycle_that_ends_a_simulation_is_in_the_trace_of_a_dropped_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.fst");
    let mut model = Model::new(&DESIGN, Options::new()).unwrap();
    model.open_trace(&path).unwrap();
    let inputs = Inputs {
        type_i: 1,
        eight_i: 9,
        ..Inputs::default()
    };

    model.cycle(&inputs, &mut Outputs::default()).unwrap_err();
    drop(model);

    assert_eq!(
        changes(&path, "eight_o").last(),
        Some(&(1000, "00001001".to_owned()))
    );
}

#[test]
fn a_flushed_trace_can_be_followed_by_more_and_a_second_file() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("1.fst"), dir.path().join("2.fst"));
    let mut model = Model::new(&DESIGN, Options::new()).unwrap();
    let mut outputs = Outputs::default();

    model.open_trace(&first).unwrap();
    model.cycle(&eight(1), &mut outputs).unwrap();
    model.flush_trace().unwrap();
    model.cycle(&eight(2), &mut outputs).unwrap();
    model.close_trace().unwrap();
    model.open_trace(&second).unwrap();
    model.cycle(&eight(3), &mut outputs).unwrap();
    model.close_trace().unwrap();

    assert_eq!(
        changes(&first, "eight_o").last(),
        Some(&(2000, "00000010".to_owned()))
    );
    assert_eq!(
        changes(&second, "eight_o").last(),
        Some(&(3000, "00000011".to_owned()))
    );
}

#[test]
fn a_path_that_cant_be_written_is_named() {
    let mut model = Model::new(&DESIGN, Options::new()).unwrap();
    let error = model.open_trace("/no-such-folder/t.fst").unwrap_err();
    assert!(matches!(error, Error::TraceFile { .. }));
    assert!(
        error.to_string().contains("/no-such-folder/t.fst: No such file"),
        "{error}"
    );
    model.cycle(&Inputs::default(), &mut Outputs::default()).unwrap();
}

#[test]
fn a_design_built_without_trace_says_so() {
    let mut model = Model::new(&widths::DESIGN, Options::new()).unwrap();
    let error = model.open_trace("t.fst").unwrap_err();
    assert_eq!(error.to_string(), "design `widths` was built without trace");
    assert!(!Path::new("t.fst").exists());
}

#[test]
fn opening_twice_and_closing_none_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new(&DESIGN, Options::new()).unwrap();
    assert!(matches!(model.close_trace(), Err(Error::TraceState(_))));
    model.open_trace(dir.path().join("1.fst")).unwrap();
    assert!(matches!(
        model.open_trace(dir.path().join("2.fst")),
        Err(Error::TraceState(_))
    ));
}
