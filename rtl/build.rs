//! Verilates `sv/` twice: for speed, and with FST traces.

use verilated::build::Model;

fn main() {
    let model = Model::new("ntb_sim_top")
        .verilator_arg("-F")
        .verilator_arg("sv/ntb.f")
        .source("sv/ntb_sim_top.sv")
        .clock("clk_i");
    model.clone().module_name("ntb").build_or_exit();
    model
        .module_name("ntb_trace")
        .ports_of("ntb")
        .trace(true)
        .build_or_exit();
}
