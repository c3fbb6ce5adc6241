// Included before everything else, so that the run-time library prints here instead of to standard output.
#ifndef VERILATED_RS_PRINT_H_
#define VERILATED_RS_PRINT_H_

#ifdef __GNUC__
__attribute__((format(printf, 1, 2)))
#endif
int verilated_rs_printf(const char* format, ...);

#define VL_PRINTF verilated_rs_printf

#endif
