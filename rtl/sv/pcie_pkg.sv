// TLP layouts and rules of the PCI Express Base Specification 4.0, chapter 2.
package pcie_pkg;

  // Fmt (table 2-2); 3'b001, four DWs without data, is recognised by its bits
  localparam logic [2:0] Fmt3Dw     = 3'b000;
  localparam logic [2:0] Fmt3DwData = 3'b010;
  localparam logic [2:0] Fmt4DwData = 3'b011;

  // Type (table 2-3); Msg and MsgD have their routing in the low three bits
  localparam logic [4:0] TypeMem              = 5'b00000;
  localparam logic [4:0] TypeMemLocked        = 5'b00001;
  localparam logic [4:0] TypeIo               = 5'b00010;
  localparam logic [4:0] TypeConfig0          = 5'b00100;
  localparam logic [4:0] TypeConfig1          = 5'b00101;
  localparam logic [4:0] TypeCompletion       = 5'b01010;
  localparam logic [4:0] TypeCompletionLocked = 5'b01011;
  localparam logic [4:0] TypeFetchAdd         = 5'b01100;
  localparam logic [4:0] TypeSwap             = 5'b01101;
  localparam logic [4:0] TypeCompareSwap      = 5'b01110;
  localparam logic [1:0] TypeMessage          = 2'b10;
  localparam logic [2:0] MaxMessageRouting    = 3'd5;

  // Completion Status (table 2-34)
  localparam logic [2:0] StatusSuccessful         = 3'b000;
  localparam logic [2:0] StatusUnsupportedRequest = 3'b001;
  localparam logic [2:0] StatusCompleterAbort     = 3'b100;

  // Message codes (section 2.2.8)
  localparam logic [7:0] MessageUnlock            = 8'h00;
  localparam logic [7:0] MessageSetSlotPowerLimit = 8'h50;
  localparam logic [7:0] MessageVendorType1       = 8'h7f;

  // Header DW 0
  typedef struct packed {
    logic [2:0] fmt;
    logic [4:0] kind;
    logic       tag9;
    logic [2:0] tc;
    logic       tag8;
    logic       attr2;  // ID-based ordering
    logic       ln;
    logic       th;
    logic       td;
    logic       ep;
    logic [1:0] attr;   // relaxed ordering, no snoop
    logic [1:0] at;
    logic [9:0] length;
  } dw0_t;

  // Header DW 1 of a request
  typedef struct packed {
    logic [15:0] requester_id;
    logic [7:0]  tag;
    logic [3:0]  last_be;
    logic [3:0]  first_be;
  } request_dw1_t;

  // Header DWs 1 and 2 of a completion
  typedef struct packed {
    logic [15:0] completer_id;
    logic [2:0]  status;
    logic        bcm;
    logic [11:0] byte_count;
    logic [15:0] requester_id;
    logic [7:0]  tag;
    logic        reserved;
    logic [6:0]  lower_address;
  } completion_dw12_t;

  // One beat of a TLP stream. Header byte 0 (Fmt, Type) is hdr[127:120]; a header of three DWs leaves hdr[31:0] zero.
  // The header counts in the first beat only. Payload byte k of a beat is data[8*k +: 8]; a digest (TD) follows the
  // payload as one more DW, as on the wire.
  typedef struct packed {
    logic         sop;
    logic         eop;
    logic [127:0] hdr;
    logic [255:0] data;
  } beat_t;

  // Messages that are received and have no effect on an endpoint: Unlock, Set_Slot_Power_Limit, Vendor_Defined type 1,
  // and the Ignored Messages (2.2.8.4, 2.2.8.5, 2.2.8.6, 2.2.8.7). All others are unsupported here.
  function automatic logic message_is_discarded(logic [7:0] code);
    case (code)
      MessageUnlock, MessageSetSlotPowerLimit, MessageVendorType1: message_is_discarded = 1'b1;
      8'h40, 8'h41, 8'h43, 8'h44, 8'h45, 8'h47, 8'h48:             message_is_discarded = 1'b1;
      default:                                                     message_is_discarded = 1'b0;
    endcase
  endfunction

  // Byte enables of the first DW of a request of several DWs, where they must be contiguous (2.2.5)
  function automatic logic first_be_is_contiguous(logic [3:0] be);
    first_be_is_contiguous = (be == 4'b1111) || (be == 4'b1110) || (be == 4'b1100) || (be == 4'b1000);
  endfunction

  // The same of the last DW
  function automatic logic last_be_is_contiguous(logic [3:0] be);
    last_be_is_contiguous = (be == 4'b1111) || (be == 4'b0111) || (be == 4'b0011) || (be == 4'b0001);
  endfunction

  // Bytes below the first enabled one of a DW; 0 where none is enabled
  function automatic logic [1:0] leading_bytes(logic [3:0] be);
    casez (be)
      4'b??10: leading_bytes = 2'd1;
      4'b?100: leading_bytes = 2'd2;
      4'b1000: leading_bytes = 2'd3;
      default: leading_bytes = 2'd0;
    endcase
  endfunction

  // Bytes above the last enabled one of a DW; 3 where none is enabled, so that a read of nothing counts one byte
  function automatic logic [1:0] trailing_bytes(logic [3:0] be);
    casez (be)
      4'b1???: trailing_bytes = 2'd0;
      4'b01??: trailing_bytes = 2'd1;
      4'b001?: trailing_bytes = 2'd2;
      default: trailing_bytes = 2'd3;
    endcase
  endfunction

  // Byte Count of the completion of a memory read (table 2-38); 4096 is 0
  function automatic logic [11:0] read_byte_count(logic [9:0] length, logic [3:0] first_be, logic [3:0] last_be);
    logic [3:0] upper_be;
    upper_be = (length == 10'd1) ? first_be : last_be;
    read_byte_count = {length, 2'b00} - {10'd0, leading_bytes(first_be)} - {10'd0, trailing_bytes(upper_be)};
  endfunction

endpackage
