// Arm NN behind the interface of armnn.h. Compiles with Arm NN 20.08 (Debian 12) and 23.08 (Debian 13).
#include "armnn.h"

#include <armnn/ArmNN.hpp>
#include <armnn/BackendRegistry.hpp>
#include <armnn/BackendOptions.hpp>
#include <armnn/Logging.hpp>
#include <armnn/MemorySources.hpp>
#include <armnnTfLiteParser/ITfLiteParser.hpp>

#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <type_traits>
#include <vector>

#include "text.hpp"

namespace {

using flumeway::Failure;
using flumeway::guarded;

// One runtime serves all networks: a runtime registers its backends in a table of the process that has no lock. It is never
// destroyed: in which order libraries end is not ours to say.
armnn::IRuntime &runtime() {
    static std::mutex mutex;
    static armnn::IRuntime *only = nullptr;
    const std::lock_guard<std::mutex> lock(mutex);
    if (only == nullptr) {
        armnn::ConfigureLogging(false, false, armnn::LogSeverity::Fatal);
        only = armnn::IRuntime::CreateRaw(armnn::IRuntime::CreationOptions());
    }
    return *only;
}

flumeway_element element_of(armnn::DataType type) {
    switch (type) {
    case armnn::DataType::Float32:
        return FLUMEWAY_F32;
    case armnn::DataType::Float16:
        return FLUMEWAY_F16;
    case armnn::DataType::QAsymmU8:
        return FLUMEWAY_U8;
    case armnn::DataType::QAsymmS8:
    case armnn::DataType::QSymmS8:
        return FLUMEWAY_I8;
    case armnn::DataType::Signed32:
        return FLUMEWAY_I32;
    case armnn::DataType::Boolean:
        return FLUMEWAY_BOOL;
    default:
        return FLUMEWAY_OTHER;
    }
}

// What releases differ in is asked of the headers rather than of their version: an overload that does not compile gives way to the next.

// Newer releases want to hear of a tensor that nobody writes.
template <typename Info> auto mark_constant(Info &info, bool constant, int) -> decltype(info.SetConstant(constant)) {
    info.SetConstant(constant);
}
template <typename Info> void mark_constant(Info &, bool, long) {}

#if ARMNN_MAJOR_VERSION >= 33
// Options as a class of its own, which newer releases keep.
armnn::OptimizerOptionsOpaque optimizer_options(const flumeway_armnn_options &options, bool in_place) {
    const armnn::ModelOptions models = {armnn::BackendOptions("CpuAcc", {{"NumberOfThreads", options.threads}})};
    return armnn::OptimizerOptionsOpaque(options.reduced != 0, false, false, armnn::ShapeInferenceMethod::ValidateOnly, in_place,
                                         models, in_place);
}
#else
template <typename Options> auto set_export(Options &options, bool in_place, int) -> decltype(options.m_ExportEnabled, void()) {
    options.m_ExportEnabled = in_place;
}
template <typename Options> void set_export(Options &, bool, long) {}

// The oldest cannot be told how many threads the CPU backend may have.
template <typename Options>
auto set_threads(Options &options, uint32_t threads, int) -> decltype(options.m_ModelOptions, void()) {
    options.m_ModelOptions.push_back(armnn::BackendOptions("CpuAcc", {{"NumberOfThreads", threads}}));
}
template <typename Options> void set_threads(Options &, uint32_t, long) {}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
armnn::OptimizerOptions optimizer_options(const flumeway_armnn_options &options, bool in_place) {
    armnn::OptimizerOptions wanted;
    wanted.m_ReduceFp32ToFp16 = options.reduced != 0;
    wanted.m_ImportEnabled = in_place;
    set_export(wanted, in_place, 0);
    set_threads(wanted, options.threads, 0);
    return wanted;
}
#pragma GCC diagnostic pop
#endif

template <typename Properties> Properties properties_of(bool in_place) {
    if constexpr (std::is_constructible_v<Properties, bool, armnn::MemorySource, armnn::MemorySource>) {
        const auto memory = in_place ? armnn::MemorySource::Malloc : armnn::MemorySource::Undefined;
        return Properties(false, memory, memory);
    } else {
        return Properties(in_place, in_place);
    }
}

struct Binding {
    std::string name;
    armnn::LayerBindingId layer;
    armnn::TensorInfo info;
};

std::vector<Binding> bindings(const armnnTfLiteParser::ITfLiteParser &parser, bool input) {
    const auto names = input ? parser.GetSubgraphInputTensorNames(0) : parser.GetSubgraphOutputTensorNames(0);
    std::vector<Binding> found;
    std::set<armnn::LayerBindingId> layers;
    for (const auto &name : names) {
        auto [layer, info] =
            input ? parser.GetNetworkInputBindingInfo(0, name) : parser.GetNetworkOutputBindingInfo(0, name);
        // Arm NN knows tensors by their names alone.
        if (!layers.insert(layer).second) {
            throw Failure{FLUMEWAY_UNSUPPORTED, "two tensors are both called \"" + name + "\""};
        }
        if (info.GetNumDimensions() > FLUMEWAY_DIMS_MAX) {
            throw Failure{FLUMEWAY_UNSUPPORTED, "tensor \"" + name + "\" has too many dimensions"};
        }
        mark_constant(info, input, 0);
        found.push_back({name, layer, info});
    }
    return found;
}

std::vector<armnn::BackendId> listed(const char *names) {
    std::vector<armnn::BackendId> backends;
    std::stringstream stream(names);
    for (std::string name; std::getline(stream, name, ',');) {
        backends.emplace_back(name);
    }
    return backends;
}

armnn::INetworkPtr parse(armnnTfLiteParser::ITfLiteParser &parser, const uint8_t *model, size_t bytes) {
    try {
        auto network = parser.CreateNetworkFromBinary(std::vector<uint8_t>(model, model + bytes));
        if (!network || parser.GetSubgraphCount() == 0) {
            throw Failure{FLUMEWAY_CORRUPT, "the parser found no network"};
        }
        return network;
    } catch (const armnn::Exception &exception) {
        const std::string what = exception.what();
        const bool lacks = what.find("upported") != std::string::npos || what.find("only support") != std::string::npos;
        throw Failure{lacks ? FLUMEWAY_UNSUPPORTED : FLUMEWAY_CORRUPT, what};
    }
}

armnn::IOptimizedNetworkPtr place(const armnn::INetwork &network, const flumeway_armnn_options &options, bool in_place) {
    const auto wanted = optimizer_options(options, in_place);
    std::vector<std::string> messages;
    const auto complain = [&messages](const std::string &what) {
        std::string all = what;
        for (const auto &message : messages) {
            all += "; " + message;
        }
        return Failure{FLUMEWAY_UNSUPPORTED, all};
    };
    try {
        auto placed = armnn::Optimize(network, listed(options.backends), runtime().GetDeviceSpec(), wanted,
                                      armnn::Optional<std::vector<std::string> &>(messages));
        if (!placed) {
            throw complain("no backend takes the network");
        }
        return placed;
    } catch (const armnn::Exception &exception) {
        throw complain(exception.what());
    }
}

armnn::NetworkId start(armnn::IOptimizedNetworkPtr placed, bool in_place) {
    const auto properties = properties_of<armnn::INetworkProperties>(in_place);
    armnn::NetworkId id = 0;
    std::string message;
    if (runtime().LoadNetwork(id, std::move(placed), message, properties) != armnn::Status::Success) {
        throw Failure{FLUMEWAY_FAILED, "the network does not load: " + message};
    }
    return id;
}

} // namespace

struct flumeway_armnn {
    std::vector<Binding> tensors[2];
    armnn::InputTensors inputs;
    armnn::OutputTensors outputs;
    armnn::NetworkId id = 0;
    bool loaded = false;
    bool in_place = false;

    flumeway_armnn() = default;
    flumeway_armnn(const flumeway_armnn &) = delete;
    flumeway_armnn &operator=(const flumeway_armnn &) = delete;

    ~flumeway_armnn() { unload(); }

    void load(const armnn::INetwork &network, const flumeway_armnn_options &options, bool wanted_in_place) {
        unload();
        id = start(place(network, options, wanted_in_place), wanted_in_place);
        loaded = true;
        in_place = wanted_in_place;
        run_on_zeros();
    }

    void unload() noexcept {
        try {
            if (loaded) {
                runtime().UnloadNetwork(id);
            }
        } catch (...) {
            // Its memory is lost then; there is nobody to tell.
        }
        loaded = false;
    }

    void run(const void *const *from, void *const *to) {
        // A tensor that lies where the last frame's lay is bound already.
        for (size_t i = 0; i < inputs.size(); i++) {
            if (inputs[i].second.GetMemoryArea() != from[i]) {
                inputs[i].second = armnn::ConstTensor(tensors[FLUMEWAY_INPUT][i].info, from[i]);
            }
        }
        for (size_t i = 0; i < outputs.size(); i++) {
            if (outputs[i].second.GetMemoryArea() != to[i]) {
                outputs[i].second = armnn::Tensor(tensors[FLUMEWAY_OUTPUT][i].info, to[i]);
            }
        }
        if (runtime().EnqueueWorkload(id, inputs, outputs) != armnn::Status::Success) {
            throw Failure{FLUMEWAY_FAILED, "the network does not run"};
        }
    }

    // Shows what a load does not: whether the backend takes memory from outside, and workloads that fail.
    void run_on_zeros() {
        // In words of eight bytes, so that every element type is aligned.
        std::vector<std::vector<uint64_t>> memory;
        std::vector<const void *> from;
        std::vector<void *> to;
        inputs.clear();
        outputs.clear();
        const auto reserve = [&memory](const Binding &binding) -> void * {
            memory.emplace_back(binding.info.GetNumBytes() / sizeof(uint64_t) + 1);
            return memory.back().data();
        };
        for (const auto &binding : tensors[FLUMEWAY_INPUT]) {
            from.push_back(reserve(binding));
            inputs.emplace_back(binding.layer, armnn::ConstTensor(binding.info, from.back()));
        }
        for (const auto &binding : tensors[FLUMEWAY_OUTPUT]) {
            to.push_back(reserve(binding));
            outputs.emplace_back(binding.layer, armnn::Tensor(binding.info, to.back()));
        }
        run(from.data(), to.data());
    }
};

extern "C" {

uint32_t flumeway_armnn_abi(void) { return FLUMEWAY_SHIM_ABI; }

const char *flumeway_armnn_version(void) { return ARMNN_VERSION; }

int flumeway_armnn_backends(flumeway_text names) {
    return guarded(names, [&] {
        std::string all;
        for (const auto &backend : runtime().GetDeviceSpec().GetSupportedBackends()) {
            all += (all.empty() ? "" : ",") + backend.Get();
        }
        flumeway::put(names, all.c_str());
    });
}

int flumeway_armnn_load(const uint8_t *model, size_t model_bytes, const flumeway_armnn_options *options,
                        flumeway_armnn **network, flumeway_text error) {
    return guarded(error, [&] {
        const auto parser = armnnTfLiteParser::ITfLiteParser::Create();
        const auto parsed = parse(*parser, model, model_bytes);
        auto made = std::make_unique<flumeway_armnn>();
        made->tensors[FLUMEWAY_INPUT] = bindings(*parser, true);
        made->tensors[FLUMEWAY_OUTPUT] = bindings(*parser, false);
        try {
            made->load(*parsed, *options, true);
        } catch (...) {
            // Backends and layers differ in whether they take memory from outside; what else is wrong shows again.
            made->load(*parsed, *options, false);
        }
        *network = made.release();
    });
}

void flumeway_armnn_free(flumeway_armnn *network) { delete network; }

uint32_t flumeway_armnn_count(const flumeway_armnn *network, uint32_t direction) {
    return direction > FLUMEWAY_OUTPUT ? 0 : static_cast<uint32_t>(network->tensors[direction].size());
}

int flumeway_armnn_tensor(const flumeway_armnn *network, uint32_t direction, uint32_t index, flumeway_tensor *tensor) {
    if (index >= flumeway_armnn_count(network, direction)) {
        return FLUMEWAY_FAILED;
    }
    const Binding &binding = network->tensors[direction][index];
    tensor->element = element_of(binding.info.GetDataType());
    tensor->rank = binding.info.GetNumDimensions();
    for (uint32_t axis = 0; axis < tensor->rank; axis++) {
        tensor->dims[axis] = binding.info.GetShape()[axis];
    }
    flumeway::name_tensor(*tensor, binding.name.c_str());
    return FLUMEWAY_OK;
}

uint32_t flumeway_armnn_in_place(const flumeway_armnn *network) { return network->in_place ? 1 : 0; }

int flumeway_armnn_run(flumeway_armnn *network, const void *const *inputs, void *const *outputs, flumeway_text error) {
    return guarded(error, [&] { network->run(inputs, outputs); });
}

} // extern "C"
