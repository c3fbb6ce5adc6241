// Sixteen scratchpad registers at BAR0 0x200 to 0x23c.
module scratchpads (
    input logic clk_i,
    input logic rst_ni,

    input  logic        select_i,
    input  logic        write_i,
    input  logic [7:2]  offset_i,
    input  logic [31:0] wmask_i,  // bits to be written
    input  logic [31:0] wdata_i,  // 0 where not to be written
    output logic [31:0] rdata_o
);

  logic [31:0] value_q[16];

  logic hit;
  assign hit = select_i && (offset_i[7:6] == 2'd0);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      for (int i = 0; i < 16; i++) value_q[i] <= 32'd0;
    end else if (hit && write_i) begin
      value_q[offset_i[5:2]] <= ntb_pkg::merge(value_q[offset_i[5:2]], wdata_i, wmask_i);
    end
  end

  assign rdata_o = hit ? value_q[offset_i[5:2]] : 32'd0;

endmodule
