// What the modules of the NTB agree on.
package ntb_pkg;

  localparam logic [31:0] Identification = 32'h4e54_4231;  // "NTB1"
  localparam logic [31:0] Version        = 32'd1;

  localparam int unsigned MaxVectors   = 64;
  localparam int unsigned MaxTableSize = 512;
  localparam int unsigned MsiVectors   = 32;

  // BAR0 is 128 KiB: address bits [16:0] are the offset
  localparam int unsigned BarBits = 17;

  localparam logic [31:0] MsixTableOffset = 32'h0000_8000;
  localparam logic [31:0] MsixPbaOffset   = 32'h0000_9000;

  // How a vector's message gets its requester ID; 0: the own one
  localparam logic [1:0] RidTableEntry = 2'd1;
  localparam logic [1:0] RidGiven      = 2'd2;
  localparam logic [1:0] RidRoundRobin = 2'd3;

  // Constant while the device runs
  typedef struct packed {
    logic [15:0] vendor_id;
    logic [15:0] device_id;
    logic [23:0] class_code;
    logic [15:0] subsystem_vendor_id;
    logic [15:0] subsystem_id;
    logic [9:0]  table_size;         // entries of the requester-ID table, 0: no table
    logic [7:0]  table_first_devfn;  // entry i is devfn first + i, modulo 256
    logic [1:0]  rid_mode;           // policy of every vector after reset
    logic [15:0] rid_value;
  } straps_t;

  typedef enum logic [2:0] {
    RequestMemRead,
    RequestMemWrite,
    RequestConfigRead,
    RequestConfigWrite,
    RequestUnsupported,  // non-posted, and nothing that this device has
    RequestMessage,
    RequestCompletion
  } request_kind_e;

  // A well-formed TLP of which the first two payload DWs are kept
  typedef struct packed {
    request_kind_e kind;
    logic          locked;         // MRdLk, which is answered by CplLk
    logic          poisoned;
    logic          untranslated;   // AT is 0
    logic [2:0]    tc;
    logic [2:0]    attr;
    logic [15:0]   requester_id;
    logic [9:0]    tag;
    logic [9:0]    length;         // DWs, 0: 1024
    logic [3:0]    first_be;       // message: low half of the code
    logic [3:0]    last_be;        // message: high half of the code
    logic [63:0]   address;        // of a DW; configuration: target in [31:16], register in [11:2]
    logic [11:0]   byte_count;     // of the completion
    logic [6:0]    lower_address;  // of the completion
    logic [63:0]   data;
  } request_t;

  // A TLP to be sent: at most two payload DWs
  typedef struct packed {
    logic [127:0] hdr;
    logic [63:0]  data;
  } short_tlp_t;

  // A memory write of one DW to be sent
  typedef struct packed {
    logic [63:0] address;       // of a DW
    logic [31:0] data;
    logic [15:0] requester_id;
  } msg_write_t;

  // What went wrong with a TLP; at most one bit in a cycle, but for a poisoned configuration write
  typedef struct packed {
    logic unsupported_posted;
    logic unsupported_non_posted;
    logic completer_abort;
    logic unexpected_completion;
    logic poisoned;
  } request_errors_t;

  // Width of an index into `entries` elements, 1 to 512
  function automatic int unsigned index_bits(int unsigned entries);
    index_bits = 1;
    for (int i = 1; i < 9; i++) if (entries > (1 << i)) index_bits = i + 1;
  endfunction

  // `old` after a write of `wdata`, which is 0 where `wmask` is
  function automatic logic [31:0] merge(logic [31:0] old, logic [31:0] wdata, logic [31:0] wmask);
    merge = (old & ~wmask) | wdata;
  endfunction

endpackage
