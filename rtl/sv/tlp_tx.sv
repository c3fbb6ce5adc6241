// Orders and sends TLPs.
//
// Interrupts and the message block take turns. A completion goes when neither waits: nothing that an earlier request
// caused may be passed by the answer to a later one (PCIe 2.4.1). Since requests are executed in order, none is added
// while a completion waits.
module tlp_tx (
    input logic clk_i,
    input logic rst_ni,

    input  logic                interrupt_valid_i,
    input  ntb_pkg::msg_write_t interrupt_i,
    output logic                interrupt_sent_o,

    input  logic                message_valid_i,
    input  ntb_pkg::msg_write_t message_i,
    output logic                message_sent_o,

    input  logic                completion_valid_i,
    input  ntb_pkg::short_tlp_t completion_i,
    output logic                completion_sent_o,

    output logic            valid_o,
    input  logic            ready_i,
    output pcie_pkg::beat_t beat_o,

    output logic busy_o
);

  logic       valid_q;
  ntb_pkg::short_tlp_t tlp_q;
  logic       message_was_last_q;

  // Arbitration: interrupt, message, completion

  logic       free;
  logic [2:0] grant;
  assign free     = !valid_q || ready_i;
  assign grant[2] = free && interrupt_valid_i && (!message_valid_i || message_was_last_q);
  assign grant[1] = free && message_valid_i && (!interrupt_valid_i || !message_was_last_q);
  assign grant[0] = free && completion_valid_i && !interrupt_valid_i && !message_valid_i;

  assign {interrupt_sent_o, message_sent_o, completion_sent_o} = grant;

  // A memory write of one DW

  ntb_pkg::msg_write_t    write;
  pcie_pkg::dw0_t         dw0;
  pcie_pkg::request_dw1_t dw1;
  logic                   is_4dw;
  assign write  = grant[1] ? message_i : interrupt_i;
  assign is_4dw = write.address[63:32] != 32'd0;

  always_comb begin
    dw0              = '0;
    dw0.fmt          = is_4dw ? pcie_pkg::Fmt4DwData : pcie_pkg::Fmt3DwData;
    dw0.kind         = pcie_pkg::TypeMem;
    dw0.length       = 10'd1;
    dw1              = '0;
    dw1.requester_id = write.requester_id;
    dw1.first_be     = 4'b1111;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q            <= 1'b0;
      message_was_last_q <= 1'b0;
    end else begin
      if (free) valid_q <= grant != 3'd0;
      if (grant[2] || grant[1]) message_was_last_q <= grant[1];
    end
  end

  always_ff @(posedge clk_i) begin
    if (grant[0]) begin
      tlp_q <= completion_i;
    end else if (grant != 3'd0) begin
      tlp_q.hdr  <= {dw0, dw1, is_4dw ? write.address : {write.address[31:0], 32'd0}};
      tlp_q.data <= {32'd0, write.data};
    end
  end

  assign valid_o     = valid_q;
  assign beat_o.sop  = valid_q;
  assign beat_o.eop  = valid_q;
  assign beat_o.hdr  = tlp_q.hdr;
  assign beat_o.data = {192'd0, tlp_q.data};
  assign busy_o      = valid_q;

`ifndef SYNTHESIS
  OneGrant_A: assert property (@(posedge clk_i) disable iff (!rst_ni) $onehot0(grant))
  else $error("tlp_tx: several grants in one cycle");
  TxStable_A: assert property (@(posedge clk_i) disable iff (!rst_ni)
                               valid_o && !ready_i |=> valid_o && $stable(tlp_q))
  else $error("tlp_tx: the beat offered changed before it was taken");
  TxFraming_A: assert property (@(posedge clk_i) disable iff (!rst_ni) valid_o |-> beat_o.sop && beat_o.eop)
  else $error("tlp_tx: a TLP of one beat lacks its first-beat or last-beat flag");
`endif

endmodule
