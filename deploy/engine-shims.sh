#!/bin/sh
# Compiles the shims of engines whose libraries have C++ interfaces, against the headers of this machine: engine-shims.sh FOLDER [ENGINE...]
#
# FOLDER/armnn/libflumeway_armnn.so and FOLDER/tensorrt/libflumeway_tensorrt.so, each if its library's headers are here; says so where not,
# and fails where an engine was named. ARMNN_INCLUDE and TENSORRT_INCLUDE name folders besides the compiler's own.
set -eu

folder=${1:?usage: engine-shims.sh FOLDER [ENGINE...]}
shift
named=$#
[ $# -gt 0 ] || set -- armnn tensorrt
sources=$(cd "$(dirname "$0")/../crates/engines/shims" && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

# header, package or remedy, folder to look in first, libraries to link
describe() {
	case $1 in
	armnn)
		header=armnnTfLiteParser/ITfLiteParser.hpp include=${ARMNN_INCLUDE:-} libraries="-larmnnTfLiteParser -larmnn"
		remedy="Debian: libarmnn-dev libarmnntfliteparser-dev, and a backend (libarmnn-cpuref-backend22, on Arm libarmnn-cpuacc-backend22)"
		;;
	tensorrt)
		# Nothing is linked: the shim opens libnvinfer itself, whose version is that of the headers.
		header=NvOnnxParser.h include=${TENSORRT_INCLUDE:-} libraries=-ldl
		remedy="NVIDIA's packages libnvinfer-headers-dev and libnvonnxparsers-dev, or TENSORRT_INCLUDE=FOLDER"
		;;
	*) echo "engine-shims.sh: no shim is known for \"$1\": armnn, tensorrt" >&2; exit 2 ;;
	esac
}

compile() {
	# Word splitting is wanted: options.
	# shellcheck disable=SC2086
	"${CXX:-g++}" -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror ${include:+-isystem "$include"} "$@" $libraries
}

for engine in "$@"; do
	describe "$engine"
	if ! echo "#include <$header>" | "${CXX:-g++}" -std=c++17 -x c++ -fsyntax-only -w ${include:+-isystem "$include"} - 2>/dev/null; then
		echo "engine-shims.sh: $engine: <$header> is not found or does not compile: $remedy" >&2
		[ "$named" = 0 ] || exit 1
		continue
	fi
	mkdir -p "$folder/$engine"
	library=$folder/$engine/libflumeway_$engine.so
	# Under another name first: a library that is open must not change.
	compile "$sources/$engine.cpp" -Wl,-z,defs -o "$library.new"
	mv "$library.new" "$library"
	echo "$engine: $library"
done
