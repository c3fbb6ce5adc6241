// Under which requester ID the message of each vector is sent: BAR0 0x400 + 4 * vector.
//
//   [15:0] value   [17:16] mode: 0 own ID, 1 table entry `value`, 2 the ID `value`, 3 table entries in turn
//
// The ID of a table entry has the captured bus number and the entry's devfn. An entry that the table does not have
// stands for the own ID. Mode 3 has one pointer for all vectors, in the order of sending.
module requester_id_policy #(
    parameter int unsigned VECTORS = 64
) (
    input logic clk_i,
    input logic rst_ni,

    input ntb_pkg::straps_t straps_i,
    input logic [15:0]      own_id_i,

    input  logic        select_i,
    input  logic        write_i,
    input  logic [7:2]  offset_i,
    input  logic [31:0] wmask_i,  // bits to be written
    input  logic [31:0] wdata_i,  // 0 where not to be written
    output logic [31:0] rdata_o,

    input  logic [5:0]  vector_i,
    input  logic        sent_i,
    output logic [15:0] requester_id_o
);

  localparam int unsigned VectorBits = ntb_pkg::index_bits(VECTORS);

  // Written since reset; the others have the straps' policy
  logic [63:0] written_q;
  logic [17:0] policy_q[VECTORS];
  logic [8:0]  turn_q;

  logic [17:0] strapped;
  assign strapped = {straps_i.rid_mode, straps_i.rid_value};

  // Register access

  logic                  hit;
  logic [VectorBits-1:0] index;
  logic [31:0]           wdata;
  assign hit     = select_i && ({1'b0, offset_i} < 7'(VECTORS));
  assign index   = offset_i[VectorBits+1:2];
  assign wdata   = ntb_pkg::merge(rdata_o, wdata_i, wmask_i);

  always_comb begin
    rdata_o = 32'd0;
    if (hit) rdata_o = {14'd0, written_q[offset_i] ? policy_q[index] : strapped};
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) written_q <= 64'd0;
    else if (hit && write_i) written_q[offset_i] <= 1'b1;
  end

  always_ff @(posedge clk_i) begin
    if (hit && write_i) policy_q[index] <= wdata[17:0];
  end

  // The vector that is sent

  logic [17:0] policy;
  logic [1:0]  mode;
  logic [15:0] given, entry;
  assign policy = written_q[vector_i] ? policy_q[vector_i[VectorBits-1:0]] : strapped;
  assign mode   = policy[17:16];
  assign given  = policy[15:0];
  assign entry  = (mode == ntb_pkg::RidRoundRobin) ? {7'd0, turn_q} : given;

  always_comb begin
    requester_id_o = own_id_i;
    if (mode == ntb_pkg::RidGiven) requester_id_o = given;
    else if (((mode == ntb_pkg::RidTableEntry) || (mode == ntb_pkg::RidRoundRobin)) &&
             (entry < {6'd0, straps_i.table_size})) begin
      requester_id_o = {own_id_i[15:8], straps_i.table_first_devfn + entry[7:0]};
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) turn_q <= 9'd0;
    else if (sent_i && (mode == ntb_pkg::RidRoundRobin)) begin
      turn_q <= ({1'b0, turn_q} + 10'd1 < straps_i.table_size) ? turn_q + 9'd1 : 9'd0;
    end
  end

  logic unused_bits;
  assign unused_bits = ^{
    wdata[31:18], straps_i.vendor_id, straps_i.device_id, straps_i.class_code, straps_i.subsystem_vendor_id,
    straps_i.subsystem_id
  };

endmodule
