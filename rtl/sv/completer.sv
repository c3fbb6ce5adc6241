// Executes requests in order and answers them.
//
// A request of two DWs is two register accesses. Longer accesses to BAR0 violate its programming model: reads get
// Completer Abort, writes are dropped. What is neither configuration space of function 0 nor BAR0 is unsupported: UR
// for a non-posted request, dropped otherwise. Poisoned data is never used; a poisoned configuration write gets UR
// (PCIe 2.7.2.2). Every completion is unexpected, as this device sends no non-posted requests.
module completer (
    input logic clk_i,
    input logic rst_ni,

    input  logic              request_valid_i,
    input  ntb_pkg::request_t request_i,
    output logic              request_done_o,

    // State of the configuration space
    input logic        memory_enable_i,
    input logic [63:0] bar0_i,
    input logic [15:0] own_id_i,

    // One register access: done in the cycle in which it is selected, but for a write while `bar0_stall_i`
    output logic        config_select_o,
    output logic        bar0_select_o,
    output logic        write_o,
    output logic [16:2] offset_o,
    output logic [31:0] wmask_o,  // bits of the enabled bytes
    output logic [31:0] wdata_o,  // 0 in the others
    input  logic [31:0] config_rdata_i,
    input  logic [31:0] bar0_rdata_i,
    input  logic        bar0_stall_i,

    // With every configuration write that function 0 completes
    output logic        capture_id_o,
    output logic [15:0] target_id_o,

    output logic                completion_valid_o,
    output ntb_pkg::short_tlp_t completion_o,
    input  logic                completion_sent_i,

    output ntb_pkg::request_errors_t errors_o
);

  logic        second_q, second_d;  // the access to the second DW of two
  logic        answered_q, answered_d;
  logic [2:0]  status_q, status_d;
  logic [63:0] data_q, data_d;

  // What the request asks for

  logic       bar0_hit, short_access, function0, is_config;
  logic       another_dw;  // after the present access
  logic [3:0] be;

  always_comb begin
    bar0_hit     = 1'b0;
    short_access = 1'b0;
    function0    = 1'b0;
    is_config    = 1'b0;
    another_dw   = 1'b0;
    be           = 4'd0;
    wmask_o      = 32'd0;
    wdata_o      = 32'd0;
    offset_o     = 15'd0;
    if (request_valid_i) begin
      bar0_hit     = memory_enable_i && request_i.untranslated &&
                     (request_i.address[63:ntb_pkg::BarBits] == bar0_i[63:ntb_pkg::BarBits]);
      short_access = (request_i.length == 10'd1) || (request_i.length == 10'd2);
      function0    = request_i.address[18:16] == 3'd0;
      is_config    = (request_i.kind == ntb_pkg::RequestConfigRead) ||
                     (request_i.kind == ntb_pkg::RequestConfigWrite);
      another_dw   = (request_i.length == 10'd2) && !second_q;
      be           = second_q ? request_i.last_be : request_i.first_be;
      wmask_o      = {{8{be[3]}}, {8{be[2]}}, {8{be[1]}}, {8{be[0]}}};
      wdata_o      = wmask_o & (second_q ? request_i.data[63:32] : request_i.data[31:0]);
      offset_o     = is_config ? {5'd0, request_i.address[11:2]} : request_i.address[16:2] + {14'd0, second_q};
    end
  end

  assign target_id_o = request_i.address[31:16];

  always_comb begin
    config_select_o = 1'b0;
    bar0_select_o   = 1'b0;
    write_o         = 1'b0;
    capture_id_o    = 1'b0;
    request_done_o  = 1'b0;
    errors_o        = '0;
    second_d        = second_q;
    answered_d      = answered_q;
    status_d        = status_q;
    data_d          = data_q;

    if (answered_q) begin
      if (completion_sent_i) begin
        answered_d     = 1'b0;
        request_done_o = 1'b1;
      end
    end else if (request_valid_i) begin
      case (request_i.kind)
        ntb_pkg::RequestMemWrite: begin
          if (request_i.poisoned) begin
            errors_o.poisoned = 1'b1;
            request_done_o    = 1'b1;
          end else if (!bar0_hit || !short_access) begin
            errors_o.unsupported_posted = 1'b1;
            request_done_o              = 1'b1;
          end else begin
            bar0_select_o = 1'b1;
            write_o       = 1'b1;
            if (!bar0_stall_i) begin
              second_d       = another_dw;
              request_done_o = !another_dw;
            end
          end
        end

        ntb_pkg::RequestMemRead: begin
          if (!bar0_hit) begin
            errors_o.unsupported_non_posted = 1'b1;
            answered_d                      = 1'b1;
            status_d                        = pcie_pkg::StatusUnsupportedRequest;
          end else if (!short_access) begin
            errors_o.completer_abort = 1'b1;
            answered_d               = 1'b1;
            status_d                 = pcie_pkg::StatusCompleterAbort;
          end else begin
            bar0_select_o = 1'b1;
            second_d      = another_dw;
            answered_d    = !another_dw;
            status_d      = pcie_pkg::StatusSuccessful;
            if (second_q) data_d[63:32] = bar0_rdata_i;
            else data_d = {32'd0, bar0_rdata_i};
          end
        end

        ntb_pkg::RequestConfigRead, ntb_pkg::RequestConfigWrite: begin
          answered_d = 1'b1;
          if (request_i.poisoned) begin
            errors_o.poisoned = 1'b1;
            status_d          = pcie_pkg::StatusUnsupportedRequest;
          end else if (!function0) begin
            errors_o.unsupported_non_posted = 1'b1;
            status_d                        = pcie_pkg::StatusUnsupportedRequest;
          end else begin
            config_select_o = 1'b1;
            write_o         = request_i.kind == ntb_pkg::RequestConfigWrite;
            capture_id_o    = request_i.kind == ntb_pkg::RequestConfigWrite;
            status_d        = pcie_pkg::StatusSuccessful;
            data_d          = {32'd0, config_rdata_i};
          end
        end

        ntb_pkg::RequestMessage: begin
          request_done_o = 1'b1;
          if (request_i.poisoned) errors_o.poisoned = 1'b1;
          else if (!pcie_pkg::message_is_discarded({request_i.last_be, request_i.first_be})) begin
            errors_o.unsupported_posted = 1'b1;
          end
        end

        ntb_pkg::RequestCompletion: begin
          request_done_o                 = 1'b1;
          errors_o.unexpected_completion = 1'b1;
        end

        default: begin
          errors_o.unsupported_non_posted = 1'b1;
          answered_d                      = 1'b1;
          status_d                        = pcie_pkg::StatusUnsupportedRequest;
        end
      endcase
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      second_q   <= 1'b0;
      answered_q <= 1'b0;
      status_q   <= pcie_pkg::StatusSuccessful;
      data_q     <= 64'd0;
    end else begin
      second_q   <= second_d;
      answered_q <= answered_d;
      status_q   <= status_d;
      data_q     <= data_d;
    end
  end

  // The answer

  logic             with_data;
  pcie_pkg::dw0_t             dw0;
  pcie_pkg::completion_dw12_t dw12;
  assign with_data = (status_q == pcie_pkg::StatusSuccessful) && (request_i.kind != ntb_pkg::RequestConfigWrite);

  always_comb begin
    dw0  = '0;
    dw12 = '0;
    if (answered_q) begin
      dw0.fmt    = with_data ? pcie_pkg::Fmt3DwData : pcie_pkg::Fmt3Dw;
      dw0.kind   = request_i.locked ? pcie_pkg::TypeCompletionLocked : pcie_pkg::TypeCompletion;
      dw0.tag9   = request_i.tag[9];
      dw0.tag8   = request_i.tag[8];
      dw0.tc     = request_i.tc;
      dw0.attr2  = request_i.attr[2];
      dw0.attr   = request_i.attr[1:0];
      dw0.length = with_data ? request_i.length : 10'd0;

      dw12.completer_id  = own_id_i;
      dw12.status        = status_q;
      dw12.byte_count    = request_i.byte_count;
      dw12.requester_id  = request_i.requester_id;
      dw12.tag           = request_i.tag[7:0];
      dw12.lower_address = request_i.lower_address;
    end
  end

  assign completion_valid_o = answered_q;
  assign completion_o.hdr   = {dw0, dw12, 32'd0};
  assign completion_o.data  = with_data ? data_q : 64'd0;

  logic unused_bits;
  assign unused_bits = ^bar0_i[ntb_pkg::BarBits-1:0];

`ifndef SYNTHESIS
  OneAccess_A: assert property (@(posedge clk_i) disable iff (!rst_ni) !(config_select_o && bar0_select_o))
  else $error("completer: one request accesses two spaces");
  SecondInRequest_A: assert property (@(posedge clk_i) disable iff (!rst_ni) second_q |-> request_valid_i)
  else $error("completer: a second access without a request");
`endif

endmodule
