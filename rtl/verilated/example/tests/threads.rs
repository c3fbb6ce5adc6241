//! Models move between threads, and several run at the same time without seeing each other.

use std::thread;

use verilated::{Ended, Error, Model, Options};
use verilated_example::widths::{DESIGN, Inputs, Outputs, Ports};
use verilated_example::widths_traced;

fn run(model: &mut Model<Ports>, cycles: u64, inputs: &Inputs) -> Outputs {
    let mut outputs = Outputs::default();
    for _ in 0..cycles {
        model.cycle(inputs, &mut outputs).unwrap();
    }
    outputs
}

#[test]
fn a_model_goes_on_where_it_was_on_another_thread() {
    let mut model = Model::new(&DESIGN, Options::new().period_ps(10)).unwrap();
    run(
        &mut model,
        5,
        &Inputs {
            eight_i: 7,
            ..Inputs::default()
        },
    );

    let mut model = thread::spawn(move || {
        assert_eq!(run(&mut model, 1, &Inputs::default()).eight_o, 7);
        model
    })
    .join()
    .unwrap();

    let outputs = run(&mut model, 1, &Inputs::default());
    assert_eq!(
        outputs.time_o, 60,
        "$time of the edge on the other thread, from this model's context"
    );
    drop(thread::spawn(move || drop(model)).join());
}

#[test]
fn two_models_on_one_thread_have_their_own_time_and_text() {
    let mut a = Model::new(&DESIGN, Options::new().period_ps(10)).unwrap();
    let mut b = Model::new(&widths_traced::DESIGN, Options::new().period_ps(1000)).unwrap();
    let hello = Inputs {
        type_i: 5,
        ..Inputs::default()
    };
    for _ in 0..3 {
        run(&mut a, 1, &hello);
        run(&mut b, 1, &Inputs::default());
    }
    assert_eq!(run(&mut a, 1, &Inputs::default()).time_o, 30);
    assert_eq!(run(&mut b, 1, &Inputs::default()).time_o, 3000);
    assert_eq!(a.take_output(), "hello\n".repeat(3));
    assert_eq!(b.take_output(), "");
}

#[test]
fn an_end_is_told_to_the_model_on_whose_thread_it_happens() {
    let workers: Vec<_> = (0..4u8)
        .map(|id| {
            thread::spawn(move || {
                let mut model = Model::new(&DESIGN, Options::new()).unwrap();
                let mut outputs = Outputs::default();
                for n in 0..20_000u32 {
                    let inputs = Inputs {
                        thirty_two_i: n,
                        ..Inputs::default()
                    };
                    model.cycle(&inputs, &mut outputs).unwrap();
                    assert_eq!(outputs.thirty_two_o, n.saturating_sub(1));
                }
                let error = model.cycle(
                    &Inputs {
                        type_i: 3,
                        seven_i: id,
                        ..Inputs::default()
                    },
                    &mut outputs,
                );
                match error {
                    Err(Error::Ended(Ended::Assertion { message, .. })) => message,
                    other => panic!("{other:?}"),
                }
            })
        })
        .collect();
    for (id, worker) in workers.into_iter().enumerate() {
        let message = worker.join().unwrap();
        assert!(message.ends_with(&format!("seven is {id}")), "{message}");
    }
}
