// TensorRT behind the interface of tensorrt.h. Compiles with the headers of TensorRT 10 and 11.
#include "tensorrt.h"

#include <NvInfer.h>
#include <NvOnnxParser.h>
#include <dlfcn.h>

#include <memory>
#include <mutex>
#include <vector>

#include "text.hpp"

namespace {

using flumeway::Failure;
using flumeway::guarded;

// The last thing that went wrong: TensorRT returns nothing but false and null, and tells its logger why.
class Log : public nvinfer1::ILogger {
  public:
    void log(Severity severity, char const *message) noexcept override {
        if (severity > Severity::kERROR) {
            return;
        }
        try {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (text_.size() < kEnough) {
                text_ += (text_.empty() ? "" : "; ") + std::string(message);
            }
        } catch (...) {
            // Out of memory for a message.
        }
    }

    // As the library's functions want it.
    void *pointer() { return static_cast<nvinfer1::ILogger *>(this); }

    // Hands out what was said, or `otherwise`, and forgets it.
    std::string take(const char *otherwise) {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::string all = text_.empty() ? otherwise : text_;
        text_.clear();
        return all;
    }

  private:
    static constexpr size_t kEnough = 2000;
    std::mutex mutex_;
    std::string text_;
};

// TensorRT's functions that are not virtual. Opened once, and never closed: its threads would not stand that.
struct Library {
    using Create = void *(*)(void *, int32_t);
    using CreateParser = void *(*)(void *, void *, int);

    Create create_runtime = nullptr;
    Create create_builder = nullptr;
    CreateParser create_parser = nullptr;
    // Of the library, which may be newer than the headers; it is asked with its own number.
    int32_t version = 0;
    std::string parser_problem;
    // Operators that are plugins: some models want them, and not every installation has them.
    bool (*init_plugins)(void *, char const *) = nullptr;
};

Library library;
std::mutex library_mutex;
// Outlives every object of TensorRT's, as the registry of plugins does.
Log *const plugin_log = new Log;

void *open_library(const std::string &folder, const std::string &name, std::string &problem) {
    void *handle = folder.empty() ? nullptr : dlopen((folder + "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr && !folder.empty()) {
        problem = dlerror();
    }
    if (handle == nullptr) {
        handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) {
            problem += (problem.empty() ? "" : "; ") + std::string(dlerror());
        }
    }
    return handle;
}

template <typename Function> Function function(void *handle, const char *name) {
    void *found = handle == nullptr ? nullptr : dlsym(handle, name);
    return reinterpret_cast<Function>(found);
}

void open_all(const std::string &folder) {
    const std::lock_guard<std::mutex> lock(library_mutex);
    if (library.create_runtime != nullptr) {
        return;
    }
    const std::string suffix = ".so." + std::to_string(NV_TENSORRT_MAJOR);
    std::string problem;
    void *infer = open_library(folder, "libnvinfer" + suffix, problem);
    if (infer == nullptr) {
        throw Failure{FLUMEWAY_MISSING, "libnvinfer" + suffix + " cannot be opened: " + problem};
    }
    const auto version = function<int32_t (*)()>(infer, "getInferLibVersion");
    const auto create_runtime = function<Library::Create>(infer, "createInferRuntime_INTERNAL");
    if (version == nullptr || create_runtime == nullptr) {
        throw Failure{FLUMEWAY_MISSING, "libnvinfer" + suffix + " has no createInferRuntime_INTERNAL: it is not TensorRT's"};
    }
    library.version = version();
    library.create_builder = function<Library::Create>(infer, "createInferBuilder_INTERNAL");
    void *parser = open_library(folder, "libnvonnxparser" + suffix, library.parser_problem);
    library.create_parser = function<Library::CreateParser>(parser, "createNvOnnxParser_INTERNAL");
    std::string ignored;
    void *plugins = open_library(folder, "libnvinfer_plugin" + suffix, ignored);
    library.init_plugins = function<bool (*)(void *, char const *)>(plugins, "initLibNvInferPlugins");
    library.create_runtime = create_runtime;
}

void register_plugins() {
    static std::once_flag once;
    std::call_once(once, [] {
        if (library.init_plugins != nullptr) {
            library.init_plugins(plugin_log->pointer(), "");
        }
    });
}

template <typename Made> std::unique_ptr<Made> made(void *pointer, Log &log, const char *otherwise) {
    if (pointer == nullptr) {
        throw Failure{FLUMEWAY_FAILED, log.take(otherwise)};
    }
    return std::unique_ptr<Made>(static_cast<Made *>(pointer));
}

std::unique_ptr<nvinfer1::IRuntime> make_runtime(Log &log) {
    if (library.create_runtime == nullptr) {
        throw Failure{FLUMEWAY_FAILED, "libnvinfer is not open"};
    }
    return made<nvinfer1::IRuntime>(library.create_runtime(log.pointer(), library.version), log, "TensorRT makes no runtime");
}

flumeway_element element_of(nvinfer1::DataType type) {
    switch (type) {
    case nvinfer1::DataType::kFLOAT:
        return FLUMEWAY_F32;
    case nvinfer1::DataType::kHALF:
        return FLUMEWAY_F16;
    case nvinfer1::DataType::kUINT8:
        return FLUMEWAY_U8;
    case nvinfer1::DataType::kINT8:
        return FLUMEWAY_I8;
    case nvinfer1::DataType::kINT32:
        return FLUMEWAY_I32;
    case nvinfer1::DataType::kINT64:
        return FLUMEWAY_I64;
    case nvinfer1::DataType::kBOOL:
        return FLUMEWAY_BOOL;
    default:
        return FLUMEWAY_OTHER;
    }
}

int describe(flumeway_tensor &tensor, const char *name, nvinfer1::DataType type, const nvinfer1::Dims &dims) {
    if (dims.nbDims < 0 || dims.nbDims > FLUMEWAY_DIMS_MAX) {
        return FLUMEWAY_FAILED;
    }
    tensor.element = element_of(type);
    tensor.rank = static_cast<uint32_t>(dims.nbDims);
    std::copy(dims.d, dims.d + dims.nbDims, tensor.dims);
    flumeway::name_tensor(tensor, name);
    return FLUMEWAY_OK;
}

nvinfer1::Dims dims_of(int32_t rank, const int64_t *sizes) {
    nvinfer1::Dims dims{};
    dims.nbDims = rank;
    std::copy(sizes, sizes + rank, dims.d);
    return dims;
}

bool is_unsupported(nvonnxparser::ErrorCode code) {
    switch (code) {
    case nvonnxparser::ErrorCode::kUNSUPPORTED_GRAPH:
    case nvonnxparser::ErrorCode::kUNSUPPORTED_NODE:
    case nvonnxparser::ErrorCode::kUNSUPPORTED_NODE_ATTR:
    case nvonnxparser::ErrorCode::kUNSUPPORTED_NODE_INPUT:
    case nvonnxparser::ErrorCode::kUNSUPPORTED_NODE_DATATYPE:
    case nvonnxparser::ErrorCode::kUNSUPPORTED_NODE_DYNAMIC:
    case nvonnxparser::ErrorCode::kUNSUPPORTED_NODE_SHAPE:
        return true;
    default:
        return false;
    }
}

Failure parser_failure(const nvonnxparser::IParser &parser, Log &log) {
    std::string all;
    bool unsupported = false;
    for (int32_t i = 0; i < parser.getNbErrors(); i++) {
        const nvonnxparser::IParserError &error = *parser.getError(i);
        unsupported = unsupported || is_unsupported(error.code());
        all += (all.empty() ? "" : "; ") + std::string(error.desc());
        if (error.nodeOperator() != nullptr && *error.nodeOperator() != '\0') {
            all += " (" + std::string(error.nodeOperator()) + ")";
        }
    }
    return {unsupported ? FLUMEWAY_UNSUPPORTED : FLUMEWAY_CORRUPT, all.empty() ? log.take("the parser refuses it") : all};
}

} // namespace

// In the order in which they must outlive one another.
struct flumeway_tensorrt_network {
    Log log;
    bool reduced = false;
    std::unique_ptr<nvinfer1::IBuilder> builder;
    std::unique_ptr<nvinfer1::INetworkDefinition> network;
    std::unique_ptr<nvonnxparser::IParser> parser;
};

struct flumeway_tensorrt {
    Log log;
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    std::vector<std::string> names[2];
};

struct flumeway_tensorrt_context {
    flumeway_tensorrt *engine = nullptr;
    std::unique_ptr<nvinfer1::IExecutionContext> context;
};

namespace {

// Version 10 computes in the model's formats if it is told so when the network is made; later ones always do.
uint32_t creation_flags(bool reduced) {
#if NV_TENSORRT_MAJOR < 11
    return reduced ? 0 : 1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#else
    static_cast<void>(reduced);
    return 0;
#endif
}

void set_precision(nvinfer1::IBuilderConfig &config, const flumeway_tensorrt_network &network) {
    if (!network.reduced) {
        // On by default: f32 products with ten bits.
        config.clearFlag(nvinfer1::BuilderFlag::kTF32);
        return;
    }
#if NV_TENSORRT_MAJOR < 11
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    config.setFlag(nvinfer1::BuilderFlag::kFP16);
    for (int32_t i = 0; i < network.network->getNbLayers(); i++) {
        if (network.network->getLayer(i)->getType() == nvinfer1::LayerType::kQUANTIZE) {
            config.setFlag(nvinfer1::BuilderFlag::kINT8);
            break;
        }
    }
#pragma GCC diagnostic pop
#endif
}

void set_sizes(nvinfer1::IBuilderConfig &config, flumeway_tensorrt_network &network, const flumeway_tensorrt_range *ranges) {
    nvinfer1::IOptimizationProfile *profile = network.builder->createOptimizationProfile();
    for (int32_t i = 0; i < network.network->getNbInputs(); i++) {
        const nvinfer1::ITensor &input = *network.network->getInput(i);
        const int32_t rank = input.getDimensions().nbDims;
        const auto least = dims_of(rank, ranges[i].least), most = dims_of(rank, ranges[i].most);
        // Fastest for full batches, which are what a loaded pipeline submits.
        if (!profile->setDimensions(input.getName(), nvinfer1::OptProfileSelector::kMIN, least) ||
            !profile->setDimensions(input.getName(), nvinfer1::OptProfileSelector::kOPT, most) ||
            !profile->setDimensions(input.getName(), nvinfer1::OptProfileSelector::kMAX, most)) {
            throw Failure{FLUMEWAY_FAILED, network.log.take("the sizes of the inputs are refused")};
        }
    }
    if (config.addOptimizationProfile(profile) < 0) {
        throw Failure{FLUMEWAY_FAILED, network.log.take("the sizes of the inputs are refused")};
    }
}

const char *name_of(const flumeway_tensorrt &engine, uint32_t direction, uint32_t index) {
    if (direction > FLUMEWAY_OUTPUT || index >= engine.names[direction].size()) {
        throw Failure{FLUMEWAY_FAILED, "there is no such tensor"};
    }
    return engine.names[direction][index].c_str();
}

constexpr flumeway_text kNowhere = {nullptr, 0};

} // namespace

extern "C" {

uint32_t flumeway_tensorrt_abi(void) { return FLUMEWAY_SHIM_ABI; }

uint32_t flumeway_tensorrt_major(void) { return NV_TENSORRT_MAJOR; }

int flumeway_tensorrt_open(const char *folder, int32_t *version, flumeway_text error) {
    return guarded(error, [&] {
        open_all(folder);
        *version = library.version;
    });
}

int flumeway_tensorrt_try(flumeway_text error) {
    return guarded(error, [&] {
        Log log;
        make_runtime(log);
    });
}

int flumeway_tensorrt_parse(const char *path, uint32_t reduced, flumeway_tensorrt_network **network, flumeway_text error) {
    return guarded(error, [&] {
        if (library.create_builder == nullptr) {
            throw Failure{FLUMEWAY_MISSING, "this libnvinfer builds no plans (it is the lean or the dispatch one)"};
        }
        if (library.create_parser == nullptr) {
            throw Failure{FLUMEWAY_MISSING, "libnvonnxparser cannot be opened: " + library.parser_problem};
        }
        register_plugins();
        auto parsed = std::make_unique<flumeway_tensorrt_network>();
        Log &log = parsed->log;
        parsed->reduced = reduced != 0;
        parsed->builder = made<nvinfer1::IBuilder>(library.create_builder(log.pointer(), library.version), log, "there is no builder");
        parsed->network = made<nvinfer1::INetworkDefinition>(
            parsed->builder->createNetworkV2(creation_flags(parsed->reduced)), log, "there is no network");
        parsed->parser = made<nvonnxparser::IParser>(
            library.create_parser(parsed->network.get(), log.pointer(), NV_ONNX_PARSER_VERSION), log, "there is no parser");
        if (!parsed->parser->parseFromFile(path, static_cast<int>(nvinfer1::ILogger::Severity::kERROR))) {
            throw parser_failure(*parsed->parser, log);
        }
        *network = parsed.release();
    });
}

void flumeway_tensorrt_network_free(flumeway_tensorrt_network *network) { delete network; }

uint32_t flumeway_tensorrt_network_inputs(const flumeway_tensorrt_network *network) {
    return static_cast<uint32_t>(network->network->getNbInputs());
}

int flumeway_tensorrt_network_input(const flumeway_tensorrt_network *network, uint32_t index, flumeway_tensor *tensor) {
    const nvinfer1::ITensor *input = network->network->getInput(static_cast<int32_t>(index));
    return input == nullptr ? FLUMEWAY_FAILED : describe(*tensor, input->getName(), input->getType(), input->getDimensions());
}

int flumeway_tensorrt_network_dimension(const flumeway_tensorrt_network *network, uint32_t index, uint32_t axis,
                                        flumeway_text name) {
    const nvinfer1::ITensor *input = network->network->getInput(static_cast<int32_t>(index));
    const char *found = input == nullptr ? nullptr : input->getDimensionName(static_cast<int32_t>(axis));
    flumeway::put(name, found == nullptr ? "" : found);
    return FLUMEWAY_OK;
}

int flumeway_tensorrt_build(flumeway_tensorrt_network *network, const flumeway_tensorrt_range *ranges,
                            flumeway_tensorrt_plan *plan, flumeway_text error) {
    return guarded(error, [&] {
        const auto config =
            made<nvinfer1::IBuilderConfig>(network->builder->createBuilderConfig(), network->log, "there is no configuration");
        set_precision(*config, *network);
        set_sizes(*config, *network, ranges);
        nvinfer1::IHostMemory *memory = network->builder->buildSerializedNetwork(*network->network, *config);
        if (memory == nullptr) {
            throw Failure{FLUMEWAY_UNSUPPORTED, network->log.take("TensorRT builds no plan of it")};
        }
        *plan = {memory->data(), memory->size(), memory};
    });
}

void flumeway_tensorrt_plan_free(flumeway_tensorrt_plan *plan) {
    delete static_cast<nvinfer1::IHostMemory *>(plan->owner);
    *plan = {nullptr, 0, nullptr};
}

int flumeway_tensorrt_load(const void *plan, size_t plan_bytes, flumeway_tensorrt **engine, flumeway_text error) {
    return guarded(error, [&] {
        register_plugins();
        auto loaded = std::make_unique<flumeway_tensorrt>();
        loaded->runtime = make_runtime(loaded->log);
        loaded->engine = made<nvinfer1::ICudaEngine>(loaded->runtime->deserializeCudaEngine(plan, plan_bytes), loaded->log,
                                                     "the plan is damaged or of another version or device");
        for (int32_t i = 0; i < loaded->engine->getNbIOTensors(); i++) {
            const char *name = loaded->engine->getIOTensorName(i);
            if (loaded->engine->getTensorLocation(name) != nvinfer1::TensorLocation::kDEVICE) {
                throw Failure{FLUMEWAY_UNSUPPORTED, std::string("tensor \"") + name + "\" is a shape, which TensorRT keeps beside the device"};
            }
            const bool input = loaded->engine->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
            loaded->names[input ? FLUMEWAY_INPUT : FLUMEWAY_OUTPUT].emplace_back(name);
        }
        *engine = loaded.release();
    });
}

void flumeway_tensorrt_free(flumeway_tensorrt *engine) { delete engine; }

uint32_t flumeway_tensorrt_count(const flumeway_tensorrt *engine, uint32_t direction) {
    return direction > FLUMEWAY_OUTPUT ? 0 : static_cast<uint32_t>(engine->names[direction].size());
}

int flumeway_tensorrt_tensor(const flumeway_tensorrt *engine, uint32_t direction, uint32_t index, flumeway_tensor *tensor) {
    int status = FLUMEWAY_FAILED;
    const int named = guarded(kNowhere, [&] {
        const char *name = name_of(*engine, direction, index);
        status = describe(*tensor, name, engine->engine->getTensorDataType(name), engine->engine->getTensorShape(name));
    });
    return named == FLUMEWAY_OK ? status : named;
}

int flumeway_tensorrt_sizes(const flumeway_tensorrt *engine, uint32_t input, flumeway_tensorrt_range *range) {
    return guarded(kNowhere, [&] {
        const char *name = name_of(*engine, FLUMEWAY_INPUT, input);
        const auto least = engine->engine->getProfileShape(name, 0, nvinfer1::OptProfileSelector::kMIN);
        const auto most = engine->engine->getProfileShape(name, 0, nvinfer1::OptProfileSelector::kMAX);
        if (least.nbDims < 0 || least.nbDims > FLUMEWAY_DIMS_MAX || most.nbDims != least.nbDims) {
            throw Failure{FLUMEWAY_FAILED, "the plan has no sizes for an input"};
        }
        std::copy(least.d, least.d + least.nbDims, range->least);
        std::copy(most.d, most.d + most.nbDims, range->most);
    });
}

int flumeway_tensorrt_context_new(flumeway_tensorrt *engine, flumeway_tensorrt_context **context, flumeway_text error) {
    return guarded(error, [&] {
        auto created = std::make_unique<flumeway_tensorrt_context>();
        created->engine = engine;
        created->context = made<nvinfer1::IExecutionContext>(engine->engine->createExecutionContext(), engine->log,
                                                             "there is no execution context");
        *context = created.release();
    });
}

void flumeway_tensorrt_context_free(flumeway_tensorrt_context *context) { delete context; }

int flumeway_tensorrt_shape(flumeway_tensorrt_context *context, uint32_t input, const int64_t *dims, flumeway_text error) {
    return guarded(error, [&] {
        const char *name = name_of(*context->engine, FLUMEWAY_INPUT, input);
        const int32_t rank = context->engine->engine->getTensorShape(name).nbDims;
        if (rank < 0 || rank > FLUMEWAY_DIMS_MAX || !context->context->setInputShape(name, dims_of(rank, dims))) {
            throw Failure{FLUMEWAY_FAILED, context->engine->log.take("the shape is refused")};
        }
    });
}

int flumeway_tensorrt_output(const flumeway_tensorrt_context *context, uint32_t output, flumeway_tensor *tensor) {
    int status = FLUMEWAY_FAILED;
    const int named = guarded(kNowhere, [&] {
        const char *name = name_of(*context->engine, FLUMEWAY_OUTPUT, output);
        status = describe(*tensor, name, context->engine->engine->getTensorDataType(name), context->context->getTensorShape(name));
    });
    return named == FLUMEWAY_OK ? status : named;
}

int flumeway_tensorrt_bind(flumeway_tensorrt_context *context, uint32_t direction, uint32_t index, uint64_t device_address,
                           flumeway_text error) {
    return guarded(error, [&] {
        const char *name = name_of(*context->engine, direction, index);
        if (!context->context->setTensorAddress(name, reinterpret_cast<void *>(device_address))) {
            throw Failure{FLUMEWAY_FAILED, context->engine->log.take("the address is refused")};
        }
    });
}

int flumeway_tensorrt_enqueue(flumeway_tensorrt_context *context, void *stream, flumeway_text error) {
    return guarded(error, [&] {
        if (!context->context->enqueueV3(static_cast<cudaStream_t>(stream))) {
            throw Failure{FLUMEWAY_FAILED, context->engine->log.take("the run was not accepted")};
        }
    });
}

} // extern "C"
