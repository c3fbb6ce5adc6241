//! The fuzz target: under libFuzzer if built by `make fuzz`, otherwise a program that replays the files it is given.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: host_model_fuzz::Input| host_model_fuzz::run(&input));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        let input =
            host_model_fuzz::Input::from_bytes(&std::fs::read(path)?).map_err(std::io::Error::other)?;
        println!("{input:#x?}");
        host_model_fuzz::run(&input);
    }
    Ok(())
}
