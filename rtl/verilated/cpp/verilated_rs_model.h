// Drives one Verilated model. The generated file of each model defines `Top`, `Inputs`, `Outputs`, `set_inputs`,
// `set_clock`, `get_outputs` and VERILATED_RS_FST, and then includes this.
#ifndef VERILATED_RS_MODEL_H_
#define VERILATED_RS_MODEL_H_

#include "verilated_rs.h"

#if VERILATED_RS_FST
#include <verilated_fst_c.h>
#endif

#include <exception>
#include <memory>

// As `Vtable` in run/ffi.rs.
struct VerilatedRsVtable {
    size_t inputs_size;
    size_t outputs_size;
    verilated_rs::Sim* (*create)(int argc, const char* const* argv);
    void (*destroy)(verilated_rs::Sim* sim);
    uint32_t (*cycle)(verilated_rs::Sim* sim, uint64_t fall, uint64_t rise, const void* in, void* out);
    uint32_t (*eval)(verilated_rs::Sim* sim, uint64_t time, const void* in, void* out);
    uint32_t (*finish)(verilated_rs::Sim* sim);
    // Null where the model has no trace.
    bool (*trace_open)(verilated_rs::Sim* sim, const char* path);
    uint32_t (*trace_flush)(verilated_rs::Sim* sim);
    uint32_t (*trace_close)(verilated_rs::Sim* sim);
};

namespace {

struct Instance final : verilated_rs::Sim {
    std::unique_ptr<Top> top;
#if VERILATED_RS_FST
    std::unique_ptr<VerilatedFstC> fst;
    uint64_t last_dump = 0;
    bool dumped = false;
#endif

    void dump(uint64_t time) {
#if VERILATED_RS_FST
        if (!fst || !fst->isOpen() || (dumped && time <= last_dump)) return;
        fst->dump(time);
        last_dump = time;
        dumped = true;
#else
        (void)time;
#endif
    }

    bool ended() const { return flags & verilated_rs::ENDED; }
};

Instance& instance(verilated_rs::Sim* sim) { return *static_cast<Instance*>(sim); }

// No exception leaves C++.
template <class Body>
inline uint32_t guarded(verilated_rs::Sim* sim, Body&& body) {
    verilated_rs::enter(sim);
    try {
        body(instance(sim));
    } catch (const verilated_rs::Abandoned&) {
    } catch (const std::exception& e) {
        sim->end(verilated_rs::Kind::FATAL, "", 0, e.what());
    } catch (...) {
        sim->end(verilated_rs::Kind::FATAL, "", 0, "unknown C++ exception");
    }
    return sim->flags;
}

verilated_rs::Sim* rs_create(int argc, const char* const* argv) {
    Instance* const self = new Instance;
    guarded(self, [&](Instance& it) {
        it.context.commandArgs(argc, const_cast<const char**>(argv));
#if VERILATED_RS_FST
        it.context.traceEverOn(true);
#endif
        it.top = std::make_unique<Top>(&it.context, "");
    });
    return self;
}

void rs_destroy(verilated_rs::Sim* sim) {
    guarded(sim, [](Instance& it) {
#if VERILATED_RS_FST
        it.fst.reset();
#endif
        it.top.reset();
    });
    delete &instance(sim);
    verilated_rs::current = nullptr;
}

uint32_t rs_cycle(verilated_rs::Sim* sim, uint64_t fall, uint64_t rise, const void* in, void* out) {
    return guarded(sim, [&](Instance& it) {
        Top& top = *it.top;
        it.context.time(fall);
        set_clock(top, 0);
        set_inputs(top, *static_cast<const Inputs*>(in));
        top.eval();
        it.dump(fall);
        get_outputs(top, *static_cast<Outputs*>(out));
        if (VL_UNLIKELY(it.ended())) return;
        it.context.time(rise);
        set_clock(top, 1);
        top.eval();
        it.dump(rise);
    });
}

uint32_t rs_eval(verilated_rs::Sim* sim, uint64_t time, const void* in, void* out) {
    return guarded(sim, [&](Instance& it) {
        it.context.time(time);
        set_inputs(*it.top, *static_cast<const Inputs*>(in));
        it.top->eval();
        it.dump(time);
        get_outputs(*it.top, *static_cast<Outputs*>(out));
    });
}

uint32_t rs_finish(verilated_rs::Sim* sim) {
    return guarded(sim, [](Instance& it) { it.top->final(); });
}

#if VERILATED_RS_FST
bool rs_trace_open(verilated_rs::Sim* sim, const char* path) {
    guarded(sim, [&](Instance& it) {
        if (!it.fst) {
            it.fst = std::make_unique<VerilatedFstC>();
            it.top->trace(it.fst.get(), 99);
        }
        it.dumped = false;
        it.fst->open(path);
    });
    return instance(sim).fst && instance(sim).fst->isOpen();
}

uint32_t rs_trace_flush(verilated_rs::Sim* sim) {
    return guarded(sim, [](Instance& it) { it.fst->flush(); });
}

uint32_t rs_trace_close(verilated_rs::Sim* sim) {
    return guarded(sim, [](Instance& it) { it.fst->close(); });
}
#else
constexpr bool (*rs_trace_open)(verilated_rs::Sim*, const char*) = nullptr;
constexpr uint32_t (*rs_trace_flush)(verilated_rs::Sim*) = nullptr;
constexpr uint32_t (*rs_trace_close)(verilated_rs::Sim*) = nullptr;
#endif

}  // namespace

#define VERILATED_RS_DESIGN(symbol)                                                                        \
    extern "C" {                                                                                           \
    extern const VerilatedRsVtable symbol;                                                                 \
    const VerilatedRsVtable symbol = {sizeof(Inputs), sizeof(Outputs), rs_create,      rs_destroy,         \
                                      rs_cycle,       rs_eval,         rs_finish,      rs_trace_open,      \
                                      rs_trace_flush, rs_trace_close};                                     \
    }

#endif
