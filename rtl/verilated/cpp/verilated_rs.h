// What one simulation has beside its Verilated model: its context, the text that it displayed and how it ended.
#ifndef VERILATED_RS_H_
#define VERILATED_RS_H_

#include <verilated.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace verilated_rs {

// Bits of every call's result.
constexpr uint32_t ENDED = 1;
constexpr uint32_t TEXT = 2;

// As `EndKind` in run/ffi.rs.
enum class Kind : uint32_t { FINISH = 1, STOP = 2, ASSERTION = 3, FATAL = 4 };

// Thrown by `vl_fatal`, whose callers do not expect to go on; caught before it would leave C++.
struct Abandoned {};

struct Sim {
    VerilatedContext context;
    uint32_t flags = 0;
    std::string text;
    // The last call of $display or $error: an assertion's message comes just before its stop.
    std::string last_print;

    Kind kind = Kind::FINISH;
    std::string file;
    uint32_t line = 0;
    std::string message;

    void print(const std::string& piece);
    void end(Kind why, const char* where, int at, const std::string& what);
    void stop(const char* where, int at);
};

// The simulation that this thread evaluates.
extern thread_local Sim* current;

inline void enter(Sim* sim) {
    if (VL_UNLIKELY(current != sim)) {
        current = sim;
        // Not on every call: it writes a global variable that other threads' calls write too.
        Verilated::threadContextp(&sim->context);
    }
}

}  // namespace verilated_rs

extern "C" {
struct VerilatedRsEnd {
    uint32_t kind;
    uint32_t line;
    const char* file;
    size_t file_len;
    const char* message;
    size_t message_len;
};
struct VerilatedRsText {
    const char* data;
    size_t len;
};
uint32_t verilated_rs_flags(const verilated_rs::Sim* sim);
void verilated_rs_end(const verilated_rs::Sim* sim, VerilatedRsEnd* end);
void verilated_rs_text(const verilated_rs::Sim* sim, VerilatedRsText* text);
void verilated_rs_clear_text(verilated_rs::Sim* sim);
}

#endif
