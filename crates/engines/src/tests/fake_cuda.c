/* A libcuda.so.1 without a device behind it, compiled by the tests: streams keep what they are given and do it when they are asked the second time
 * whether they have, or are waited for. So nothing is done before it would be on a device, and tests need no device. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef FAKE_INIT
#define FAKE_INIT 0
#endif
#ifndef FAKE_DEVICES
#define FAKE_DEVICES 1
#endif
#ifndef FAKE_INTEGRATED
#define FAKE_INTEGRATED 0
#endif
#ifndef FAKE_REGISTER
#define FAKE_REGISTER 0
#endif
#ifndef FAKE_CAPTURE
#define FAKE_CAPTURE 0
#endif
#define NOT_READY 600
#define MANY 64

struct work {
    int (*run)(void *);
    void *argument;
    void *to;
    const void *from;
    size_t bytes;
};
struct stream {
    struct work queue[MANY];
    int count;
    /* What is captured is not queued. */
    int capturing;
    struct graph *graph;
    int failed;
};
struct graph {
    struct work queue[MANY];
    int count;
};
struct event {
    struct stream *stream;
    int asked;
};

static _Thread_local void *current;

static int add(struct stream *stream, struct work work) {
    if (stream->capturing) {
        if (stream->graph->count == MANY) return 2;
        stream->graph->queue[stream->graph->count++] = work;
        return 0;
    }
    if (stream->count == MANY) return 2;
    stream->queue[stream->count++] = work;
    return 0;
}

static int drain(struct stream *stream) {
    int result = 0;
    for (int i = 0; i < stream->count; i++) {
        const struct work *work = &stream->queue[i];
        if (work->run != NULL) {
            const int code = work->run(work->argument);
            result = result != 0 ? result : code;
        } else if (work->bytes != 0) {
            memcpy(work->to, work->from, work->bytes);
        }
    }
    stream->count = 0;
    return result;
}

/* For the fake shim: a kernel. */
int fake_enqueue(void *stream, int (*run)(void *), void *argument) {
    const struct work work = {run, argument, NULL, NULL, 0};
    return add(stream, work);
}

int cuInit(unsigned flags) { return flags == 0 ? FAKE_INIT : 1; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = FAKE_DEVICES; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return index < FAKE_DEVICES ? 0 : 101; }
int cuDeviceGetName(char *name, int bytes, int device) { snprintf(name, (size_t)bytes, "Fake %d", device); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 18 ? FAKE_INTEGRATED : attribute == 75 ? 9 : attribute == 76 ? 0 : -1;
    return *value < 0;
}
int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) { return device < FAKE_DEVICES && flags == 4 ? 0 : 101; }
int cuDevicePrimaryCtxRetain(void **context, int device) { static int one[FAKE_DEVICES + 1]; *context = &one[device]; return 0; }
int cuCtxSetCurrent(void *context) { current = context; return 0; }
int cuGetErrorString(int code, const char **text) { *text = code == 100 ? "no device" : "fake"; return 0; }
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    if (current == NULL) return 201;
    *address = (uint64_t)(uintptr_t)aligned_alloc(256, (bytes + 255) / 256 * 256);
    return *address == 0 ? 2 : 0;
}
int cuMemFree_v2(uint64_t address) { free((void *)(uintptr_t)address); return 0; }
static int fill(void *argument) {
    const struct { uint64_t at; size_t bytes; } *what = argument;
    memset((void *)(uintptr_t)what->at, 0, what->bytes);
    free(argument);
    return 0;
}
int cuMemsetD8Async(uint64_t at, unsigned char value, size_t bytes, void *stream) {
    struct { uint64_t at; size_t bytes; } *what = malloc(sizeof *what);
    what->at = at;
    what->bytes = bytes;
    const struct work work = {fill, what, NULL, NULL, 0};
    return value != 0 || add(stream, work) != 0;
}
int cuMemHostRegister_v2(void *at, size_t bytes, unsigned flags) {
    (void)at;
    /* As devices do that cannot tell reading from writing. */
    if ((flags & 8) != 0) return 801;
    return bytes == 0 ? 1 : FAKE_REGISTER;
}
int cuMemHostGetDevicePointer_v2(uint64_t *address, void *at, unsigned flags) { *address = (uint64_t)(uintptr_t)at; return flags != 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    const struct work work = {NULL, NULL, (void *)(uintptr_t)to, from, bytes};
    return add(stream, work);
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    const struct work work = {NULL, NULL, to, (const void *)(uintptr_t)from, bytes};
    return add(stream, work);
}
int cuStreamCreate(void **stream, unsigned flags) {
    *stream = calloc(1, sizeof(struct stream));
    return current == NULL ? 201 : flags != 1;
}
int cuStreamSynchronize(void *stream) {
    struct stream *known = stream;
    const int code = drain(known), failed = known->failed;
    known->failed = 0;
    return code != 0 ? code : failed;
}
int cuStreamDestroy_v2(void *stream) {
    if (((struct stream *)stream)->count != 0) abort();
    free(stream);
    return 0;
}
int cuEventCreate(void **event, unsigned flags) { *event = calloc(1, sizeof(struct event)); return flags != 2; }
int cuEventRecord(void *event, void *stream) {
    struct event *known = event;
    known->stream = stream;
    known->asked = 0;
    return 0;
}
int cuEventQuery(void *event) {
    struct event *known = event;
    return known->asked++ == 0 ? NOT_READY : drain(known->stream);
}
int cuEventDestroy_v2(void *event) { free(event); return 0; }
int cuStreamBeginCapture_v2(void *stream, unsigned mode) {
    struct stream *known = stream;
    if (FAKE_CAPTURE != 0) return FAKE_CAPTURE;
    known->graph = calloc(1, sizeof(struct graph));
    known->capturing = 1;
    return mode != 1;
}
int cuStreamEndCapture(void *stream, void **graph) {
    struct stream *known = stream;
    known->capturing = 0;
    *graph = known->graph;
    known->graph = NULL;
    return 0;
}
int cuGraphInstantiateWithFlags(void **exec, void *graph, uint64_t flags) {
    *exec = malloc(sizeof(struct graph));
    memcpy(*exec, graph, sizeof(struct graph));
    return flags != 0;
}
int cuGraphLaunch(void *exec, void *stream) {
    const struct graph *graph = exec;
    int code = 0;
    for (int i = 0; i < graph->count && code == 0; i++) code = add(stream, graph->queue[i]);
    return code;
}
int cuGraphDestroy(void *graph) { free(graph); return 0; }
int cuGraphExecDestroy(void *exec) { free(exec); return 0; }
