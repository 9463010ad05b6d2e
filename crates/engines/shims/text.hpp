// Messages and exceptions at the border between a shim and C.
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <string>

#include "shim.h"

namespace flumeway {

inline void put(flumeway_text text, const char *message) {
    if (text.at == nullptr || text.bytes == 0) {
        return;
    }
    const size_t length = std::min(std::strlen(message), text.bytes - 1);
    std::memcpy(text.at, message, length);
    text.at[length] = '\0';
}

// What a shim's own code reports.
struct Failure {
    flumeway_status status;
    std::string message;
};

// Runs `body`; whatever it throws becomes a status and a message. Nothing leaves this function but by return.
template <typename Body> int guarded(flumeway_text error, Body body) noexcept {
    try {
        body();
        return FLUMEWAY_OK;
    } catch (const Failure &failure) {
        put(error, failure.message.c_str());
        return failure.status;
    } catch (const std::exception &exception) {
        put(error, exception.what());
    } catch (...) {
        put(error, "an exception without a message");
    }
    return FLUMEWAY_FAILED;
}

inline void name_tensor(flumeway_tensor &tensor, const char *name) {
    put({tensor.name, sizeof tensor.name}, name);
}

} // namespace flumeway
