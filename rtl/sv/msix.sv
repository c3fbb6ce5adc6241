// MSI-X: the capability (configuration offset 0xa0), the table and the pending bits (BAR0 0x8000 and 0x9000)
// (PCI 3.0 6.8.2).
//
// Address and data of the table are undefined after reset; all vectors are masked then.
module msix #(
    parameter int unsigned VECTORS = 64
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic        capability_select_i,
    input  logic        table_select_i,
    input  logic        pba_select_i,
    input  logic        write_i,
    input  logic [11:2] offset_i,  // in the capability, in the table's or the PBA's page
    input  logic [31:0] wmask_i,  // bits to be written
    input  logic [31:0] wdata_i,  // 0 where not to be written
    output logic [31:0] capability_rdata_o,
    output logic [31:0] bar0_rdata_o,

    input logic [63:0] pending_i,

    output logic        enable_o,
    output logic        function_mask_o,
    output logic [63:0] mask_o,  // 1 where there is no vector

    // The message of a vector, in the same cycle
    input  logic [5:0]  vector_i,
    output logic [63:0] address_o,
    output logic [31:0] data_o
);

  localparam int unsigned VectorBits = ntb_pkg::index_bits(VECTORS);
  localparam logic [5:0]  LastVector = 6'(VECTORS - 1);
  localparam logic [31:0] Control    = {10'd0, LastVector, 16'h0011};  // last capability

  // Capability

  logic enable_q, function_mask_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      enable_q        <= 1'b0;
      function_mask_q <= 1'b0;
    end else if (capability_select_i && write_i && (offset_i[4:2] == 3'd0) && wmask_i[24]) begin
      enable_q        <= wdata_i[31];
      function_mask_q <= wdata_i[30];
    end
  end

  always_comb begin
    case (offset_i[4:2])
      3'd0:    capability_rdata_o = Control | {enable_q, function_mask_q, 30'd0};
      3'd1:    capability_rdata_o = ntb_pkg::MsixTableOffset;
      3'd2:    capability_rdata_o = ntb_pkg::MsixPbaOffset;
      default: capability_rdata_o = 32'd0;
    endcase
  end

  // Table

  logic [31:2] address_low_q [VECTORS];
  logic [31:0] address_high_q[VECTORS];
  logic [31:0] data_q        [VECTORS];
  logic [63:0] mask_q;

  logic [5:0]            entry;
  logic [VectorBits-1:0] entry_index;
  logic                  entry_hit, entry_write;
  assign entry       = offset_i[9:4];
  assign entry_index = entry[VectorBits-1:0];
  assign entry_hit   = table_select_i && (offset_i[11:10] == 2'd0) && ({1'b0, entry} < 7'(VECTORS));
  assign entry_write = entry_hit && write_i;

  logic [31:0] entry_rdata, entry_wdata;
  always_comb begin
    entry_rdata = 32'd0;
    if (entry_hit) begin
      case (offset_i[3:2])
        2'd0:    entry_rdata = {address_low_q[entry_index], 2'd0};
        2'd1:    entry_rdata = address_high_q[entry_index];
        2'd2:    entry_rdata = data_q[entry_index];
        default: entry_rdata = {31'd0, mask_q[entry]};
      endcase
    end
  end
  assign entry_wdata = ntb_pkg::merge(entry_rdata, wdata_i, wmask_i);

  always_ff @(posedge clk_i) begin
    if (entry_write && (offset_i[3:2] == 2'd0)) address_low_q[entry_index] <= entry_wdata[31:2];
    if (entry_write && (offset_i[3:2] == 2'd1)) address_high_q[entry_index] <= entry_wdata;
    if (entry_write && (offset_i[3:2] == 2'd2)) data_q[entry_index] <= entry_wdata;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) mask_q <= '1;
    else if (entry_write && (offset_i[3:2] == 2'd3)) mask_q[entry] <= entry_wdata[0];
  end

  always_comb begin
    bar0_rdata_o = 32'd0;
    if (entry_hit) bar0_rdata_o = entry_rdata;
    else if (pba_select_i && (offset_i[11:3] == 9'd0)) bar0_rdata_o = offset_i[2] ? pending_i[63:32] : pending_i[31:0];
  end

  logic [VectorBits-1:0] vector_index;
  assign vector_index    = vector_i[VectorBits-1:0];
  assign address_o       = {address_high_q[vector_index], address_low_q[vector_index], 2'd0};
  assign data_o          = data_q[vector_index];
  assign enable_o        = enable_q;
  assign function_mask_o = function_mask_q;
  assign mask_o          = mask_q;

  logic unused_bits;
  assign unused_bits = ^{entry, vector_i};

endmodule
