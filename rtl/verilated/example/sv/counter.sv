// Counts valid cycles up to a limit that the plusarg +limit gives.
module counter #(
  parameter int WIDTH = 8
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             valid_i,
  output logic             ready_o,
  output logic [WIDTH-1:0] count_o
);
  if (WIDTH < 2 || WIDTH > 32) $fatal(1, "WIDTH is %0d, not in 2..32", WIDTH);

  int limit;
  initial if (!$value$plusargs("limit=%d", limit)) limit = 10;

  assign ready_o = int'(count_o) < limit;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_o <= '0;
    end else if (valid_i && ready_o) begin
      count_o <= count_o + 1'b1;
      if (int'(count_o) + 1 == limit) begin
        $display("limit of %0d reached", limit);
        $finish;
      end
    end
  end

  no_valid_in_reset: assert property (@(posedge clk_i) !(valid_i && !rst_ni)) else $error("valid in reset");
endmodule
