#!/bin/sh
# Builds the fuzz targets with AddressSanitizer and libFuzzer, without cargo-fuzz, and runs each for some seconds over its corpus.
# usage: fuzz/run.sh SECONDS [TARGET...]
# What is found lies under $FUZZ_DIR/artifacts and fails the run; new inputs stay in $FUZZ_DIR/corpus. With FUZZ_MERGE=1 those
# that reach something new are added to the committed corpus instead of fuzzing.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -gt 0 ] && shift
targets=${*:-ring start datagram packet neighbour pcap}
dir=${FUZZ_DIR:-$PWD/../target/fuzz}

cannot() {
    echo "make fuzz cannot run here: $1" >&2
    exit 1
}
host=$(rustc -vV | sed -n 's/^host: //p')
case $host in
x86_64-unknown-linux-gnu | aarch64-unknown-linux-gnu) ;;
*) cannot "AddressSanitizer's runtime does not come with the toolchain of ${host:-an unknown host}" ;;
esac
command -v c++ >/dev/null || command -v g++ >/dev/null || cannot "libFuzzer needs a C++ compiler (apt install g++)"

# What cargo-fuzz passes. The runtime comes with the stable toolchain; its flags need RUSTC_BOOTSTRAP. With --target, build
# scripts and macros are built without them.
passes="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
passes="$passes -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="$passes -Zsanitizer=address -Ccodegen-units=1 -Cdebug-assertions"
export CARGO_TARGET_DIR="$dir/build"
cargo build --release --locked --target "$host" || cannot "the targets do not build with AddressSanitizer and coverage"

for target in $targets; do
    program=$dir/build/$host/release/$target
    log=$dir/$target.log
    mkdir -p "$dir/corpus/$target" "$dir/artifacts/$target"
    if [ "${FUZZ_MERGE:-0}" = 1 ]; then
        "$program" -set_cover_merge=1 -use_counters=0 -max_len=256 "corpus/$target" "$dir/corpus/$target" >"$log" 2>&1 || { tail "$log" >&2; exit 1; }
        echo "corpus/$target: $(ls "corpus/$target" | wc -l) inputs"
        continue
    fi
    if "$program" -max_total_time="$seconds" -max_len=512 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$dir/artifacts/$target/" "$dir/corpus/$target" "corpus/$target" >"$log" 2>&1; then
        echo "$target: $seconds s, $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, nothing found"
    else
        tail -n 60 "$log" >&2
        echo "make fuzz: $target failed; its input lies in $dir/artifacts/$target" >&2
        exit 1
    fi
done
