//! What ends a simulation arrives as a typed error, and what it displays as text.

use std::sync::{Arc, Mutex};

use verilated::{Ended, Error, Model, Options, Output};
use verilated_example::widths::{DESIGN, Inputs, Outputs, Ports};

fn model() -> Model<Ports> {
    Model::new(&DESIGN, Options::new()).unwrap()
}

fn cycle(model: &mut Model<Ports>, inputs: Inputs) -> Result<Outputs, Error> {
    let mut outputs = Outputs::default();
    model.cycle(&inputs, &mut outputs).map(|()| outputs)
}

fn ended_by(inputs: Inputs) -> Ended {
    match cycle(&mut model(), inputs) {
        Err(Error::Ended(ended)) => ended,
        other => panic!("{other:?}"),
    }
}

/// Line of the test bed's only line with `needle`.
fn line(needle: &str) -> u32 {
    let text = include_str!("../sv/widths.sv");
    let mut lines = (1..).zip(text.lines()).filter(|(_, l)| l.contains(needle));
    let (number, _) = lines.next().unwrap();
    assert_eq!(lines.next(), None);
    number
}

const FILE: &str = "sv/widths.sv";

#[test]
fn finish_says_where() {
    let ended = ended_by(Inputs {
        type_i: 1,
        ..Inputs::default()
    });
    assert_eq!(
        ended,
        Ended::Finish {
            file: FILE.into(),
            line: line("$finish")
        }
    );
}

#[test]
fn stop_says_where() {
    let ended = ended_by(Inputs {
        type_i: 2,
        ..Inputs::default()
    });
    assert_eq!(
        ended,
        Ended::Stop {
            file: FILE.into(),
            line: line("$stop")
        }
    );
}

#[test]
fn error_says_where_and_what() {
    let ended = ended_by(Inputs {
        type_i: 3,
        seven_i: 42,
        ..Inputs::default()
    });
    let Ended::Assertion {
        file,
        line: at,
        message,
    } = ended
    else {
        panic!("{ended:?}")
    };
    assert_eq!((file.as_str(), at), (FILE, line("$error")));
    assert!(message.ends_with("seven is 42"), "{message}");
}

#[test]
fn fatal_says_where_and_what() {
    // Verilator 5.006 does not tell $fatal from $error.
    let (Ended::Fatal {
        file,
        line: at,
        message,
    }
    | Ended::Assertion {
        file,
        line: at,
        message,
    }) = ended_by(Inputs {
        type_i: 4,
        eight_i: 200,
        ..Inputs::default()
    })
    else {
        panic!("another kind of end")
    };
    assert_eq!((file.as_str(), at), (FILE, line("$fatal")));
    assert!(message.ends_with("eight is 200"), "{message}");
}

#[test]
fn a_failed_assertion_says_its_name() {
    let ended = ended_by(Inputs {
        type_i: 7,
        ..Inputs::default()
    });
    let Ended::Assertion {
        line: at, message, ..
    } = ended
    else {
        panic!("{ended:?}")
    };
    assert_eq!(at, line("never_seven"));
    assert!(message.contains("widths.never_seven"), "{message}");
}

#[test]
fn logic_that_does_not_settle_is_fatal_and_the_model_can_be_dropped() {
    let ended = ended_by(Inputs {
        oscillate_i: true,
        ..Inputs::default()
    });
    let Ended::Fatal { message, .. } = ended else {
        panic!("{ended:?}")
    };
    assert!(message.contains("did not converge"), "{message}");
}

#[test]
fn an_ended_model_stays_ended() {
    let mut model = model();
    let first = cycle(
        &mut model,
        Inputs {
            type_i: 1,
            ..Inputs::default()
        },
    )
    .unwrap_err()
    .to_string();
    let again = cycle(&mut model, Inputs::default()).unwrap_err().to_string();
    assert_eq!(first, again);
    assert_eq!(model.now_ps(), 1000, "no time has passed");
}

#[test]
fn a_verilator_argument_that_is_unknown_is_an_error_not_an_exit() {
    let error = Model::new(&DESIGN, Options::new().plusarg("+verilator+nonsense"))
        .err()
        .unwrap();
    assert!(error.to_string().contains("+verilator+nonsense"), "{error}");
}

#[test]
fn a_plusarg_without_a_plus_is_refused_by_name() {
    let error = Model::new(&DESIGN, Options::new().plusarg("limit=3"))
        .err()
        .unwrap();
    assert_eq!(error.to_string(), "plusarg \"limit=3\" does not start with '+'");
}

#[test]
fn displayed_text_is_kept_until_taken() {
    let mut model = model();
    cycle(
        &mut model,
        Inputs {
            type_i: 5,
            ..Inputs::default()
        },
    )
    .unwrap();
    assert_eq!(model.take_output(), "hello\n");
    assert_eq!(model.take_output(), "");
}

#[test]
fn displayed_text_reaches_a_function() {
    let said = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&said);
    let output = Output::Call(Box::new(move |text| sink.lock().unwrap().push_str(text)));
    let mut model = Model::new(&DESIGN, Options::new().output(output)).unwrap();

    cycle(
        &mut model,
        Inputs {
            type_i: 6,
            ..Inputs::default()
        },
    )
    .unwrap();
    drop(model);

    let said = said.lock().unwrap();
    assert!(said.contains("mind the gap"), "{said}");
    assert!(said.ends_with("good bye\n"), "final blocks run on drop: {said}");
}

#[test]
fn finish_runs_final_blocks_once() {
    let mut model = model();
    cycle(&mut model, Inputs::default()).unwrap();
    model.finish().unwrap();
    model.finish().unwrap();
    assert_eq!(model.take_output(), "good bye\n");
    assert!(matches!(
        cycle(&mut model, Inputs::default()),
        Err(Error::Ended(Ended::Finished))
    ));
}
