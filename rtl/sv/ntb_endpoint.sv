// PCI Express endpoint of a non-transparent bridge: one port, TLP streams in and out.
//
// `idle_o` is 1 when nothing is buffered or in progress and no input is presented. A clock edge with `idle_o` 1 and
// `rx_valid_i` 0 changes no state. Interrupts that are masked or held because bus mastering is off are idle.
//
// BAR0 by offset: 0x00000 information, 0x00100 doorbell, 0x00200 scratchpads, 0x00300 message block, 0x00400
// requester-ID policy, 0x08000 MSI-X table, 0x09000 MSI-X pending bits, 0x10000 requester-ID table. What is not
// implemented reads 0 and ignores writes.
module ntb_endpoint #(
    parameter int unsigned VECTORS    = 64,  // MSI-X vectors and doorbell bits, 1 to 64
    parameter int unsigned TABLE_SIZE = 512  // most entries of the requester-ID table, 1 to 512
) (
    input logic clk_i,
    input logic rst_ni,

    input ntb_pkg::straps_t straps_i,

    input  logic            rx_valid_i,
    output logic            rx_ready_o,
    input  pcie_pkg::beat_t rx_i,

    output logic            tx_valid_o,
    input  logic            tx_ready_i,
    output pcie_pkg::beat_t tx_o,

    output logic idle_o
);

  if (VECTORS < 1 || VECTORS > ntb_pkg::MaxVectors) begin : gen_vectors_out_of_range
    $error("ntb_endpoint: parameter VECTORS is out of range: 1 to 64");
  end
  if (TABLE_SIZE < 1 || TABLE_SIZE > ntb_pkg::MaxTableSize) begin : gen_table_size_out_of_range
    $error("ntb_endpoint: parameter TABLE_SIZE is out of range: 1 to 512");
  end

  // In range, so that no other message hides those above
  localparam int unsigned Vectors   = (VECTORS < 1 || VECTORS > ntb_pkg::MaxVectors) ? 1 : VECTORS;
  localparam int unsigned TableSize = (TABLE_SIZE < 1 || TABLE_SIZE > ntb_pkg::MaxTableSize) ? 1 : TABLE_SIZE;

  // Receive and execute

  logic            rx_busy, malformed;
  logic [2:0]      max_payload_size;
  logic            request_valid, request_done;
  ntb_pkg::request_t        request;
  ntb_pkg::request_errors_t errors;

  tlp_rx u_tlp_rx (
      .clk_i,
      .rst_ni,
      .valid_i           (rx_valid_i),
      .ready_o           (rx_ready_o),
      .beat_i            (rx_i),
      .max_payload_size_i(max_payload_size),
      .request_valid_o   (request_valid),
      .request_o         (request),
      .request_done_i    (request_done),
      .malformed_o       (malformed),
      .busy_o            (rx_busy)
  );

  logic        memory_enable, bus_master_enable;
  logic [63:0] bar0;
  logic [15:0] own_id, target_id;
  logic        capture_id;
  logic        config_select, bar0_select, write;
  logic [16:2] offset;
  logic [31:0] wmask, wdata, config_rdata, bar0_rdata;
  logic        message_stall;
  logic        completion_valid, completion_sent;
  ntb_pkg::short_tlp_t  completion;

  completer u_completer (
      .clk_i,
      .rst_ni,
      .request_valid_i   (request_valid),
      .request_i         (request),
      .request_done_o    (request_done),
      .memory_enable_i   (memory_enable),
      .bar0_i            (bar0),
      .own_id_i          (own_id),
      .config_select_o   (config_select),
      .bar0_select_o     (bar0_select),
      .write_o           (write),
      .offset_o          (offset),
      .wmask_o           (wmask),
      .wdata_o           (wdata),
      .config_rdata_i    (config_rdata),
      .bar0_rdata_i      (bar0_rdata),
      .bar0_stall_i      (message_stall),
      .capture_id_o      (capture_id),
      .target_id_o       (target_id),
      .completion_valid_o(completion_valid),
      .completion_o      (completion),
      .completion_sent_i (completion_sent),
      .errors_o          (errors)
  );

  // Configuration space

  logic        pcie_select, msi_select, msix_select;
  logic [5:2]  capability_offset;
  logic [31:0] pcie_rdata, msi_rdata, msix_rdata;

  config_space u_config_space (
      .clk_i,
      .rst_ni,
      .straps_i,
      .select_i               (config_select),
      .write_i                (write),
      .offset_i               (offset[11:2]),
      .wmask_i                (wmask),
      .wdata_i                (wdata),
      .rdata_o                (config_rdata),
      .capture_id_i           (capture_id),
      .target_id_i            (target_id),
      .own_id_o               (own_id),
      .memory_enable_o        (memory_enable),
      .bus_master_enable_o    (bus_master_enable),
      .bar0_o                 (bar0),
      .signaled_target_abort_i(errors.completer_abort),
      .detected_parity_error_i(errors.poisoned),
      .pcie_select_o          (pcie_select),
      .msi_select_o           (msi_select),
      .msix_select_o          (msix_select),
      .capability_offset_o    (capability_offset),
      .pcie_rdata_i           (pcie_rdata),
      .msi_rdata_i            (msi_rdata),
      .msix_rdata_i           (msix_rdata)
  );

  pcie_capability u_pcie_capability (
      .clk_i,
      .rst_ni,
      .select_i          (pcie_select),
      .write_i           (write),
      .offset_i          (capability_offset),
      .wmask_i           (wmask),
      .wdata_i           (wdata),
      .rdata_o           (pcie_rdata),
      .malformed_i       (malformed),
      .errors_i          (errors),
      .max_payload_size_o(max_payload_size)
  );

  logic        msi_enable;
  logic [2:0]  msi_allocated;
  logic [31:0] msi_mask, msi_pending;
  logic [63:0] msi_address;
  logic [15:0] msi_data;

  msi u_msi (
      .clk_i,
      .rst_ni,
      .select_i   (msi_select),
      .write_i    (write),
      .offset_i   (capability_offset[4:2]),
      .wmask_i    (wmask),
      .wdata_i    (wdata),
      .rdata_o    (msi_rdata),
      .pending_i  (msi_pending),
      .enable_o   (msi_enable),
      .allocated_o(msi_allocated),
      .mask_o     (msi_mask),
      .address_o  (msi_address),
      .data_o     (msi_data)
  );

  // BAR0

  logic       low_page;  // 0x0000 to 0x0fff
  logic [3:0] page;
  logic       information_select, doorbell_select, scratchpads_select, message_select, policy_select;
  logic       msix_table_select, msix_pba_select, table_select;
  assign page               = offset[15:12];
  assign low_page           = bar0_select && !offset[16] && (page == 4'd0);
  assign information_select = low_page && (offset[11:8] == 4'h0);
  assign doorbell_select    = low_page && (offset[11:8] == 4'h1);
  assign scratchpads_select = low_page && (offset[11:8] == 4'h2);
  assign message_select     = low_page && (offset[11:8] == 4'h3);
  assign policy_select      = low_page && (offset[11:8] == 4'h4);
  assign msix_table_select  = bar0_select && !offset[16] && (page == ntb_pkg::MsixTableOffset[15:12]);
  assign msix_pba_select    = bar0_select && !offset[16] && (page == ntb_pkg::MsixPbaOffset[15:12]);
  assign table_select       = bar0_select && offset[16];

  logic [31:0] information_rdata, doorbell_rdata, scratchpads_rdata, message_rdata, policy_rdata, msix_bar0_rdata;
  logic [31:0] table_rdata;
  assign bar0_rdata = information_rdata | doorbell_rdata | scratchpads_rdata | message_rdata | policy_rdata |
                      msix_bar0_rdata | table_rdata;

  logic quiet;  // apart from what is received
  logic interrupt_sent, message_sent;

  information #(
      .VECTORS(Vectors)
  ) u_information (
      .clk_i,
      .rst_ni,
      .straps_i,
      .select_i    (information_select),
      .offset_i    (offset[7:2]),
      .rdata_o     (information_rdata),
      .idle_i      (quiet && !rx_valid_i),
      .malformed_i (malformed),
      .errors_i    (errors),
      .write_sent_i(interrupt_sent || message_sent)
  );

  logic [63:0] interrupt_request;

  doorbell #(
      .VECTORS(Vectors)
  ) u_doorbell (
      .clk_i,
      .rst_ni,
      .select_i (doorbell_select),
      .write_i  (write),
      .offset_i (offset[7:2]),
      .wmask_i  (wmask),
      .wdata_i  (wdata),
      .rdata_o  (doorbell_rdata),
      .request_o(interrupt_request)
  );

  scratchpads u_scratchpads (
      .clk_i,
      .rst_ni,
      .select_i(scratchpads_select),
      .write_i (write),
      .offset_i(offset[7:2]),
      .wmask_i (wmask),
      .wdata_i (wdata),
      .rdata_o (scratchpads_rdata)
  );

  logic       message_valid;
  ntb_pkg::msg_write_t message;

  message_block u_message_block (
      .clk_i,
      .rst_ni,
      .select_i           (message_select),
      .write_i            (write),
      .offset_i           (offset[7:2]),
      .wmask_i            (wmask),
      .wdata_i            (wdata),
      .rdata_o            (message_rdata),
      .stall_o            (message_stall),
      .bus_master_enable_i(bus_master_enable),
      .valid_o            (message_valid),
      .message_o          (message),
      .sent_i             (message_sent)
  );

  logic [5:0]  vector;
  logic [15:0] vector_requester_id;

  requester_id_policy #(
      .VECTORS(Vectors)
  ) u_requester_id_policy (
      .clk_i,
      .rst_ni,
      .straps_i,
      .own_id_i      (own_id),
      .select_i      (policy_select),
      .write_i       (write),
      .offset_i      (offset[7:2]),
      .wmask_i       (wmask),
      .wdata_i       (wdata),
      .rdata_o       (policy_rdata),
      .vector_i      (vector),
      .sent_i        (interrupt_sent),
      .requester_id_o(vector_requester_id)
  );

  logic        msix_enable, msix_function_mask;
  logic [63:0] msix_mask, msix_pending;
  logic [63:0] msix_address;
  logic [31:0] msix_data;

  msix #(
      .VECTORS(Vectors)
  ) u_msix (
      .clk_i,
      .rst_ni,
      .capability_select_i(msix_select),
      .table_select_i     (msix_table_select),
      .pba_select_i       (msix_pba_select),
      .write_i            (write),
      .offset_i           (msix_select ? {7'd0, capability_offset[4:2]} : offset[11:2]),
      .wmask_i            (wmask),
      .wdata_i            (wdata),
      .capability_rdata_o (msix_rdata),
      .bar0_rdata_o       (msix_bar0_rdata),
      .pending_i          (msix_pending),
      .enable_o           (msix_enable),
      .function_mask_o    (msix_function_mask),
      .mask_o             (msix_mask),
      .vector_i           (vector),
      .address_o          (msix_address),
      .data_o             (msix_data)
  );

  requester_id_table #(
      .TABLE_SIZE(TableSize)
  ) u_requester_id_table (
      .clk_i,
      .rst_ni,
      .straps_i,
      .select_i(table_select),
      .write_i (write),
      .offset_i(offset[15:2]),
      .wmask_i (wmask),
      .wdata_i (wdata),
      .rdata_o (table_rdata)
  );

  // Interrupts

  logic interrupt_valid;

  interrupts u_interrupts (
      .clk_i,
      .rst_ni,
      .request_i           (interrupt_request),
      .bus_master_enable_i (bus_master_enable),
      .msix_enable_i       (msix_enable),
      .msix_function_mask_i(msix_function_mask),
      .msix_mask_i         (msix_mask),
      .msi_enable_i        (msi_enable),
      .msi_allocated_i     (msi_allocated),
      .msi_mask_i          (msi_mask),
      .msix_pending_o      (msix_pending),
      .msi_pending_o       (msi_pending),
      .valid_o             (interrupt_valid),
      .vector_o            (vector),
      .sent_i              (interrupt_sent)
  );

  // MSI: the message number replaces the low bits of the data that the allocation leaves to the function
  logic [4:0] msi_number_bits;
  ntb_pkg::msg_write_t interrupt;
  assign msi_number_bits = ~(5'h1f << msi_allocated);

  always_comb begin
    interrupt.requester_id = vector_requester_id;
    if (msix_enable) begin
      interrupt.address = msix_address;
      interrupt.data    = msix_data;
    end else begin
      interrupt.address = msi_address;
      interrupt.data    = {16'd0, msi_data[15:5], (msi_data[4:0] & ~msi_number_bits) | (vector[4:0] & msi_number_bits)};
    end
  end

  // Send

  logic tx_busy;

  tlp_tx u_tlp_tx (
      .clk_i,
      .rst_ni,
      .interrupt_valid_i (interrupt_valid),
      .interrupt_i       (interrupt),
      .interrupt_sent_o  (interrupt_sent),
      .message_valid_i   (message_valid),
      .message_i         (message),
      .message_sent_o    (message_sent),
      .completion_valid_i(completion_valid),
      .completion_i      (completion),
      .completion_sent_o (completion_sent),
      .valid_o           (tx_valid_o),
      .ready_i           (tx_ready_i),
      .beat_o            (tx_o),
      .busy_o            (tx_busy)
  );

  assign quiet  = !interrupt_valid && !message_valid && !tx_busy;
  assign idle_o = quiet && !rx_busy && !rx_valid_i;

endmodule
