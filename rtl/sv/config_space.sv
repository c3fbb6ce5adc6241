// Type 0 configuration space: header, capability list, and where each capability is.
//
//   0x000 header   0x040 PCI Express   0x080 MSI   0x0a0 MSI-X   0x100 to 0xfff read as 0 (no extended capabilities)
//
// No INTx: the interrupt pin reads 0.
module config_space (
    input logic clk_i,
    input logic rst_ni,

    input ntb_pkg::straps_t straps_i,

    input  logic        select_i,
    input  logic        write_i,
    input  logic [11:2] offset_i,
    input  logic [31:0] wmask_i,  // bits to be written
    input  logic [31:0] wdata_i,  // 0 where not to be written
    output logic [31:0] rdata_o,

    input  logic        capture_id_i,
    input  logic [15:0] target_id_i,
    output logic [15:0] own_id_o,  // bus and device captured, function 0

    output logic        memory_enable_o,
    output logic        bus_master_enable_o,
    output logic [63:0] bar0_o,

    input logic signaled_target_abort_i,
    input logic detected_parity_error_i,

    // The capabilities, each with its registers from offset 0
    output logic        pcie_select_o,
    output logic        msi_select_o,
    output logic        msix_select_o,
    output logic [5:2]  capability_offset_o,
    input  logic [31:0] pcie_rdata_i,
    input  logic [31:0] msi_rdata_i,
    input  logic [31:0] msix_rdata_i
);

  localparam logic [7:0] Revision = 8'd1;

  // Header registers by DW (PCI Local Bus 3.0, 6.1)
  localparam logic [3:0] RegId           = 4'h0;
  localparam logic [3:0] RegCommand      = 4'h1;
  localparam logic [3:0] RegClass        = 4'h2;
  localparam logic [3:0] RegCacheLine    = 4'h3;
  localparam logic [3:0] RegBar0         = 4'h4;
  localparam logic [3:0] RegBar1         = 4'h5;
  localparam logic [3:0] RegSubsystem    = 4'hb;
  localparam logic [3:0] RegCapabilities = 4'hd;
  localparam logic [3:0] RegInterrupt    = 4'hf;

  localparam logic [31:0] CommandWritable = 32'h0000_0546;  // memory, bus master, parity, SERR, INTx disable
  localparam logic [31:0] BarFlags        = 32'h0000_0004;  // memory, 64 bits, not prefetchable
  localparam logic [7:0]  PcieCapability  = 8'h40;

  logic header_select, header_write;
  assign header_select = select_i && (offset_i[11:6] == 6'd0);
  assign header_write  = header_select && write_i;

  // 0x40 to 0x7f, 0x80 to 0x9f, 0xa0 to 0xbf
  assign pcie_select_o       = select_i && (offset_i[11:6] == 6'd1);
  assign msi_select_o        = select_i && (offset_i[11:5] == 7'd4);
  assign msix_select_o       = select_i && (offset_i[11:5] == 7'd5);
  assign capability_offset_o = {pcie_select_o && offset_i[5], offset_i[4:2]};

  logic [15:0]        command_q;
  logic               target_abort_q, parity_error_q;
  logic [7:0]         cache_line_q, interrupt_line_q;
  logic [63:ntb_pkg::BarBits]  bar0_q;
  logic [15:3]        own_id_q;

  logic [31:0] command_wdata, bar0_wdata, bar1_wdata;
  assign command_wdata = ntb_pkg::merge({16'd0, command_q}, wdata_i, wmask_i) & CommandWritable;
  assign bar0_wdata    = ntb_pkg::merge(bar0_o[31:0], wdata_i, wmask_i);
  assign bar1_wdata    = ntb_pkg::merge(bar0_o[63:32], wdata_i, wmask_i);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      command_q        <= 16'd0;
      target_abort_q   <= 1'b0;
      parity_error_q   <= 1'b0;
      cache_line_q     <= 8'd0;
      interrupt_line_q <= 8'd0;
      bar0_q           <= '0;
      own_id_q         <= 13'd0;
    end else begin
      if (header_write) begin
        case (offset_i[5:2])
          RegCommand: begin
            command_q <= command_wdata[15:0];
            if (wdata_i[27]) target_abort_q <= 1'b0;
            if (wdata_i[31]) parity_error_q <= 1'b0;
          end
          RegCacheLine: if (wmask_i[0]) cache_line_q <= wdata_i[7:0];
          RegBar0:      bar0_q[31:ntb_pkg::BarBits] <= bar0_wdata[31:ntb_pkg::BarBits];
          RegBar1:      bar0_q[63:32] <= bar1_wdata;
          RegInterrupt: if (wmask_i[0]) interrupt_line_q <= wdata_i[7:0];
          default:      ;
        endcase
      end
      if (signaled_target_abort_i) target_abort_q <= 1'b1;
      if (detected_parity_error_i) parity_error_q <= 1'b1;
      if (capture_id_i) own_id_q <= target_id_i[15:3];
    end
  end

  logic [31:0] header_rdata;
  always_comb begin
    header_rdata = 32'd0;
    if (header_select) begin
      case (offset_i[5:2])
        RegId:           header_rdata = {straps_i.device_id, straps_i.vendor_id};
        RegCommand:      header_rdata = {parity_error_q, 3'd0, target_abort_q, 11'h010, command_q};
        RegClass:        header_rdata = {straps_i.class_code, Revision};
        RegCacheLine:    header_rdata = {24'd0, cache_line_q};
        RegBar0:         header_rdata = bar0_o[31:0] | BarFlags;
        RegBar1:         header_rdata = bar0_o[63:32];
        RegSubsystem:    header_rdata = {straps_i.subsystem_id, straps_i.subsystem_vendor_id};
        RegCapabilities: header_rdata = {24'd0, PcieCapability};
        RegInterrupt:    header_rdata = {24'd0, interrupt_line_q};
        default:         header_rdata = 32'd0;
      endcase
    end
  end

  always_comb begin
    rdata_o = 32'd0;
    if (header_select) rdata_o = header_rdata;
    else if (pcie_select_o) rdata_o = pcie_rdata_i;
    else if (msi_select_o) rdata_o = msi_rdata_i;
    else if (msix_select_o) rdata_o = msix_rdata_i;
  end

  assign own_id_o            = {own_id_q, 3'd0};
  assign memory_enable_o     = command_q[1];
  assign bus_master_enable_o = command_q[2];
  assign bar0_o              = {bar0_q, {ntb_pkg::BarBits{1'b0}}};

  logic unused_bits;
  assign unused_bits = ^{
    target_id_i[2:0], command_wdata[31:16], bar0_wdata[ntb_pkg::BarBits-1:0],
    straps_i.table_size, straps_i.table_first_devfn, straps_i.rid_mode, straps_i.rid_value
  };

endmodule
