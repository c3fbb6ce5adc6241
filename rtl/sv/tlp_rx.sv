// Receives TLPs, checks their form, and hands the well-formed ones on, one at a time.
//
// A malformed TLP (PCIe 2.2, 2.3) is drained to its last beat, dropped and reported. Checked: Fmt and Type, number of
// beats against Length and TD, payload against Max_Payload_Size, byte-enable rules, 4 KiB crossing, a 4-DW header with
// an address below 4 GiB, and the fixed fields of configuration and I/O requests. A digest is accepted and ignored (no
// ECRC checking). Reserved bits are ignored.
module tlp_rx (
    input logic clk_i,
    input logic rst_ni,

    input  logic            valid_i,
    output logic            ready_o,
    input  pcie_pkg::beat_t beat_i,

    input logic [2:0] max_payload_size_i,  // as in Device Control: 128 << n bytes

    output logic              request_valid_o,
    output ntb_pkg::request_t request_o,
    input  logic              request_done_i,

    output logic malformed_o,  // one cycle for each TLP dropped
    output logic busy_o
);

  // Header

  pcie_pkg::dw0_t         dw0;
  pcie_pkg::request_dw1_t dw1;
  logic [31:0]  dw2, dw3;
  assign dw0 = beat_i.hdr[127:96];
  assign dw1 = beat_i.hdr[95:64];
  assign dw2 = beat_i.hdr[63:32];
  assign dw3 = beat_i.hdr[31:0];

  logic has_data, is_4dw;
  assign has_data = dw0.fmt[1];
  assign is_4dw   = dw0.fmt[0];

  logic [63:0] address;
  assign address = is_4dw ? {dw2, dw3[31:2], 2'd0} : {32'd0, dw2[31:2], 2'd0};

  // What the header says; evaluated for the first beat only

  ntb_pkg::request_kind_e kind;
  logic                   known, header_error;
  logic                   is_mem, is_config_or_io, is_atomic;
  logic                   hinted_read, be_error;
  logic [3:0]             first_be, last_be;
  logic [10:0]            length_dw, stream_dw;  // 1 to 1024; payload and digest
  logic [7:0]             beats_after_first;
  logic [11:0]            byte_count;
  logic [6:0]             lower_address;

  always_comb begin
    kind              = ntb_pkg::RequestUnsupported;
    known             = 1'b0;
    header_error      = 1'b0;
    is_mem            = 1'b0;
    is_config_or_io   = 1'b0;
    is_atomic         = 1'b0;
    hinted_read       = 1'b0;
    be_error          = 1'b0;
    first_be          = dw1.first_be;
    last_be           = dw1.last_be;
    length_dw         = 11'd0;
    stream_dw         = 11'd0;
    beats_after_first = 8'd0;
    byte_count        = 12'd4;
    lower_address     = 7'd0;

    if (valid_i && beat_i.sop) begin
      if (!dw0.fmt[2]) begin
        case (dw0.kind)
          pcie_pkg::TypeMem: begin
            known  = 1'b1;
            is_mem = 1'b1;
            kind   = has_data ? ntb_pkg::RequestMemWrite : ntb_pkg::RequestMemRead;
          end
          pcie_pkg::TypeMemLocked: begin
            known  = !has_data;
            is_mem = 1'b1;
          end
          pcie_pkg::TypeConfig0: begin
            known           = !is_4dw;
            is_config_or_io = 1'b1;
            kind            = has_data ? ntb_pkg::RequestConfigWrite : ntb_pkg::RequestConfigRead;
          end
          pcie_pkg::TypeConfig1, pcie_pkg::TypeIo: begin
            known           = !is_4dw;
            is_config_or_io = 1'b1;
          end
          pcie_pkg::TypeFetchAdd, pcie_pkg::TypeSwap, pcie_pkg::TypeCompareSwap: begin
            known     = has_data;
            is_atomic = 1'b1;
          end
          pcie_pkg::TypeCompletion, pcie_pkg::TypeCompletionLocked: begin
            known = !is_4dw;
            kind  = ntb_pkg::RequestCompletion;
          end
          default: begin
            known = (dw0.kind[4:3] == pcie_pkg::TypeMessage) && (dw0.kind[2:0] <= pcie_pkg::MaxMessageRouting) &&
                    is_4dw;
            kind  = ntb_pkg::RequestMessage;
          end
        endcase
      end

      // A read with a processing hint carries a steering tag in place of the byte enables; all bytes are read
      // (2.2.7.1.1)
      hinted_read = is_mem && !has_data && dw0.th;
      if (hinted_read) begin
        first_be = 4'b1111;
        last_be  = (dw0.length == 10'd1) ? 4'b0000 : 4'b1111;
      end

      length_dw         = {dw0.length == 10'd0, dw0.length};
      stream_dw         = (has_data ? length_dw : 11'd0) + {10'd0, dw0.td};
      beats_after_first = (stream_dw <= 11'd8) ? 8'd0 : 8'((stream_dw - 11'd1) >> 3);

      if (dw0.length == 10'd1) begin
        be_error = last_be != 4'd0;
      end else if ((dw0.length == 10'd2) && !address[2]) begin
        be_error = (first_be == 4'd0) || (last_be == 4'd0);
      end else begin
        be_error = !pcie_pkg::first_be_is_contiguous(first_be) || !pcie_pkg::last_be_is_contiguous(last_be);
      end

      header_error = !known;
      if (is_mem || is_atomic) begin
        header_error |= ({1'b0, address[11:2]} + length_dw > 11'd1024) || (is_4dw && (dw2 == 32'd0));
      end
      if (is_mem) header_error |= be_error;
      if (is_config_or_io) begin
        header_error |= (dw0.tc != 3'd0) || (dw0.attr != 2'd0) || (dw0.at != 2'd0) || (dw0.length != 10'd1) ||
                        (dw1.last_be != 4'd0);
      end
      if (has_data) header_error |= length_dw > (11'd32 << max_payload_size_i);

      if (is_mem) begin
        byte_count    = pcie_pkg::read_byte_count(dw0.length, first_be, last_be);
        lower_address = {address[6:2], pcie_pkg::leading_bytes(first_be)};
      end else if (is_atomic) begin
        // Operand size: a compare and swap carries two operands
        byte_count = (dw0.kind == pcie_pkg::TypeCompareSwap) ? {1'b0, dw0.length, 1'b0} : {dw0.length, 2'b00};
      end
    end
  end

  // Framing

  ntb_pkg::request_t request_q;

  logic       in_tlp_q, in_tlp_d;
  logic       bad_q, bad_d;          // of the TLP in progress
  logic [7:0] beats_left_q, beats_left_d;
  logic       request_valid_q, request_valid_d;
  logic       accept, bad;

  assign ready_o = !request_valid_q;
  assign accept  = valid_i && ready_o;

  always_comb begin
    in_tlp_d        = in_tlp_q;
    bad_d           = bad_q;
    beats_left_d    = beats_left_q;
    request_valid_d = request_valid_q && !request_done_i;
    malformed_o     = 1'b0;
    bad             = 1'b0;
    if (accept) begin
      if (beat_i.sop) begin
        bad          = header_error || (beat_i.eop != (beats_after_first == 8'd0));
        beats_left_d = beats_after_first;
      end else begin
        bad          = bad_q || (beat_i.eop != (beats_left_q == 8'd1));
        beats_left_d = beats_left_q - 8'd1;
      end
      in_tlp_d = !beat_i.eop;
      bad_d    = bad;
      if (beat_i.eop) begin
        malformed_o     = bad;
        request_valid_d = !bad;
      end
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      in_tlp_q        <= 1'b0;
      bad_q           <= 1'b0;
      beats_left_q    <= 8'd0;
      request_valid_q <= 1'b0;
    end else begin
      in_tlp_q        <= in_tlp_d;
      bad_q           <= bad_d;
      beats_left_q    <= beats_left_d;
      request_valid_q <= request_valid_d;
    end
  end

  always_ff @(posedge clk_i) begin
    if (accept && beat_i.sop) begin
      request_q.kind          <= kind;
      request_q.locked        <= dw0.kind == pcie_pkg::TypeMemLocked;
      request_q.poisoned      <= dw0.ep && has_data;
      request_q.untranslated  <= dw0.at == 2'd0;
      request_q.tc            <= dw0.tc;
      request_q.attr          <= {dw0.attr2, dw0.attr};
      request_q.requester_id  <= dw1.requester_id;
      request_q.tag           <= {dw0.tag9, dw0.tag8, dw1.tag};
      request_q.length        <= dw0.length;
      request_q.first_be      <= first_be;
      request_q.last_be       <= last_be;
      request_q.address       <= address;
      request_q.byte_count    <= byte_count;
      request_q.lower_address <= lower_address;
      request_q.data          <= beat_i.data[63:0];
    end
  end

  assign request_valid_o = request_valid_q;
  assign request_o       = request_q;
  assign busy_o          = request_valid_q || in_tlp_q;

  logic unused_bits;
  assign unused_bits = ^{dw0.ln, dw3[1:0], dw2[1:0], beat_i.data[255:64]};

`ifndef SYNTHESIS
  RxFraming_A: assert property (@(posedge clk_i) disable iff (!rst_ni) valid_i |-> beat_i.sop != in_tlp_q)
  else $error("tlp_rx: a beat %s a TLP %s the first-beat flag", in_tlp_q ? "inside" : "outside",
              in_tlp_q ? "with" : "without");
  RxStable_A: assert property (@(posedge clk_i) disable iff (!rst_ni)
                               valid_i && !ready_o |=> valid_i && $stable(beat_i))
  else $error("tlp_rx: the beat offered changed before it was taken");
  RequestHeld_A: assert property (@(posedge clk_i) disable iff (!rst_ni)
                                  request_valid_o && !request_done_i |=> request_valid_o)
  else $error("tlp_rx: the request went before it was done");
`endif

endmodule
