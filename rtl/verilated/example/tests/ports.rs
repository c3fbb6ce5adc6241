//! Values arrive unchanged through ports of every width.

use verilated::{Model, Options};
use verilated_example::widths::{DESIGN, Inputs, Outputs};

fn clocked(inputs: &Inputs) -> Outputs {
    let mut model = Model::new(&DESIGN, Options::new()).unwrap();
    let mut outputs = Outputs::default();
    model.cycle(inputs, &mut outputs).unwrap();
    model.cycle(inputs, &mut outputs).unwrap();
    outputs
}

macro_rules! width {
    ($name:ident, $input:ident, $output:ident, $value:expr) => {
        #[test]
        fn $name() {
            let inputs = Inputs {
                $input: $value,
                ..Inputs::default()
            };
            let outputs = clocked(&inputs);
            let expected = Outputs {
                $output: $value,
                comb_o: outputs.comb_o,
                time_o: outputs.time_o,
                ..Outputs::default()
            };
            assert_eq!(outputs, expected);
        }
    };
}

width!(one_bit_is_a_bool, bit_i, bit_o, true);
width!(seven_bits_are_a_u8, seven_i, seven_o, 0x55);
width!(eight_bits_are_a_u8, eight_i, eight_o, 0xa5);
width!(sixteen_bits_are_a_u16, sixteen_i, sixteen_o, 0xbeef);
width!(thirty_two_bits_are_a_u32, thirty_two_i, thirty_two_o, 0xdead_beef);
width!(
    thirty_three_bits_are_a_u64,
    thirty_three_i,
    thirty_three_o,
    0x1_dead_beef
);
width!(
    sixty_four_bits_are_a_u64,
    sixty_four_i,
    sixty_four_o,
    0x0123_4567_89ab_cdef
);
width!(
    sixty_five_bits_are_three_words,
    sixty_five_i,
    sixty_five_o,
    [0x89ab_cdef, 0x0123_4567, 1]
);
width!(
    two_hundred_fifty_six_bits_are_eight_words,
    wide_i,
    wide_o,
    [1, 2, 3, 4, 5, 6, 7, 0x8000_0000]
);
width!(
    more_words_than_arrays_have_defaults_for,
    very_wide_i,
    very_wide_o,
    std::array::from_fn(|i| i as u32 + 1)
);

#[test]
fn bits_above_a_ports_width_are_ignored() {
    let inputs = Inputs {
        seven_i: 0xff,
        thirty_three_i: u64::MAX,
        sixty_five_i: [u32::MAX; 3],
        ..Inputs::default()
    };
    let outputs = clocked(&inputs);
    assert_eq!(outputs.seven_o, 0x7f);
    assert_eq!(outputs.thirty_three_o, 0x1_ffff_ffff);
    assert_eq!(outputs.sixty_five_o, [u32::MAX, u32::MAX, 1]);
}

#[test]
fn a_cycle_shows_outputs_as_of_just_before_the_edge() {
    let mut model = Model::new(&DESIGN, Options::new()).unwrap();
    let mut outputs = Outputs::default();
    let inputs = Inputs {
        bit_i: true,
        ..Inputs::default()
    };

    model.cycle(&inputs, &mut outputs).unwrap();

    assert!(!outputs.comb_o, "combinational logic has seen the new input");
    assert!(!outputs.bit_o, "the register has not yet");
    model.cycle(&Inputs::default(), &mut outputs).unwrap();
    assert!(
        outputs.bit_o,
        "the register has taken the input of the cycle before"
    );
}

#[test]
fn eval_settles_combinational_logic_without_a_clock_edge() {
    let mut model = Model::new(&DESIGN, Options::new()).unwrap();
    let mut outputs = Outputs::default();
    let inputs = Inputs {
        bit_i: true,
        ..Inputs::default()
    };

    model.cycle(&inputs, &mut outputs).unwrap();
    model.eval(&Inputs::default(), &mut outputs).unwrap();

    assert!(outputs.comb_o);
    assert!(outputs.bit_o);
    assert_eq!(model.now_ps(), 1000);
}

#[test]
fn eval_has_an_asynchronous_reset_take_effect() {
    let mut model = Model::new(&DESIGN, Options::new()).unwrap();
    let mut outputs = Outputs::default();
    let running = Inputs {
        rst_ni: true,
        ..Inputs::default()
    };
    model.cycle(&running, &mut outputs).unwrap();
    model.eval(&running, &mut outputs).unwrap();
    assert!(outputs.async_o);

    model.eval(&Inputs::default(), &mut outputs).unwrap();

    assert!(!outputs.async_o);
}
