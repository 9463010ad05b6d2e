#!/bin/sh
# Compiles the shims of engines whose libraries have C++ interfaces: engine-shims.sh FOLDER [ENGINE...]
#
# FOLDER/armnn/libflumeway_armnn.so against this machine's headers (ARMNN_INCLUDE names a folder besides the compiler's own).
# FOLDER/tensorrt/libflumeway_tensorrt.so.MAJOR for TensorRT 10 and 11, against this machine's headers (TENSORRT_INCLUDE) for their version, and for the
# others against those that the crate trtx-sys carries (Apache-2.0), version and checksum pinned below. The shim links nothing of NVIDIA's.
# What cannot be compiled is said, and is a failure where the engine was named.
set -eu

folder=${1:?usage: engine-shims.sh FOLDER [ENGINE...]}
shift
named=$#
[ $# -gt 0 ] || set -- armnn tensorrt
sources=$(cd "$(dirname "$0")/../crates/engines/shims" && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cxx=${CXX:-g++}

# MAJOR crate version sha256 folder-in-the-crate
headers="10 trtx-sys 0.4.0 44e29236a965ef87398a0cb398f69e7a83b0eead80578cea5bbe1131363955ee TensorRT-Headers/TRT-Enterprise-10.16
11 trtx-sys 0.9.1+rtx1.7 5480ee056292951daa1bc74532162d6cb75190f091e45d7d97c0c356916ae171 TensorRT-Headers/TRT-Enterprise-11.4"

missing() {
	echo "engine-shims.sh: $1" >&2
	[ "$named" = 0 ] || exit 1
}

# SOURCE LIBRARY OPTION...: under another name first, since a library that is open must not change.
compile() {
	source=$1 library=$2
	shift 2
	mkdir -p "$(dirname "$library")"
	new=$(dirname "$library")/.new
	"$cxx" -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -Wall -Wextra -Werror -Wl,-z,defs "$sources/$source" -o "$new" "$@"
	mv "$new" "$library"
	echo "$library"
}

# HEADER OPTION...: whether it is found.
has() {
	header=$1
	shift
	echo "#include <$header>" | "$cxx" -std=c++17 -x c++ -fsyntax-only -w "$@" - 2>/dev/null
}

armnn() {
	set -- ${ARMNN_INCLUDE:+-isystem "$ARMNN_INCLUDE"}
	if has armnnTfLiteParser/ITfLiteParser.hpp "$@"; then
		compile armnn.cpp "$folder/armnn/libflumeway_armnn.so" "$@" -larmnnTfLiteParser -larmnn
	else
		missing "armnn: no headers (Debian: libarmnn-dev libarmnntfliteparser-dev libarmnn-cpuref-backend22)"
	fi
}

# MAJOR: prints the folder with headers of that version, fetched once.
fetched() {
	echo "$headers" | while read -r major crate version sha256 inside; do
		[ "$major" = "$1" ] || continue
		at="$folder/.headers/$crate-$version"
		if [ ! -e "$at/.whole" ]; then
			mkdir -p "$at"
			python3 - "$crate" "$version" "$sha256" "$inside" "$at" <<-'END' || exit 1
				import hashlib, io, pathlib, sys, tarfile, urllib.parse, urllib.request
				crate, version, sha256, inside, at = sys.argv[1:]
				name = urllib.parse.quote(f"{crate}-{version}.crate")
				data = urllib.request.urlopen(f"https://static.crates.io/crates/{crate}/{name}", timeout=60).read()
				if hashlib.sha256(data).hexdigest() != sha256:
				    sys.exit(f"{name} has another checksum than the one that is pinned")
				archive = tarfile.open(fileobj=io.BytesIO(data))
				for member in archive:
				    path = pathlib.PurePosixPath(member.name)
				    if member.isfile() and path.parent == pathlib.PurePosixPath(f"{crate}-{version}") / inside:
				        pathlib.Path(at, path.name).write_bytes(archive.extractfile(member).read())
				pathlib.Path(at, ".whole").touch()
			END
		fi
		echo "$at"
	done
}

tensorrt() {
	cc=${CC:-cc}
	mkdir -p "$folder/tensorrt"
	"$cc" -std=c11 -D_DEFAULT_SOURCE -O2 -Wall -Wextra -Werror "$sources/try_tensorrt.c" -ldl -o "$folder/tensorrt/.new"
	mv "$folder/tensorrt/.new" "$folder/tensorrt/try_tensorrt"
	here=none
	set -- ${TENSORRT_INCLUDE:+-isystem "$TENSORRT_INCLUDE"}
	has cuda_runtime_api.h "$@" || set -- "$@" -isystem "$sources/cuda-types"
	if has NvOnnxParser.h "$@"; then
		here=$(printf '#include <NvInferVersion.h>\nNV_TENSORRT_MAJOR\n' | "$cxx" -E -P -x c++ "$@" - | tail -n 1 | tr -d ' ')
		compile tensorrt.cpp "$folder/tensorrt/libflumeway_tensorrt.so.$here" "$@" -ldl
	fi
	for major in 10 11; do
		[ "$major" != "$here" ] || continue
		if include=$(fetched "$major") && [ -n "$include" ]; then
			compile tensorrt.cpp "$folder/tensorrt/libflumeway_tensorrt.so.$major" -isystem "$include" -isystem "$sources/cuda-types" -ldl
		else
			missing "tensorrt: no headers of version $major could be fetched; set TENSORRT_INCLUDE to a folder with NvInfer.h"
		fi
	done
}

for engine in "$@"; do
	case $engine in
	armnn | tensorrt) "$engine" ;;
	*) echo "engine-shims.sh: no shim is known for \"$engine\": armnn, tensorrt" >&2; exit 2 ;;
	esac
done
