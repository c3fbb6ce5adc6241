// MSI capability: 64-bit address, 32 vectors, mask and pending bits (PCI 3.0 6.8.1), at configuration offset 0x80.
module msi (
    input logic clk_i,
    input logic rst_ni,

    input  logic        select_i,
    input  logic        write_i,
    input  logic [4:2]  offset_i,
    input  logic [31:0] wmask_i,  // bits to be written
    input  logic [31:0] wdata_i,  // 0 where not to be written
    output logic [31:0] rdata_o,

    input logic [31:0] pending_i,

    output logic        enable_o,
    output logic [2:0]  allocated_o,  // log2 of the vectors allocated: 0 to 5
    output logic [31:0] mask_o,
    output logic [63:0] address_o,
    output logic [15:0] data_o
);

  // 64-bit address, per-vector masking, 32 vectors capable; next capability MSI-X at 0xa0
  localparam logic [31:0] Control         = 32'h018a_a005;
  localparam logic [2:0]  MaxAllocated    = 3'd5;

  localparam logic [2:0] RegControl     = 3'h0;
  localparam logic [2:0] RegAddressLow  = 3'h1;
  localparam logic [2:0] RegAddressHigh = 3'h2;
  localparam logic [2:0] RegData        = 3'h3;
  localparam logic [2:0] RegMask        = 3'h4;
  localparam logic [2:0] RegPending     = 3'h5;

  logic        enable_q;
  logic [2:0]  allocated_q;
  logic [31:2] address_low_q;
  logic [31:0] address_high_q, mask_q;
  logic [15:0] data_q;

  // The register as it reads: what a write with some bytes disabled keeps
  always_comb begin
    case (offset_i)
      RegControl:     rdata_o = Control | {9'd0, allocated_q, 3'd0, enable_q, 16'd0};
      RegAddressLow:  rdata_o = {address_low_q, 2'd0};
      RegAddressHigh: rdata_o = address_high_q;
      RegData:        rdata_o = {16'd0, data_q};
      RegMask:        rdata_o = mask_q;
      RegPending:     rdata_o = pending_i;
      default:        rdata_o = 32'd0;
    endcase
  end

  logic [31:0] wdata;
  assign wdata = ntb_pkg::merge(rdata_o, wdata_i, wmask_i);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      enable_q       <= 1'b0;
      allocated_q    <= 3'd0;
      address_low_q  <= '0;
      address_high_q <= 32'd0;
      data_q         <= 16'd0;
      mask_q         <= 32'd0;
    end else if (select_i && write_i) begin
      case (offset_i)
        RegControl:     {allocated_q, enable_q} <= {wdata[22:20], wdata[16]};
        RegAddressLow:  address_low_q <= wdata[31:2];
        RegAddressHigh: address_high_q <= wdata;
        RegData:        data_q <= wdata[15:0];
        RegMask:        mask_q <= wdata;
        default:        ;
      endcase
    end
  end

  assign enable_o    = enable_q;
  assign allocated_o = (allocated_q > MaxAllocated) ? MaxAllocated : allocated_q;
  assign mask_o      = mask_q;
  assign address_o   = {address_high_q, address_low_q, 2'd0};
  assign data_o      = data_q;

endmodule
