# The two commands: `make demo` and `make test`. Everything else serves them.

CARGO ?= cargo
TARGET ?= $(or $(CARGO_TARGET_DIR),target)
STAGES := rx-gateway preprocess infer tx

# DPDK is built in where its development files are, and libclang, which reads its headers (where bindgen looks for it): looked for
# when they are needed, after `make deps`. `make build DPDK=` leaves it out.
LIBCLANG_FOLDERS = $(LIBCLANG_PATH) $(shell llvm-config --libdir 2>/dev/null) /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu* /usr/lib64/llvm \
	/usr/lib64 /usr/lib /usr/local/llvm*/lib /usr/local/lib64 /usr/local/lib
LIBCLANG = $(filter %.so,$(LIBCLANG_PATH)) $(wildcard $(foreach d,$(LIBCLANG_FOLDERS),$(d)/libclang.so* $(d)/libclang-[0-9]*.so*))
DPDK ?= $(if $(LIBCLANG),$(shell pkg-config --exists libdpdk 2>/dev/null && echo yes))
DPDK_STAGES = $(if $(DPDK),rx-gateway/dpdk tx/dpdk)
DPDK_TESTS = $(if $(DPDK),$(DPDK_STAGES) ports/dpdk integration-tests/dpdk)
WITH_DPDK_STAGES = $(if $(DPDK_STAGES),--features "$(DPDK_STAGES)")
WITH_DPDK = $(if $(DPDK_TESTS),--features "$(DPDK_TESTS)")
KILL_FEATURES = $(foreach s,$(STAGES),$(s)/killpoints) $(DPDK_STAGES)

.PHONY: help all demo engines test build kill-builds unit lint deny deps bench-baseline bench-ring bench-xdp bench-dpdk bench-engines deps-run clean fuzz \
	test-vm test-gpu vm-kernel bpf proof threads loom shuttle sanitize asan valgrind killstep soak seeded-bugs miri

help:
	@echo "make demo            build, run the demonstration: frames over UDP, kill -9 of a stage halfway"
	@echo "make all             build everything, DPDK too where it and libclang are found (make all DPDK= leaves it out)"
	@echo "make test            everything: lints, unit tests, tests through the real binaries"
	@echo "make test-vm         DPDK on PCI devices in a virtual machine, by software emulation (as root)"
	@echo "make test-gpu        TensorRT on a real device (a machine with an NVIDIA GPU, its driver and TensorRT)"
	@echo "make bench-baseline  Flumeway against a synchronous one-process server"
	@echo "make loom, shuttle   the ring's scenarios under two model checkers (LOOM_MAX_PREEMPTIONS=6, PROOF_RUNS=20000)"
	@echo "make threads         the same on plain threads; make sanitize: under AddressSanitizer and valgrind; make miri"
	@echo "make seeded-bugs     plants bugs and shows that the proofs find them (ALL=1: tries every tool on every bug)"
	@echo "make killstep        SIGKILL after every machine instruction of the ring protocol (KILLSTEP_BUDGET_S=90)"
	@echo "make soak            live stages killed at random, everything accounted for (SECONDS=60, SOAK_SEED=n)"
	@echo "make bench-ring      the ring's hop against a bare cache line, rte_ring, iceoryx2, sockets; micro-benchmarks"
	@echo "make bench-xdp       the pipeline on AF_XDP against bare AF_XDP and UDP, on veth pairs (as root)"
	@echo "make bench-dpdk      rx-gateway on DPDK against dpdk-testpmd, its restart, copies, net_null (as root)"
	@echo "make bench-engines   preprocessing against fast_image_resize and libjpeg-turbo, engine calls, the pipeline around them, two"
	@echo "                     instances (PARTS=\"preprocess jpeg call pipeline instances\": some of it)"
	@echo "make fuzz            the checks of what comes from outside, under libFuzzer and AddressSanitizer (SECONDS=60 each)"
	@echo "make engines         fetches the libraries of ONNX Runtime and OpenVINO into the target folder (versions pinned); compiles the"
	@echo "                     shims of Arm NN and TensorRT where their headers are"
	@echo "make bpf             builds the XDP program anew (its object is committed)"
	@echo "make deps            install what Debian packages supply (says what, where it may not)"

demo: deps-run build
	$(TARGET)/release/flumeway demo

all: deps-run build

# All binaries that users run.
build:
	$(CARGO) build --release --workspace --bins $(WITH_DPDK_STAGES)

# The stages with named kill points, kept apart from everything else.
kill-builds:
	$(CARGO) build $(foreach s,$(STAGES),-p $(s)) --features "$(KILL_FEATURES)"
	mkdir -p $(TARGET)/kill-points
	for s in $(STAGES); do cp -f $(TARGET)/debug/flumeway-$$s $(TARGET)/kill-points/; done

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(if $(WITH_DPDK),$(CARGO) clippy -p dpdk-sys -p ports -p rx-gateway -p tx -p integration-tests --all-targets $(WITH_DPDK) -- -D warnings)
	$(if $(WITH_DPDK),$(CARGO) clippy -p ports -p integration-tests --test vm --test dpdk_flow --features "ports/dpdk integration-tests/dpdk" -- -D warnings)
	$(CARGO) clippy -p arena --all-targets --features simulated-death,seeded-bugs -- -D warnings
	$(CARGO) clippy -p benches --all-targets --features peers -- -D warnings
	$(CARGO) clippy -p integration-tests --bin bench-engines --features bench-engines -- -D warnings

# What the tests of DPDK need, 2 MiB each. More than there are is never taken away; as anybody but root, they say what is missing.
HUGEPAGES ?= 1024
PAGES := /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
RESERVE_HUGEPAGES = [ "$$(id -u)" != 0 ] || [ ! -e $(PAGES) ] || [ "$$(cat $(PAGES))" -ge $(HUGEPAGES) ] || \
	echo $(HUGEPAGES) > $(PAGES) || true

# Licences, sources and banned crates. The advisory database needs a network that CI does not have: `cargo deny check` at home.
deny:
	@test -x $(TARGET)/tools/bin/cargo-deny || $(CARGO) install --quiet --locked --root $(TARGET)/tools cargo-deny@0.20.2
	$(TARGET)/tools/bin/cargo-deny check bans licenses sources

test: deps engines lint build kill-builds deny
	@rm -rf $(TARGET)/reports
	@$(RESERVE_HUGEPAGES)
	$(CARGO) test --workspace --no-fail-fast $(WITH_DPDK)
	@cat $(TARGET)/reports/*
	$(MAKE) test-vm
	$(MAKE) proof LOOM_MAX_PREEMPTIONS=5 PROOF_RUNS=5000 KILLSTEP_BUDGET_S=60 SECONDS=10

# The test machine's kernel, from Debian's archive; kept in the target folder as long as it is the newest.
FETCH_KERNEL = integration-tests/vm/kernel.sh $(abspath $(TARGET))/vm
vm-kernel: deps
	$(FETCH_KERNEL)

# One test after the other: the machine is software, and wants both cores. Without a kernel, the tests say so.
test-vm: deps build
	-$(FETCH_KERNEL)
	$(CARGO) test --workspace --test vm --test dpdk_flow $(WITH_DPDK) --no-run
	began=$$(date +%s); $(CARGO) test --workspace --test vm $(WITH_DPDK) -- --test-threads=1 && \
		echo "vm-suite: $$(($$(date +%s) - began)) s" > $(TARGET)/reports/vm-suite
	@cat $(TARGET)/reports/*vm-*

# The ring, the owner words and the sweep, by several independent tools. What each misses: docs/decisions/0007-proof.md.
proof: threads loom shuttle sanitize killstep soak seeded-bugs

LOOM_MAX_PREEMPTIONS ?= 6
PROOF_RUNS ?= 20000
SCENARIOS = $(CARGO) test --quiet -p arena --test proof
DEATHS = --features simulated-death

# Real threads: a quarter of the schedules, since each costs the start of a thread or two.
threads:
	FLUMEWAY_PROOF_RUNS=$$(($(PROOF_RUNS) / 4)) $(SCENARIOS) --release $(DEATHS)

loom:
	LOOM_MAX_PREEMPTIONS=$(LOOM_MAX_PREEMPTIONS) RUSTFLAGS="--cfg loom" $(SCENARIOS) --release

shuttle:
	FLUMEWAY_PROOF_RUNS=$(PROOF_RUNS) RUSTFLAGS="--cfg shuttle" $(SCENARIOS) --release

sanitize: asan valgrind

# The flag is unstable, the runtime is the stable toolchain's own. With the other tests of the ring, which leak their memory on purpose.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
asan:
	FLUMEWAY_PROOF_RUNS=20 ASAN_OPTIONS=detect_leaks=0 RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" \
		$(SCENARIOS) $(DEATHS) --test ring --test hostile --target $(HOST)

valgrind:
	@command -v valgrind >/dev/null || { echo "valgrind is not installed: make deps"; exit 1; }
	FLUMEWAY_PROOF_RUNS=2 CARGO_TARGET_$(shell echo $(HOST) | tr a-z- A-Z_)_RUNNER="valgrind -q --error-exitcode=9 --fair-sched=yes" \
		$(SCENARIOS) --release $(DEATHS)

seeded-bugs:
	$(CARGO) run --quiet --release -p integration-tests --bin seeded-bugs -- $(if $(ALL),--all)

# The XDP program, with the clang of Debian 12. Its object is committed; a test compares the two. Relative names and no
# system header, so that the object is the same wherever it is built.
BPF_CLANG ?= clang-14
bpf:
	cd crates/ports/src/xdp && $(BPF_CLANG) -target bpfel -mcpu=v3 -O2 -g -Wall -Wextra -Werror -nostdinc \
		-fdebug-compilation-dir=. -c flumeway.bpf.c -o flumeway.bpf.o

# Not part of `make test`: the component is not everywhere. Scenarios of real threads, few schedules.
miri:
	@cargo miri --version >/dev/null 2>&1 || { echo "miri: the component is not installed for this toolchain: rustup component add miri"; exit 1; }
	FLUMEWAY_PROOF_RUNS=1 MIRIFLAGS="-Zmiri-disable-isolation" $(CARGO) miri test -p arena --test proof $(DEATHS)

# The release build, each process stepped with ptrace: fails where the machine does not let a process trace its children.
# Push, pop, batches and sweeps always die at each instruction; the budget is for the longer operations.
KILLSTEP_BUDGET_S ?= 90
killstep:
	KILLSTEP_BUDGET_S=$(KILLSTEP_BUDGET_S) $(CARGO) test --release -p arena --test kill_step

SECONDS ?= 60
soak:
	SECONDS=$(SECONDS) $(CARGO) test --release -p arena --test soak

# Without cargo-fuzz; says so and fails where the sanitizer's runtime or a C++ compiler is missing. `make test` replays the corpus.
fuzz:
	FUZZ_DIR=$(abspath $(TARGET))/fuzz fuzz/run.sh $(SECONDS)

bench-baseline: deps build
	$(CARGO) run --release -p integration-tests --bin bench-baseline

# The peer that is no crate; half a minute to install.
BENCH_PACKAGES := libdpdk-dev

# For the bindings, and the program that receive rates are compared with.
DPDK_PACKAGES := libdpdk-dev libclang1-14 clang-14 dpdk-dev

# What cannot be installed is a row of the table that says so, and a failure in the end.
bench-ring:
	-@deploy/deps.sh $(BENCH_PACKAGES)
	$(CARGO) bench -p benches --features peers --bench ring -- --quiet
	$(CARGO) run --release -p benches --features peers --bin bench-ring

# As root: it makes network namespaces.
bench-xdp: deps build
	$(CARGO) run --release -p integration-tests --bin bench-xdp

# As root: network namespaces, hugepages.
bench-dpdk: deps build
	@test -n "$(DPDK)" || { echo "bench-dpdk: libdpdk or libclang is not found: make deps"; exit 1; }
	$(CARGO) run --release -p integration-tests --features dpdk --bin bench-dpdk

# All parts unless PARTS names some.
PARTS ?=
bench-engines: deps engines build
	$(CARGO) build --release -p engines --examples
	$(CARGO) run --release -p integration-tests --features bench-engines --bin bench-engines -- $(PARTS)

# Namespaces and links for tests, kernel headers for the programs in benches/xdp.
NET_PACKAGES := iproute2 ethtool libc6-dev python3-minimal python3-pip
# The test machine: QEMU, and what its initial file system is made with.
VM_PACKAGES := qemu-system-x86 busybox-static cpio kmod
# libjpeg-turbo, which preprocess loads where it is there.
JPEG_PACKAGES := libturbojpeg0
# Arm NN, which the shim is compiled against: its reference backend anywhere, the one that is fast on Arm.
ARMNN_PACKAGES = g++ libarmnn-dev libarmnntfliteparser-dev libarmnn-cpuref-backend22 \
	$(if $(filter aarch64,$(shell uname -m)),libarmnn-cpuacc-backend22)
# The libraries of ONNX Runtime and OpenVINO, from the Python package index, and the shims of Arm NN and TensorRT.
engines:
	@deploy/engine-shims.sh $(TARGET)/engines
	@deploy/engines.sh $(TARGET)/engines

# With an NVIDIA GPU, its driver and TensorRT: every test of the engines, TensorRT among them. Fails where one of them is missing, and says which.
test-gpu: engines
	FLUMEWAY_DEVICE_TESTS=1 $(CARGO) test -p engines --lib -- --nocapture --test-threads=1

deps:
	@deploy/deps.sh valgrind $(JPEG_PACKAGES) $(DPDK_PACKAGES) $(NET_PACKAGES) $(VM_PACKAGES) $(ARMNN_PACKAGES)

# Enough to build and run.
deps-run:
	@deploy/deps.sh $(JPEG_PACKAGES)

clean:
	$(CARGO) clean
