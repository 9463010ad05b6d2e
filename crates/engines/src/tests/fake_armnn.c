/* A shim that computes nothing, compiled by the tests: each definition makes it break one promise. */
#include "../../shims/armnn.h"

#include <stdio.h>
#include <string.h>

#ifndef FAKE_ABI
#define FAKE_ABI FLUMEWAY_SHIM_ABI
#endif
#ifndef FAKE_RANK
#define FAKE_RANK 2
#endif

#ifndef FAKE_IS_EMPTY
uint32_t flumeway_armnn_abi(void) { return FAKE_ABI; }
#endif

const char *flumeway_armnn_version(void) { return "fake"; }

int flumeway_armnn_backends(struct flumeway_text names) {
    snprintf(names.at, names.bytes, "CpuAcc,CpuRef");
    return FLUMEWAY_OK;
}

int flumeway_armnn_load(const uint8_t *model, size_t model_bytes, const struct flumeway_armnn_options *options,
                        struct flumeway_armnn **network, struct flumeway_text error) {
    static int somewhere;
    (void)error;
    if (model_bytes == 0 || model[4] != 'T' || strcmp(options->backends, "CpuAcc,CpuRef") != 0 || options->threads != 3) {
        return FLUMEWAY_FAILED;
    }
    *network = (struct flumeway_armnn *)&somewhere;
    return FLUMEWAY_OK;
}

void flumeway_armnn_free(struct flumeway_armnn *network) { (void)network; }

uint32_t flumeway_armnn_count(const struct flumeway_armnn *network, uint32_t direction) {
    (void)network;
    (void)direction;
    return 1;
}

int flumeway_armnn_tensor(const struct flumeway_armnn *network, uint32_t direction, uint32_t index, struct flumeway_tensor *tensor) {
    (void)network;
    tensor->element = direction == FLUMEWAY_INPUT ? FLUMEWAY_F32 : FLUMEWAY_I32;
    tensor->rank = FAKE_RANK;
    tensor->dims[0] = 1;
    tensor->dims[1] = 4;
    snprintf(tensor->name, sizeof tensor->name, "tensor%u", index);
    return FLUMEWAY_OK;
}

uint32_t flumeway_armnn_in_place(const struct flumeway_armnn *network) {
    (void)network;
    return 1;
}

#ifndef FAKE_LACKS_RUN
int flumeway_armnn_run(struct flumeway_armnn *network, const void *const *inputs, void *const *outputs, struct flumeway_text error) {
    const float *input = inputs[0];
    int32_t *output = outputs[0];
    (void)network;
    if (input[0] < 0) {
        snprintf(error.at, error.bytes, "the first number is negative");
        return FLUMEWAY_FAILED;
    }
    for (int i = 0; i < 4; i++) {
        output[i] = (int32_t)input[i] + 1;
    }
    return FLUMEWAY_OK;
}
#endif
