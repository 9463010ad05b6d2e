/* TensorRT for crates/engines/src/tensorrt. See shim.h.
 *
 * The shim opens libnvinfer itself, of the major version that its headers had. Nothing but flumeway_tensorrt_abi, _major and _open may be called where no
 * CUDA driver answers: TensorRT 11.4 then hands out a wild pointer. Streams and device addresses are those of the driver interface, in the
 * device's primary context, which is current on the calling thread. */
#ifndef FLUMEWAY_TENSORRT_H
#define FLUMEWAY_TENSORRT_H

#include "shim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A model that is parsed and not yet built. */
struct flumeway_tensorrt_network;
/* A plan on a device. */
struct flumeway_tensorrt;
/* A place for one run at a time; calls on one come one after another. */
struct flumeway_tensorrt_context;

/* Sizes between which an input may be. */
struct flumeway_tensorrt_range {
    int64_t least[FLUMEWAY_DIMS_MAX];
    int64_t most[FLUMEWAY_DIMS_MAX];
};

/* A built plan: bytes that can be kept in a file. */
struct flumeway_tensorrt_plan {
    const void *at;
    size_t bytes;
    void *owner;
};

FLUMEWAY_SHIM uint32_t flumeway_tensorrt_abi(void);

/* Major version of the headers. */
FLUMEWAY_SHIM uint32_t flumeway_tensorrt_major(void);

/* Opens libnvinfer from `folder`, or where the loader finds it if the folder has none or is empty; once for the process. Writes its version,
 * major * 10000 + minor * 100 + patch. */
FLUMEWAY_SHIM int flumeway_tensorrt_open(const char *folder, int32_t *version, struct flumeway_text error);

/* Makes a runtime and gives it back: shows in a process of its own whether TensorRT works here. */
FLUMEWAY_SHIM int flumeway_tensorrt_try(struct flumeway_text error);

/* Reads an ONNX file and what it refers to. `reduced` allows shorter number formats than the model's. */
FLUMEWAY_SHIM int flumeway_tensorrt_parse(const char *path, uint32_t reduced, struct flumeway_tensorrt_network **network,
                                          struct flumeway_text error);
FLUMEWAY_SHIM void flumeway_tensorrt_network_free(struct flumeway_tensorrt_network *network);
FLUMEWAY_SHIM uint32_t flumeway_tensorrt_network_inputs(const struct flumeway_tensorrt_network *network);
FLUMEWAY_SHIM int flumeway_tensorrt_network_input(const struct flumeway_tensorrt_network *network, uint32_t index,
                                                  struct flumeway_tensor *tensor);
/* The model's name of an open dimension; empty if it has none. */
FLUMEWAY_SHIM int flumeway_tensorrt_network_dimension(const struct flumeway_tensorrt_network *network, uint32_t index, uint32_t axis,
                                                      struct flumeway_text name);
/* Takes minutes for a large model. One range for each input. */
FLUMEWAY_SHIM int flumeway_tensorrt_build(struct flumeway_tensorrt_network *network, const struct flumeway_tensorrt_range *ranges,
                                          struct flumeway_tensorrt_plan *plan, struct flumeway_text error);
FLUMEWAY_SHIM void flumeway_tensorrt_plan_free(struct flumeway_tensorrt_plan *plan);

FLUMEWAY_SHIM int flumeway_tensorrt_load(const void *plan, size_t plan_bytes, struct flumeway_tensorrt **engine,
                                         struct flumeway_text error);
/* After its contexts. */
FLUMEWAY_SHIM void flumeway_tensorrt_free(struct flumeway_tensorrt *engine);
FLUMEWAY_SHIM uint32_t flumeway_tensorrt_count(const struct flumeway_tensorrt *engine, uint32_t direction);
/* As built: open dimensions are -1. */
FLUMEWAY_SHIM int flumeway_tensorrt_tensor(const struct flumeway_tensorrt *engine, uint32_t direction, uint32_t index,
                                           struct flumeway_tensor *tensor);
FLUMEWAY_SHIM int flumeway_tensorrt_sizes(const struct flumeway_tensorrt *engine, uint32_t input,
                                          struct flumeway_tensorrt_range *range);

FLUMEWAY_SHIM int flumeway_tensorrt_context_new(struct flumeway_tensorrt *engine, struct flumeway_tensorrt_context **context,
                                            struct flumeway_text error);
FLUMEWAY_SHIM void flumeway_tensorrt_context_free(struct flumeway_tensorrt_context *context);
FLUMEWAY_SHIM int flumeway_tensorrt_shape(struct flumeway_tensorrt_context *context, uint32_t input, const int64_t *dims,
                                          struct flumeway_text error);
/* An output as it is with the shapes that were set. */
FLUMEWAY_SHIM int flumeway_tensorrt_output(const struct flumeway_tensorrt_context *context, uint32_t output,
                                           struct flumeway_tensor *tensor);
FLUMEWAY_SHIM int flumeway_tensorrt_bind(struct flumeway_tensorrt_context *context, uint32_t direction, uint32_t index,
                                         uint64_t device_address, struct flumeway_text error);
FLUMEWAY_SHIM int flumeway_tensorrt_enqueue(struct flumeway_tensorrt_context *context, void *stream, struct flumeway_text error);

#ifdef __cplusplus
}
#endif

#endif
