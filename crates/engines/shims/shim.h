/* What the shims and crates/engines agree on.
 *
 * The libraries behind them have C++ interfaces that differ between releases: a shim is compiled on the machine that has the library's headers, and
 * flumeway-infer opens it when it runs. Every function is plain C, throws nothing, and reports by status and text. Whoever
 * changes anything here raises FLUMEWAY_SHIM_ABI; src/shim/ffi.rs has the same layout and refuses another number. */
#ifndef FLUMEWAY_SHIM_H
#define FLUMEWAY_SHIM_H

#include <stddef.h>
#include <stdint.h>

#define FLUMEWAY_SHIM_ABI 1u

/* Of all that is in a shim, only its functions are seen from outside. */
#define FLUMEWAY_SHIM __attribute__((visibility("default")))

/* Most dimensions of a tensor, and most bytes of a name with its final zero. */
#define FLUMEWAY_DIMS_MAX 8
#define FLUMEWAY_NAME_BYTES 256

enum flumeway_status {
    FLUMEWAY_OK = 0,
    /* The library failed. */
    FLUMEWAY_FAILED = 1,
    /* The model is damaged. */
    FLUMEWAY_CORRUPT = 2,
    /* The model is well formed and needs what the library or the device lacks. */
    FLUMEWAY_UNSUPPORTED = 3,
    /* The library, or what it needs of the machine, is not there. */
    FLUMEWAY_MISSING = 4
};

enum flumeway_element {
    FLUMEWAY_F32 = 0,
    FLUMEWAY_F16 = 1,
    FLUMEWAY_U8 = 2,
    FLUMEWAY_I8 = 3,
    FLUMEWAY_I32 = 4,
    FLUMEWAY_I64 = 5,
    FLUMEWAY_BOOL = 6,
    FLUMEWAY_OTHER = 7
};

/* Direction of a tensor. */
enum flumeway_direction { FLUMEWAY_INPUT = 0, FLUMEWAY_OUTPUT = 1 };

/* A dimension of -1 is open. */
struct flumeway_tensor {
    uint32_t element;
    uint32_t rank;
    int64_t dims[FLUMEWAY_DIMS_MAX];
    char name[FLUMEWAY_NAME_BYTES];
};

/* Room for a message, which is cut to fit and always ends with a zero. */
struct flumeway_text {
    char *at;
    size_t bytes;
};

#endif
