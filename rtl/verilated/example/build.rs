//! Builds the counter and the test bed, each twice: for speed and with traces.

use verilated::build::Model;

fn main() {
    let counter = Model::new("counter")
        .source("sv/counter.sv")
        .clock("clk_i")
        .parameter("WIDTH", 12);
    counter.build_or_exit();
    counter
        .module_name("counter_traced")
        .ports_of("counter")
        .trace(true)
        .build_or_exit();

    let widths = Model::new("widths").source("sv/widths.sv").clock("clk_i");
    widths.build_or_exit();
    widths
        .module_name("widths_traced")
        .ports_of("widths")
        .trace(true)
        .build_or_exit();
}
