//! Verilates `sv/` twice: for speed, and with FST traces.

use verilated::build::Model;

fn main() {
    let model = Model::new("ntb_sim_top")
        .sources(["sv/pcie_pkg.sv", "sv/ntb_pkg.sv", "sv/ntb_sim_top.sv"])
        .include_dir("sv")
        .clock("clk_i");
    model.clone().module_name("ntb").build_or_exit();
    model
        .module_name("ntb_trace")
        .ports_of("ntb")
        .trace(true)
        .build_or_exit();
}
