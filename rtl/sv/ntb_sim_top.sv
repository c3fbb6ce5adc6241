// `ntb_endpoint` for simulation: streams as plain ports, straps from plusargs.
//
//   +vendor_id= +device_id= +class_code= +subsystem_vendor_id= +subsystem_id= +table_first_devfn= +rid_mode=
//   +rid_value= in hexadecimal without 0x, and +table_size= in decimal
//
// A malformed or too large value ends the simulation.
module ntb_sim_top #(
    parameter int unsigned VENDOR_ID  = 32'h11f8,  // IDs: those of a Switchtec NTB
    parameter int unsigned DEVICE_ID  = 32'h8531,
    parameter int unsigned CLASS_CODE = 32'h06_8000,
    parameter int unsigned VECTORS    = 64,
    parameter int unsigned TABLE_SIZE = 512
) (
    input logic clk_i,
    /* verilator lint_off SYNCASYNCNET */  // resets flip-flops, and disables assertions at a clock edge
    input logic rst_ni,
    /* verilator lint_on SYNCASYNCNET */

    // Host to device
    input  logic         rx_valid_i,
    output logic         rx_ready_o,
    input  logic         rx_sop_i,
    input  logic         rx_eop_i,
    input  logic [127:0] rx_hdr_i,
    input  logic [255:0] rx_data_i,

    // Device to host
    output logic         tx_valid_o,
    input  logic         tx_ready_i,
    output logic         tx_sop_o,
    output logic         tx_eop_o,
    output logic [127:0] tx_hdr_o,
    output logic [255:0] tx_data_o,

    output logic idle_o
);

  if (VENDOR_ID > 32'hffff) begin : gen_vendor_id_out_of_range
    $error("ntb_sim_top: parameter VENDOR_ID is out of range: 0 to 0xffff");
  end
  if (DEVICE_ID > 32'hffff) begin : gen_device_id_out_of_range
    $error("ntb_sim_top: parameter DEVICE_ID is out of range: 0 to 0xffff");
  end
  if (CLASS_CODE > 32'hff_ffff) begin : gen_class_code_out_of_range
    $error("ntb_sim_top: parameter CLASS_CODE is out of range: 0 to 0xffffff");
  end

  // The value of an option, `otherwise` where it is not given
  function automatic logic [31:0] option(string name, int unsigned radix, logic [31:0] largest,
                                         logic [31:0] otherwise);
    string       text;
    logic [63:0] value;
    logic [7:0]  digit;
    logic        valid;
    value = {32'd0, otherwise};
    if ($value$plusargs({name, "=%s"}, text) != 0) begin
      value = 64'd0;
      valid = text.len() > 0;
      for (int i = 0; i < text.len(); i++) begin
        digit = text.getc(i);
        if (digit >= "0" && digit <= "9") digit = digit - "0";
        else if (digit >= "a" && digit <= "f") digit = digit - "a" + 8'd10;
        else if (digit >= "A" && digit <= "F") digit = digit - "A" + 8'd10;
        else digit = 8'hff;
        if (32'(digit) >= radix) valid = 1'b0;
        // Held once too large, so that no number of digits wraps around
        if (value <= {32'd0, largest}) value = value * 64'(radix) + 64'(digit);
      end
      if (!valid) $fatal(1, "plusarg +%s=%s is not a number to base %0d", name, text, radix);
      if (value > {32'd0, largest}) begin
        if (radix == 10) $fatal(1, "plusarg +%s=%s is out of range: 0 to %0d", name, text, largest);
        else $fatal(1, "plusarg +%s=%s is out of range: 0 to %0h", name, text, largest);
      end
    end
    return value[31:0];
  endfunction

  ntb_pkg::straps_t straps;

  initial begin
    straps.vendor_id           = 16'(option("vendor_id", 16, 32'hffff, VENDOR_ID));
    straps.device_id           = 16'(option("device_id", 16, 32'hffff, DEVICE_ID));
    straps.class_code          = 24'(option("class_code", 16, 32'hff_ffff, CLASS_CODE));
    straps.subsystem_vendor_id = 16'(option("subsystem_vendor_id", 16, 32'hffff, VENDOR_ID));
    straps.subsystem_id        = 16'(option("subsystem_id", 16, 32'hffff, DEVICE_ID));
    straps.table_size          = 10'(option("table_size", 10, TABLE_SIZE, 32'd0));
    straps.table_first_devfn   = 8'(option("table_first_devfn", 16, 32'hff, 32'd0));
    straps.rid_mode            = 2'(option("rid_mode", 16, 32'd3, 32'd0));
    straps.rid_value           = 16'(option("rid_value", 16, 32'hffff, 32'd0));
  end

  pcie_pkg::beat_t rx, tx;
  assign rx.sop  = rx_sop_i;
  assign rx.eop  = rx_eop_i;
  assign rx.hdr  = rx_hdr_i;
  assign rx.data = rx_data_i;

  assign tx_sop_o  = tx.sop;
  assign tx_eop_o  = tx.eop;
  assign tx_hdr_o  = tx.hdr;
  assign tx_data_o = tx.data;

  ntb_endpoint #(
      .VECTORS   (VECTORS),
      .TABLE_SIZE(TABLE_SIZE)
  ) u_ntb_endpoint (
      .clk_i,
      .rst_ni,
      .straps_i(straps),
      .rx_valid_i,
      .rx_ready_o,
      .rx_i    (rx),
      .tx_valid_o,
      .tx_ready_i,
      .tx_o    (tx),
      .idle_o
  );

endmodule
