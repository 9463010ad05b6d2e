/* Tries TensorRT in a process of its own: try_tensorrt SHIM FOLDER. Prints its version; or, with status 1, what is wrong. Where the
 * library crashes, the parent sees a signal and lives. */
#include <dlfcn.h>
#include <stdio.h>

#include "tensorrt.h"

int main(int count, char **arguments) {
    char message[4096] = "";
    const struct flumeway_text text = {message, sizeof message};
    int32_t version = 0;
    if (count != 3) {
        fprintf(stderr, "usage: try_tensorrt SHIM FOLDER\n");
        return 2;
    }
    void *shim = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (shim == NULL) {
        printf("%s\n", dlerror());
        return 1;
    }
    int (*open)(const char *, int32_t *, struct flumeway_text);
    int (*try_it)(struct flumeway_text);
    /* The way that POSIX gives to turn what dlsym returns into a function. */
    *(void **)&open = dlsym(shim, "flumeway_tensorrt_open");
    *(void **)&try_it = dlsym(shim, "flumeway_tensorrt_try");
    if (open == NULL || try_it == NULL) {
        printf("%s is no shim of Flumeway\n", arguments[1]);
        return 1;
    }
    if (open(arguments[2], &version, text) != FLUMEWAY_OK || try_it(text) != FLUMEWAY_OK) {
        printf("%s\n", message);
        return 1;
    }
    printf("%d\n", version);
    return 0;
}
