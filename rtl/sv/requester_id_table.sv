// Requester-ID table at BAR0 0x10000, as the NTB block of a Switchtec shows it (Linux drivers/pci/quirks.c
// quirk_switchtec_ntb_dma_alias, include/linux/switchtec.h): own partition 0, one peer, partition 1.
//
//   0x10001 (8 bits) own partition: 0    0x10004 endpoint map: 2    0x1601c (16 bits) entries
//   0x16400 + 4 * i   [31:16] requester ID, [8:1] proxy devfn, [0] enable
//
// The proxy devfn is the straps'; requester ID and enable are stored, as the NTB driver writes them, and have no
// effect: which entry a message is sent under is the policy's choice. Everything else reads 0.
module requester_id_table #(
    parameter int unsigned TABLE_SIZE = 512
) (
    input logic clk_i,
    input logic rst_ni,

    input ntb_pkg::straps_t straps_i,

    input  logic        select_i,
    input  logic        write_i,
    input  logic [15:2] offset_i,
    input  logic [31:0] wmask_i,  // bits to be written
    input  logic [31:0] wdata_i,  // 0 where not to be written
    output logic [31:0] rdata_o
);

  localparam logic [13:0] RegEndpointMap = 14'h0001;  // DW 0 holds only zeros
  localparam logic [13:0] RegSize        = 14'h1807;
  localparam logic [13:0] RegEntries     = 14'h1900;
  localparam int unsigned IndexBits      = ntb_pkg::index_bits(TABLE_SIZE);

  logic [ntb_pkg::MaxTableSize-1:0] written_q;  // since reset; the others are enabled, with requester ID 0
  logic [16:0]             entry_q[TABLE_SIZE];

  logic [13:0]          number;
  logic [8:0]           entry;
  logic [IndexBits-1:0] index;
  logic                 hit;
  assign number = offset_i - RegEntries;
  assign entry  = number[8:0];
  assign index  = number[IndexBits-1:0];
  assign hit    = select_i && (number < {4'd0, straps_i.table_size});

  logic [16:0] stored;
  logic [7:0]  devfn;
  logic [31:0] wdata;
  assign devfn  = straps_i.table_first_devfn + number[7:0];
  assign wdata  = ntb_pkg::merge(rdata_o, wdata_i, wmask_i);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) written_q <= '0;
    else if (hit && write_i) written_q[entry] <= 1'b1;
  end

  always_ff @(posedge clk_i) begin
    if (hit && write_i) entry_q[index] <= {wdata[31:16], wdata[0]};
  end

  always_comb begin
    rdata_o = 32'd0;
    stored  = 17'd0;
    if (select_i) begin
      if (hit) begin
        stored  = written_q[entry] ? entry_q[index] : 17'd1;
        rdata_o = {stored[16:1], 7'd0, devfn, stored[0]};
      end else if (offset_i == RegEndpointMap) begin
        rdata_o = 32'd2;
      end else if (offset_i == RegSize) begin
        rdata_o = {22'd0, straps_i.table_size};
      end
    end
  end

  logic unused_bits;
  assign unused_bits = ^{
    wdata[15:1], straps_i.vendor_id, straps_i.device_id, straps_i.class_code, straps_i.subsystem_vendor_id,
    straps_i.subsystem_id, straps_i.rid_mode, straps_i.rid_value
  };

endmodule
