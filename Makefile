# The two commands: `make demo` and `make test`. Everything else serves them.

CARGO ?= cargo
TARGET ?= $(or $(CARGO_TARGET_DIR),target)
STAGES := rx-gateway preprocess infer tx
KILL_FEATURES := $(foreach s,$(STAGES),$(s)/killpoints)

.PHONY: help demo test build kill-builds unit lint deny deps bench-baseline clean

help:
	@echo "make demo            build, run the demonstration: frames over UDP, kill -9 of a stage halfway"
	@echo "make test            everything: lints, unit tests, tests through the real binaries"
	@echo "make bench-baseline  Flumeway against a synchronous one-process server"
	@echo "make deps            install what Debian packages supply (says what, where it may not)"

demo: deps build
	$(TARGET)/release/flumeway demo

# All binaries that users run.
build:
	$(CARGO) build --release --workspace --bins

# The stages with named kill points, kept apart from everything else.
kill-builds:
	$(CARGO) build $(foreach s,$(STAGES),-p $(s)) --features "$(KILL_FEATURES)"
	mkdir -p $(TARGET)/kill-points
	for s in $(STAGES); do cp -f $(TARGET)/debug/flumeway-$$s $(TARGET)/kill-points/; done

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

# Licences, sources and banned crates. The advisory database needs a network that CI does not have: `cargo deny check` at home.
deny:
	@test -x $(TARGET)/tools/bin/cargo-deny || $(CARGO) install --quiet --locked --root $(TARGET)/tools cargo-deny@0.20.2
	$(TARGET)/tools/bin/cargo-deny check bans licenses sources

test: deps lint build kill-builds deny
	@rm -rf $(TARGET)/reports
	$(CARGO) test --workspace --no-fail-fast
	@cat $(TARGET)/reports/*

bench-baseline: deps build
	$(CARGO) run --release -p integration-tests --bin bench-baseline

deps:
	@deploy/deps.sh

clean:
	$(CARGO) clean
