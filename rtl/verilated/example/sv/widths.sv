// A register behind a port of each width, and each way to end a simulation.
module widths (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         bit_i,
  input  logic [6:0]   seven_i,
  input  logic [7:0]   eight_i,
  input  logic [15:0]  sixteen_i,
  input  logic [31:0]  thirty_two_i,
  input  logic [32:0]  thirty_three_i,
  input  logic [63:0]  sixty_four_i,
  input  logic [64:0]  sixty_five_i,
  input  logic [255:0] wide_i,
  input  logic [1055:0] very_wide_i,
  input  logic [2:0]   type_i,
  input  logic         oscillate_i,
  output logic         bit_o,
  output logic [6:0]   seven_o,
  output logic [7:0]   eight_o,
  output logic [15:0]  sixteen_o,
  output logic [31:0]  thirty_two_o,
  output logic [32:0]  thirty_three_o,
  output logic [63:0]  sixty_four_o,
  output logic [64:0]  sixty_five_o,
  output logic [255:0] wide_o,
  output logic [1055:0] very_wide_o,
  output logic [63:0]  time_o,
  output logic         comb_o,
  output logic         loop_o,
  output logic         async_o
);
  always_ff @(posedge clk_i) begin
    bit_o          <= bit_i;
    seven_o        <= seven_i;
    eight_o        <= eight_i;
    sixteen_o      <= sixteen_i;
    thirty_two_o   <= thirty_two_i;
    thirty_three_o <= thirty_three_i;
    sixty_four_o   <= sixty_four_i;
    sixty_five_o   <= sixty_five_i;
    wide_o         <= wide_i;
    very_wide_o    <= very_wide_i;
    time_o         <= $time;
  end

  assign comb_o = ~bit_i;

  // Does not settle while asked to oscillate.
  /* verilator lint_off UNOPTFLAT */
  logic loop;
  /* verilator lint_on UNOPTFLAT */
  assign loop = oscillate_i & ~loop;
  assign loop_o = loop;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) async_o <= 1'b0;
    else async_o <= 1'b1;
  end

  always_ff @(posedge clk_i) begin
    case (type_i)
      3'd1: $finish;
      3'd2: $stop;
      3'd3: $error("seven is %0d", seven_i);
      3'd4: $fatal(1, "eight is %0d", eight_i);
      3'd5: $display("hello");
      3'd6: $warning("mind the gap");
      default: ;
    endcase
    never_seven: assert (type_i != 3'd7);
  end

  final $display("good bye");
endmodule
