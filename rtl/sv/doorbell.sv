// Doorbell at BAR0 0x100: bit i rings vector i.
//
//   0x100/0x104 set (write 1 to set; reads status)   0x108/0x10c status (write 1 to clear)   0x110/0x114 mask
//
// Each change of a bit of status & ~mask from 0 to 1 requests an interrupt.
module doorbell #(
    parameter int unsigned VECTORS = 64
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic        select_i,
    input  logic        write_i,
    input  logic [7:2]  offset_i,
    input  logic [31:0] wmask_i,  // bits to be written
    input  logic [31:0] wdata_i,  // 0 where not to be written
    output logic [31:0] rdata_o,

    output logic [63:0] request_o
);

  localparam logic [63:0] Present = {64{1'b1}} >> (64 - VECTORS);

  localparam logic [4:0] RegSet    = 5'd0;
  localparam logic [4:0] RegStatus = 5'd1;
  localparam logic [4:0] RegMask   = 5'd2;

  logic [63:0] status_q, status_d, mask_q, mask_d;

  logic [4:0]  register;
  logic        upper;
  assign register = offset_i[7:3];
  assign upper    = offset_i[2];

  logic [31:0] status_half, mask_half, mask_wdata;
  logic [63:0] ones;  // written as 1, in their half
  assign status_half = upper ? status_q[63:32] : status_q[31:0];
  assign mask_half   = upper ? mask_q[63:32] : mask_q[31:0];
  assign mask_wdata  = ntb_pkg::merge(mask_half, wdata_i, wmask_i);
  assign ones        = upper ? {wdata_i, 32'd0} : {32'd0, wdata_i};

  always_comb begin
    status_d  = status_q;
    mask_d    = mask_q;
    request_o = 64'd0;
    if (select_i && write_i) begin
      case (register)
        RegSet:    status_d = status_q | (ones & Present);
        RegStatus: status_d = status_q & ~ones;
        RegMask:   mask_d = Present & (upper ? {mask_wdata, mask_q[31:0]} : {mask_q[63:32], mask_wdata});
        default:   ;
      endcase
      request_o = (status_d & ~mask_d) & ~(status_q & ~mask_q);
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      status_q <= 64'd0;
      mask_q   <= 64'd0;
    end else begin
      status_q <= status_d;
      mask_q   <= mask_d;
    end
  end

  always_comb begin
    rdata_o = 32'd0;
    if (select_i) begin
      case (register)
        RegSet, RegStatus: rdata_o = status_half;
        RegMask:           rdata_o = mask_half;
        default:           rdata_o = 32'd0;
      endcase
    end
  end

endmodule
