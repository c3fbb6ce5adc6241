#include "verilated_rs.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace verilated_rs {

thread_local Sim* current = nullptr;

void Sim::print(const std::string& piece) {
    text += piece;
    last_print = piece;
    flags |= TEXT;
}

// The first reason counts: what follows in the same evaluation is a consequence, or happens at the same time.
void Sim::end(Kind why, const char* where, int at, const std::string& what) {
    if (flags & ENDED) return;
    flags |= ENDED;
    kind = why;
    file = where ? where : "";
    line = at < 0 ? 0 : static_cast<uint32_t>(at);
    message = what;
}

// $stop, $error, $fatal and failed assertions all arrive here; all but $stop have said why just before.
void Sim::stop(const char* where, int at) {
    // The text has the file's name without its folder.
    std::string place = where ? where : "";
    place = place.substr(place.rfind('/') + 1) + ":" + std::to_string(at) + ": ";
    for (const auto& [prefix, why] :
         {std::pair{"%Error: ", Kind::ASSERTION}, std::pair{"%Fatal: ", Kind::FATAL}}) {
        const size_t pos = last_print.find(prefix + place);
        if (pos == std::string::npos) continue;
        std::string what = last_print.substr(pos + std::string{prefix}.size() + place.size());
        while (!what.empty() && what.back() == '\n') what.pop_back();
        end(why, where, at, what);
        return;
    }
    end(Kind::STOP, where, at, "");
}

}  // namespace verilated_rs

using verilated_rs::current;
using verilated_rs::Kind;

int verilated_rs_printf(const char* format, ...) {
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    const int len = std::vsnprintf(nullptr, 0, format, args);
    va_end(args);
    if (len > 0) {
        std::string piece(static_cast<size_t>(len), '\0');
        std::vsnprintf(&piece[0], piece.size() + 1, format, again);
        if (current) {
            current->print(piece);
        } else {
            std::fputs(piece.c_str(), stderr);
        }
    }
    va_end(again);
    return len;
}

void vl_finish(const char* file, int line, const char*) {
    Verilated::threadContextp()->gotFinish(true);
    if (current) current->end(Kind::FINISH, file, line, "");
}

void vl_stop(const char* file, int line, const char*) {
    Verilated::threadContextp()->gotError(true);
    Verilated::threadContextp()->gotFinish(true);
    if (current) current->stop(file, line);
}

void vl_fatal(const char* file, int line, const char*, const char* message) {
    if (!current) {
        std::fprintf(stderr, "%s:%d: %s\n", file, line, message);
        std::abort();
    }
    Verilated::threadContextp()->gotError(true);
    Verilated::threadContextp()->gotFinish(true);
    current->end(Kind::FATAL, file, line, message);
    throw verilated_rs::Abandoned{};
}

// Verilator's own also flushes every trace of the process, other threads' included.
void vl_warn(const char* file, int line, const char*, const char* message) {
    verilated_rs_printf("%%Warning: %s:%d: %s\n", file ? file : "", line, message);
}

extern "C" {
uint32_t verilated_rs_flags(const verilated_rs::Sim* sim) { return sim->flags; }
void verilated_rs_end(const verilated_rs::Sim* sim, VerilatedRsEnd* end) {
    *end = {static_cast<uint32_t>(sim->kind), sim->line,           sim->file.data(), sim->file.size(),
            sim->message.data(),              sim->message.size()};
}
void verilated_rs_text(const verilated_rs::Sim* sim, VerilatedRsText* text) {
    *text = {sim->text.data(), sim->text.size()};
}
void verilated_rs_clear_text(verilated_rs::Sim* sim) {
    sim->text.clear();
    sim->flags &= ~verilated_rs::TEXT;
}
}
