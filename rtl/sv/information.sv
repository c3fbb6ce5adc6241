// Identification and counters at BAR0 0x000, all read-only.
//
//   0x00 "NTB1"   0x04 version   0x08 [7:0] MSI-X vectors, [15:8] MSI vectors, [31:16] requester-ID table entries
//   0x0c [0] idle, apart from this very read
//   0x10 malformed TLPs   0x14 requests refused: UR, CA, or posted and dropped   0x18 memory writes sent
//   0x1c unexpected completions   0x20 poisoned TLPs dropped
module information #(
    parameter int unsigned VECTORS = 64
) (
    input logic clk_i,
    input logic rst_ni,

    input ntb_pkg::straps_t straps_i,

    input  logic        select_i,
    input  logic [7:2]  offset_i,
    output logic [31:0] rdata_o,

    input logic                     idle_i,
    input logic                     malformed_i,
    input ntb_pkg::request_errors_t errors_i,
    input logic                     write_sent_i
);

  logic [31:0] malformed_q, refused_q, sent_q, unexpected_q, poisoned_q;

  logic refused;
  assign refused = errors_i.unsupported_posted || errors_i.unsupported_non_posted || errors_i.completer_abort;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      malformed_q  <= 32'd0;
      refused_q    <= 32'd0;
      sent_q       <= 32'd0;
      unexpected_q <= 32'd0;
      poisoned_q   <= 32'd0;
    end else begin
      if (malformed_i) malformed_q <= malformed_q + 32'd1;
      if (refused) refused_q <= refused_q + 32'd1;
      if (write_sent_i) sent_q <= sent_q + 32'd1;
      if (errors_i.unexpected_completion) unexpected_q <= unexpected_q + 32'd1;
      if (errors_i.poisoned) poisoned_q <= poisoned_q + 32'd1;
    end
  end

  always_comb begin
    rdata_o = 32'd0;
    if (select_i) begin
      case (offset_i)
        6'd0:    rdata_o = ntb_pkg::Identification;
        6'd1:    rdata_o = ntb_pkg::Version;
        6'd2:    rdata_o = {6'd0, straps_i.table_size, 8'(ntb_pkg::MsiVectors), 8'(VECTORS)};
        6'd3:    rdata_o = {31'd0, idle_i};
        6'd4:    rdata_o = malformed_q;
        6'd5:    rdata_o = refused_q;
        6'd6:    rdata_o = sent_q;
        6'd7:    rdata_o = unexpected_q;
        6'd8:    rdata_o = poisoned_q;
        default: rdata_o = 32'd0;
      endcase
    end
  end

  logic unused_bits;
  assign unused_bits = ^{
    straps_i.vendor_id, straps_i.device_id, straps_i.class_code, straps_i.subsystem_vendor_id,
    straps_i.subsystem_id, straps_i.table_first_devfn, straps_i.rid_mode, straps_i.rid_value
  };

endmodule
