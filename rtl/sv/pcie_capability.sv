// PCI Express capability, version 2, of an endpoint (PCIe 7.5.3), at configuration offset 0x40.
//
// Device Control has no effect but for Max_Payload_Size: the device sends no error messages and sets no attributes.
// Device Status records the errors that the receiver and the completer detect, with the severities of 6.2.7; those of
// non-posted requests, and unexpected completions, are advisory and so correctable (6.2.3.2.4).
module pcie_capability (
    input logic clk_i,
    input logic rst_ni,

    input  logic        select_i,
    input  logic        write_i,
    input  logic [5:2]  offset_i,
    input  logic [31:0] wmask_i,  // bits to be written
    input  logic [31:0] wdata_i,  // 0 where not to be written
    output logic [31:0] rdata_o,

    input logic                     malformed_i,
    input ntb_pkg::request_errors_t errors_i,

    output logic [2:0] max_payload_size_o
);

  localparam logic [2:0]  MaxPayloadSupported = 3'd2;  // 512 bytes
  // Next capability MSI at 0x80, version 2, endpoint
  localparam logic [31:0] Capabilities        = 32'h0002_8010;
  // Role-based error reporting, 8-bit tags, Max_Payload_Size
  localparam logic [31:0] DeviceCapabilities  = 32'h0000_8020 | {29'd0, MaxPayloadSupported};
  // Bits of Device Control that can be written: all but phantom functions, aux power and function level reset
  localparam logic [31:0] ControlWritable     = 32'h0000_79ff;
  // Relaxed ordering and no snoop enabled, 512-byte Max_Read_Request_Size
  localparam logic [15:0] ControlReset        = 16'h2810;
  // 8 GT/s, eight lanes, ASPM optionality compliance
  localparam logic [31:0] LinkCapabilities    = 32'h0040_0083;
  localparam logic [31:0] LinkControlWritable = 32'h0000_00cb;  // ASPM, RCB, common clock, extended synch
  localparam logic [15:0] LinkStatus          = 16'h1083;       // 8 GT/s, eight lanes, slot clock
  localparam logic [31:0] DeviceCapabilities2 = 32'h0001_0000;  // completes requests with 10-bit tags
  localparam logic [31:0] LinkCapabilities2   = 32'h0000_000e;  // 2.5, 5 and 8 GT/s
  localparam logic [31:0] LinkControl2        = 32'h0000_0003;  // target 8 GT/s

  localparam logic [3:0] RegCapabilities        = 4'h0;
  localparam logic [3:0] RegDeviceCapabilities  = 4'h1;
  localparam logic [3:0] RegDeviceControl       = 4'h2;
  localparam logic [3:0] RegLinkCapabilities    = 4'h3;
  localparam logic [3:0] RegLinkControl         = 4'h4;
  localparam logic [3:0] RegDeviceCapabilities2 = 4'h9;
  localparam logic [3:0] RegLinkCapabilities2   = 4'hb;
  localparam logic [3:0] RegLinkControl2        = 4'hc;

  logic [15:0] control_q, link_control_q;
  logic [3:0]  status_q;  // unsupported request, fatal, non-fatal, correctable

  logic [3:0] detected;
  assign detected[3] = errors_i.unsupported_posted || errors_i.unsupported_non_posted;
  assign detected[2] = malformed_i;
  assign detected[1] = errors_i.unsupported_posted || errors_i.poisoned;
  assign detected[0] = errors_i.unsupported_non_posted || errors_i.completer_abort || errors_i.unexpected_completion;

  logic [31:0] control_wdata, link_control_wdata;
  assign control_wdata      = ntb_pkg::merge({16'd0, control_q}, wdata_i, wmask_i) & ControlWritable;
  assign link_control_wdata = ntb_pkg::merge({16'd0, link_control_q}, wdata_i, wmask_i) & LinkControlWritable;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      control_q      <= ControlReset;
      link_control_q <= 16'd0;
      status_q       <= 4'd0;
    end else begin
      if (select_i && write_i && (offset_i == RegDeviceControl)) begin
        control_q <= control_wdata[15:0];
        status_q  <= (status_q & ~wdata_i[19:16]) | detected;
      end else begin
        status_q <= status_q | detected;
      end
      if (select_i && write_i && (offset_i == RegLinkControl)) link_control_q <= link_control_wdata[15:0];
    end
  end

  always_comb begin
    rdata_o = 32'd0;
    if (select_i) begin
      case (offset_i)
        RegCapabilities:        rdata_o = Capabilities;
        RegDeviceCapabilities:  rdata_o = DeviceCapabilities;
        RegDeviceControl:       rdata_o = {12'd0, status_q, control_q};
        RegLinkCapabilities:    rdata_o = LinkCapabilities;
        RegLinkControl:         rdata_o = {LinkStatus, link_control_q};
        RegDeviceCapabilities2: rdata_o = DeviceCapabilities2;
        RegLinkCapabilities2:   rdata_o = LinkCapabilities2;
        RegLinkControl2:        rdata_o = LinkControl2;
        default:                rdata_o = 32'd0;
      endcase
    end
  end

  assign max_payload_size_o = (control_q[7:5] > MaxPayloadSupported) ? MaxPayloadSupported : control_q[7:5];

  logic unused_bits;
  assign unused_bits = ^{control_wdata[31:16], link_control_wdata[31:16]};

endmodule
