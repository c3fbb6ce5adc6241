// Message registers at BAR0 0x300: one memory write of four bytes with any address, data and requester ID, as a device
// on the other side of the bridge sends it.
//
//   0x300 address [31:2]   0x304 address [63:32]   0x308 data   0x30c requester ID   0x310 [0] write 1: send; busy
//
// While a message waits for its turn, further writes to these registers wait; while it is held because bus mastering is
// off, they are ignored.
module message_block (
    input logic clk_i,
    input logic rst_ni,

    input  logic        select_i,
    input  logic        write_i,
    input  logic [7:2]  offset_i,
    input  logic [31:0] wmask_i,  // bits to be written
    input  logic [31:0] wdata_i,  // 0 where not to be written
    output logic [31:0] rdata_o,
    output logic        stall_o,

    input logic bus_master_enable_i,

    output logic                valid_o,
    output ntb_pkg::msg_write_t message_o,
    input  logic                sent_i
);

  localparam logic [5:0] RegAddressLow  = 6'd0;
  localparam logic [5:0] RegAddressHigh = 6'd1;
  localparam logic [5:0] RegData        = 6'd2;
  localparam logic [5:0] RegRequesterId = 6'd3;
  localparam logic [5:0] RegSend        = 6'd4;

  logic [63:2] address_q;
  logic [31:0] data_q;
  logic [15:0] requester_id_q;
  logic        busy_q;

  always_comb begin
    rdata_o = 32'd0;
    if (select_i) begin
      case (offset_i)
        RegAddressLow:  rdata_o = {address_q[31:2], 2'd0};
        RegAddressHigh: rdata_o = address_q[63:32];
        RegData:        rdata_o = data_q;
        RegRequesterId: rdata_o = {16'd0, requester_id_q};
        RegSend:        rdata_o = {31'd0, busy_q};
        default:        rdata_o = 32'd0;
      endcase
    end
  end

  logic [31:0] wdata;
  assign wdata = ntb_pkg::merge(rdata_o, wdata_i, wmask_i);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      address_q      <= '0;
      data_q         <= 32'd0;
      requester_id_q <= 16'd0;
      busy_q         <= 1'b0;
    end else if (busy_q) begin
      busy_q <= !sent_i;
    end else if (select_i && write_i) begin
      case (offset_i)
        RegAddressLow:  address_q[31:2] <= wdata[31:2];
        RegAddressHigh: address_q[63:32] <= wdata;
        RegData:        data_q <= wdata;
        RegRequesterId: requester_id_q <= wdata[15:0];
        RegSend:        busy_q <= wdata[0];
        default:        ;
      endcase
    end
  end

  assign valid_o                = busy_q && bus_master_enable_i;
  assign stall_o                = select_i && valid_o;
  assign message_o.address      = {address_q, 2'd0};
  assign message_o.data         = data_q;
  assign message_o.requester_id = requester_id_q;

`ifndef SYNTHESIS
  SentIsValid_A: assert property (@(posedge clk_i) disable iff (!rst_ni) sent_i |-> valid_o)
  else $error("message_block: a message that nobody asked for");
`endif

endmodule
