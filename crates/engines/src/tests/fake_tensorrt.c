/* A TensorRT shim that computes y = 2 x + 1 in f32, [batch, 10], on the device of fake_cuda.c: compiled by the tests. A first number under -1000 makes
 * the run fail. With FAKE_INTEGERS there is a second output, x as i64. */
#include "../../shims/tensorrt.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 10
#define MAGIC 0x706c616e

#ifdef FAKE_INTEGERS
#define OUTPUTS 2
#else
#define OUTPUTS 1
#endif

struct plan {
    int64_t magic;
    int64_t most;
};
struct flumeway_tensorrt {
    struct plan plan;
};
struct flumeway_tensorrt_network {
    int unused;
};
struct flumeway_tensorrt_context {
    struct flumeway_tensorrt *engine;
    int64_t batch;
    uint64_t input;
    uint64_t outputs[2];
};

static int (*enqueue)(void *, int (*)(void *), void *);

uint32_t flumeway_tensorrt_abi(void) { return FLUMEWAY_SHIM_ABI; }
uint32_t flumeway_tensorrt_major(void) { return 10; }

int flumeway_tensorrt_open(const char *folder, int32_t *version, struct flumeway_text error) {
    char path[4096];
    snprintf(path, sizeof path, "%s/libcuda.so.1", folder);
    void *cuda = dlopen(path, RTLD_NOW);
    if (cuda == NULL) {
        snprintf(error.at, error.bytes, "%s", dlerror());
        return FLUMEWAY_MISSING;
    }
    *(void **)&enqueue = dlsym(cuda, "fake_enqueue");
    *version = 101601;
    return FLUMEWAY_OK;
}

int flumeway_tensorrt_try(struct flumeway_text error) {
    (void)error;
#ifdef FAKE_CRASH
    abort();
#else
    return FLUMEWAY_OK;
#endif
}

int flumeway_tensorrt_parse(const char *path, uint32_t reduced, struct flumeway_tensorrt_network **network, struct flumeway_text error) {
    (void)reduced;
    *network = malloc(sizeof **network);
    if (strstr(path, "refused") != NULL) {
        snprintf(error.at, error.bytes, "No importer registered for op: FluxCompensate");
        return FLUMEWAY_UNSUPPORTED;
    }
    return FLUMEWAY_OK;
}
void flumeway_tensorrt_network_free(struct flumeway_tensorrt_network *network) { free(network); }
uint32_t flumeway_tensorrt_network_inputs(const struct flumeway_tensorrt_network *network) { return network != NULL; }

static int describe(struct flumeway_tensor *tensor, const char *name, uint32_t element, int64_t batch) {
    tensor->element = element;
    tensor->rank = 2;
    tensor->dims[0] = batch;
    tensor->dims[1] = WIDTH;
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    return FLUMEWAY_OK;
}

int flumeway_tensorrt_network_input(const struct flumeway_tensorrt_network *network, uint32_t index, struct flumeway_tensor *tensor) {
    (void)network;
    (void)index;
    return describe(tensor, "x", FLUMEWAY_F32, -1);
}
int flumeway_tensorrt_network_dimension(const struct flumeway_tensorrt_network *network, uint32_t index, uint32_t axis, struct flumeway_text name) {
    (void)network;
    snprintf(name.at, name.bytes, "dimension%u.%u", index, axis);
    return FLUMEWAY_OK;
}
int flumeway_tensorrt_build(struct flumeway_tensorrt_network *network, const struct flumeway_tensorrt_range *ranges,
                            struct flumeway_tensorrt_plan *plan, struct flumeway_text error) {
    struct plan *made = malloc(sizeof *made);
    (void)network;
    (void)error;
    made->magic = MAGIC;
    made->most = ranges[0].most[0];
    plan->at = made;
    plan->bytes = sizeof *made;
    plan->owner = made;
    return ranges[0].least[0] == 1 && ranges[0].least[1] == WIDTH ? FLUMEWAY_OK : FLUMEWAY_FAILED;
}
void flumeway_tensorrt_plan_free(struct flumeway_tensorrt_plan *plan) { free(plan->owner); }

int flumeway_tensorrt_load(const void *plan, size_t plan_bytes, struct flumeway_tensorrt **engine, struct flumeway_text error) {
    *engine = malloc(sizeof **engine);
    if (plan_bytes != sizeof(struct plan) || ((const struct plan *)plan)->magic != MAGIC) {
        snprintf(error.at, error.bytes, "the plan is damaged");
        return FLUMEWAY_FAILED;
    }
    memcpy(&(*engine)->plan, plan, plan_bytes);
    return FLUMEWAY_OK;
}
void flumeway_tensorrt_free(struct flumeway_tensorrt *engine) { free(engine); }
uint32_t flumeway_tensorrt_count(const struct flumeway_tensorrt *engine, uint32_t direction) {
    (void)engine;
    return direction == FLUMEWAY_INPUT ? 1 : OUTPUTS;
}
int flumeway_tensorrt_tensor(const struct flumeway_tensorrt *engine, uint32_t direction, uint32_t index, struct flumeway_tensor *tensor) {
    (void)engine;
    return describe(tensor, direction == FLUMEWAY_INPUT ? "x" : index == 0 ? "y" : "z", index == 0 ? FLUMEWAY_F32 : FLUMEWAY_I64, -1);
}
int flumeway_tensorrt_sizes(const struct flumeway_tensorrt *engine, uint32_t input, struct flumeway_tensorrt_range *range) {
    range->least[0] = 1;
    range->most[0] = engine->plan.most;
    range->least[1] = range->most[1] = WIDTH;
    return input == 0 ? FLUMEWAY_OK : FLUMEWAY_FAILED;
}

int flumeway_tensorrt_context_new(struct flumeway_tensorrt *engine, struct flumeway_tensorrt_context **context, struct flumeway_text error) {
    (void)error;
    *context = calloc(1, sizeof **context);
    (*context)->engine = engine;
    return FLUMEWAY_OK;
}
void flumeway_tensorrt_context_free(struct flumeway_tensorrt_context *context) { free(context); }
int flumeway_tensorrt_shape(struct flumeway_tensorrt_context *context, uint32_t input, const int64_t *dims, struct flumeway_text error) {
    context->batch = dims[0];
    snprintf(error.at, error.bytes, "batch %d", (int)dims[0]);
    return input == 0 && dims[0] <= context->engine->plan.most && dims[1] == WIDTH ? FLUMEWAY_OK : FLUMEWAY_FAILED;
}
int flumeway_tensorrt_output(const struct flumeway_tensorrt_context *context, uint32_t output, struct flumeway_tensor *tensor) {
    return describe(tensor, output == 0 ? "y" : "z", output == 0 ? FLUMEWAY_F32 : FLUMEWAY_I64, context->batch);
}
int flumeway_tensorrt_bind(struct flumeway_tensorrt_context *context, uint32_t direction, uint32_t index, uint64_t device_address,
                           struct flumeway_text error) {
    snprintf(error.at, error.bytes, "address %llx", (unsigned long long)device_address);
    if (device_address == 0 || device_address % 256 != 0) return FLUMEWAY_FAILED;
    *(direction == FLUMEWAY_INPUT ? &context->input : &context->outputs[index]) = device_address;
    return FLUMEWAY_OK;
}

/* Shapes and addresses are those of when it was enqueued. */
struct run {
    struct flumeway_tensorrt_context context;
};
static int compute(void *argument) {
    const struct flumeway_tensorrt_context *context = &((const struct run *)argument)->context;
    const float *x = (const float *)(uintptr_t)context->input;
    float *y = (float *)(uintptr_t)context->outputs[0];
    if (x[0] < -1000) return 700;
    for (int64_t i = 0; i < context->batch * WIDTH; i++) {
        y[i] = 2 * x[i] + 1;
#ifdef FAKE_INTEGERS
        ((int64_t *)(uintptr_t)context->outputs[1])[i] = (int64_t)x[i];
#endif
    }
    return 0;
}
int flumeway_tensorrt_enqueue(struct flumeway_tensorrt_context *context, void *stream, struct flumeway_text error) {
    /* Never given back: a graph may run it again. */
    struct run *run = malloc(sizeof *run);
    run->context = *context;
    snprintf(error.at, error.bytes, "no room");
    return enqueue(stream, compute, run) == 0 ? FLUMEWAY_OK : FLUMEWAY_FAILED;
}
