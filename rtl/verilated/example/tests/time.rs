//! Simulated time is picoseconds and may jump.

use verilated::{Error, Model, Options};
use verilated_example::widths::{DESIGN, Inputs, Outputs, Ports};

fn model(period_ps: u64) -> Model<Ports> {
    Model::new(&DESIGN, Options::new().period_ps(period_ps)).unwrap()
}

/// `$time` at the last rising edge.
fn verilog_time(model: &mut Model<Ports>) -> u64 {
    let mut outputs = Outputs::default();
    model.eval(&Inputs::default(), &mut outputs).unwrap();
    outputs.time_o
}

#[test]
fn a_cycle_takes_a_period() {
    let mut model = model(4000);
    for expected in [4000, 8000, 12000] {
        model.cycle(&Inputs::default(), &mut Outputs::default()).unwrap();
        assert_eq!((model.now_ps(), verilog_time(&mut model)), (expected, expected));
    }
}

#[test]
fn time_jumps_to_where_a_cycle_is_asked_for() {
    let mut model = model(4000);
    model
        .cycle_at(1_000_000_000_000, &Inputs::default(), &mut Outputs::default())
        .unwrap();
    assert_eq!(verilog_time(&mut model), 1_000_000_000_000);
}

#[test]
fn an_edge_that_is_not_later_is_refused_and_changes_nothing() {
    let mut model = model(4000);
    model.cycle(&Inputs::default(), &mut Outputs::default()).unwrap();
    for asked in [0, 4000] {
        let error = model
            .cycle_at(asked, &Inputs::default(), &mut Outputs::default())
            .unwrap_err();
        assert!(
            matches!(error, Error::TimeBackwards { now: 4000, asked: a } if a == asked),
            "{error}"
        );
    }
    model.cycle(&Inputs::default(), &mut Outputs::default()).unwrap();
    assert_eq!(model.now_ps(), 8000);
}

#[test]
fn time_at_its_end_is_an_error_not_an_overflow() {
    let mut model = model(4000);
    model
        .cycle_at(u64::MAX, &Inputs::default(), &mut Outputs::default())
        .unwrap();
    let error = model
        .cycle(&Inputs::default(), &mut Outputs::default())
        .unwrap_err();
    assert!(matches!(error, Error::TimeBackwards { .. }), "{error}");
}
