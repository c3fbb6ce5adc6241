// Interrupt requests of 64 vectors, until their messages are sent.
//
// A request waits while its vector is masked or bus mastering is off, and is sent once when it no longer is; a second
// request for a vector that waits is the same one. The lowest vector goes first. With MSI-X disabled and MSI enabled,
// vector v sends message v modulo the number allocated, and the vectors that share a message share its pending bit.
// With neither enabled requests are dropped.
module interrupts (
    input logic clk_i,
    input logic rst_ni,

    input logic [63:0] request_i,  // one cycle for each request

    input logic        bus_master_enable_i,
    input logic        msix_enable_i,
    input logic        msix_function_mask_i,
    input logic [63:0] msix_mask_i,
    input logic        msi_enable_i,
    input logic [2:0]  msi_allocated_i,
    input logic [31:0] msi_mask_i,

    output logic [63:0] msix_pending_o,
    output logic [31:0] msi_pending_o,

    output logic       valid_o,
    output logic [5:0] vector_o,
    input  logic       sent_i
);

  logic [63:0] waiting_q, waiting_d;
  logic [63:0] masked, deliverable, lowest, sent;
  logic        enabled;
  assign enabled = msix_enable_i || msi_enable_i;

  // The MSI messages that a set of vectors uses
  function automatic logic [31:0] messages(logic [63:0] vectors, logic [2:0] allocated);
    messages = vectors[63:32] | vectors[31:0];
    if (allocated < 3'd5) messages = {16'd0, messages[31:16] | messages[15:0]};
    if (allocated < 3'd4) messages = {24'd0, messages[15:8] | messages[7:0]};
    if (allocated < 3'd3) messages = {28'd0, messages[7:4] | messages[3:0]};
    if (allocated < 3'd2) messages = {30'd0, messages[3:2] | messages[1:0]};
    if (allocated < 3'd1) messages = {31'd0, messages[1] | messages[0]};
  endfunction

  // The vectors that use a set of MSI messages
  function automatic logic [63:0] sharing(logic [31:0] set, logic [2:0] allocated);
    case (allocated)
      3'd0:    sharing = {64{set[0]}};
      3'd1:    sharing = {32{set[1:0]}};
      3'd2:    sharing = {16{set[3:0]}};
      3'd3:    sharing = {8{set[7:0]}};
      3'd4:    sharing = {4{set[15:0]}};
      default: sharing = {2{set}};
    endcase
  endfunction

  always_comb begin
    if (msix_enable_i) masked = msix_function_mask_i ? '1 : msix_mask_i;
    else if (msi_enable_i) masked = sharing(msi_mask_i, msi_allocated_i);
    else masked = '1;
  end

  assign deliverable = bus_master_enable_i ? waiting_q & ~masked : 64'd0;
  assign lowest      = deliverable & (~deliverable + 64'd1);
  assign valid_o     = deliverable != 64'd0;

  always_comb begin
    vector_o = 6'd0;
    if (valid_o) begin
      vector_o[0] = |(lowest & 64'haaaa_aaaa_aaaa_aaaa);
      vector_o[1] = |(lowest & 64'hcccc_cccc_cccc_cccc);
      vector_o[2] = |(lowest & 64'hf0f0_f0f0_f0f0_f0f0);
      vector_o[3] = |(lowest & 64'hff00_ff00_ff00_ff00);
      vector_o[4] = |(lowest & 64'hffff_0000_ffff_0000);
      vector_o[5] = |(lowest & 64'hffff_ffff_0000_0000);
    end
  end

  always_comb begin
    sent = 64'd0;
    if (sent_i) sent = msix_enable_i ? lowest : sharing(messages(lowest, msi_allocated_i), msi_allocated_i);
    // What waits is dropped at the edge after the one that disables: the device is not idle then, as the configuration
    // write is still to be answered.
    waiting_d = enabled ? (waiting_q & ~sent) | request_i : 64'd0;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) waiting_q <= 64'd0;
    else waiting_q <= waiting_d;
  end

  assign msix_pending_o = waiting_q;
  assign msi_pending_o  = messages(waiting_q, msi_allocated_i);

`ifndef SYNTHESIS
  OneVector_A: assert property (@(posedge clk_i) disable iff (!rst_ni) valid_o |-> $onehot(lowest) && lowest[vector_o])
  else $error("interrupts: the vector sent is not one that waits");
  SentIsValid_A: assert property (@(posedge clk_i) disable iff (!rst_ni) sent_i |-> valid_o)
  else $error("interrupts: a message without a request");
`endif

endmodule
