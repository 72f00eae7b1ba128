/* Loops over rows of common widths, with the width a constant where they are compiled: they unroll.

   `call` is a macro of one argument, the width; what it calls should be inlined. */
#ifndef POLYSKETCH_TENSOR_CONSTANT_WIDTH_H
#define POLYSKETCH_TENSOR_CONSTANT_WIDTH_H

#define WITH_CONSTANT_WIDTH(width, call)                                                                               \
    switch (width) {                                                                                                   \
    case 16: call(16); break;                                                                                          \
    case 32: call(32); break;                                                                                          \
    case 64: call(64); break;                                                                                          \
    default: call(width);                                                                                              \
    }

#endif
