//! Counts to the limit in a plusarg (`+limit=5`); a trace goes to the file that another argument names.

use verilated::{Ended, Error, Model, Options};

verilated::include_model!("counter");
verilated::include_model!("counter_traced");

fn main() -> Result<(), Error> {
    let (plusargs, files): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with('+'));
    let design = if files.is_empty() {
        &counter::DESIGN
    } else {
        &counter_traced::DESIGN
    };
    let mut model = Model::new(design, Options::new().plusargs(plusargs).period_ps(4000))?;
    for file in files {
        model.open_trace(file)?;
    }

    let mut outputs = counter::Outputs::default();
    model.cycle(
        &counter::Inputs {
            rst_ni: false,
            valid_i: false,
        },
        &mut outputs,
    )?;
    let mut counted = 0;
    loop {
        let result = model.cycle(
            &counter::Inputs {
                rst_ni: true,
                valid_i: true,
            },
            &mut outputs,
        );
        counted += u32::from(outputs.ready_o);
        match result {
            Ok(()) => {}
            Err(Error::Ended(Ended::Finish { .. })) => break,
            Err(error) => return Err(error),
        }
    }
    print!("{}", model.take_output());
    println!("counted {counted} in {} ps", model.now_ps());
    Ok(())
}
