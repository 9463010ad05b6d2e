/* Arm NN for crates/engines/src/armnn. See shim.h. */
#ifndef FLUMEWAY_ARMNN_H
#define FLUMEWAY_ARMNN_H

#include "shim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A network that is loaded on a device. Calls on one network come one after another, from any thread. */
struct flumeway_armnn;

struct flumeway_armnn_options {
    /* Backends in the order of preference, with commas between them: "CpuAcc,CpuRef". */
    const char *backends;
    uint32_t threads;
    /* Compute in 16 bits where the backend can. */
    uint32_t reduced;
};

FLUMEWAY_SHIM uint32_t flumeway_armnn_abi(void);

/* Arm NN's own version. */
FLUMEWAY_SHIM const char *flumeway_armnn_version(void);

/* Names of the backends here, with commas between them. */
FLUMEWAY_SHIM int flumeway_armnn_backends(struct flumeway_text names);

/* Parses a TensorFlow Lite file, places it on the first backends that can, and runs it once on zeros. The bytes are not used afterwards. */
FLUMEWAY_SHIM int flumeway_armnn_load(const uint8_t *model, size_t model_bytes, const struct flumeway_armnn_options *options,
                        struct flumeway_armnn **network, struct flumeway_text error);

FLUMEWAY_SHIM void flumeway_armnn_free(struct flumeway_armnn *network);

/* How many tensors there are in a direction, and what one is like. */
FLUMEWAY_SHIM uint32_t flumeway_armnn_count(const struct flumeway_armnn *network, uint32_t direction);
FLUMEWAY_SHIM int flumeway_armnn_tensor(const struct flumeway_armnn *network, uint32_t direction, uint32_t index,
                          struct flumeway_tensor *tensor);

/* 1 where the device reads inputs and writes outputs in place, 0 where Arm NN copies them. */
FLUMEWAY_SHIM uint32_t flumeway_armnn_in_place(const struct flumeway_armnn *network);

/* Computes one frame. As many addresses as there are tensors, each of a whole tensor. */
FLUMEWAY_SHIM int flumeway_armnn_run(struct flumeway_armnn *network, const void *const *inputs, void *const *outputs,
                       struct flumeway_text error);

#ifdef __cplusplus
}
#endif

#endif
