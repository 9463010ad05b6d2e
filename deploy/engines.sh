#!/bin/sh
# Puts the libraries of engines that are not built in where `flumeway-infer` looks for them: engines.sh FOLDER [ENGINE...]
#
# FOLDER/onnxruntime and FOLDER/openvino come from the Python package index, versions and checksums pinned below; nothing of Python is kept or run.
# For tests and for trying out: a product brings the libraries of its own machine (docs/OPERATIONS.md).
set -eu

folder=${1:?usage: engines.sh FOLDER [ENGINE...]}
shift
[ $# -gt 0 ] || set -- onnxruntime openvino
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

# package version sha256 (x86-64) folder-in-the-wheel
pins() {
	case $1 in
	onnxruntime) echo "onnxruntime 1.32.0 5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d onnxruntime/capi" ;;
	openvino) echo "openvino 2026.4.1 2d22b1da03f7caf74df30e9f6417d0ab2f637e4a38e08e1dcd294d2c37407aaf openvino/libs" ;;
	*) echo "engines.sh: no package is known for \"$1\": onnxruntime, openvino" >&2; exit 2 ;;
	esac
}

[ "$(uname -m)" = x86_64 ] || { echo "engines.sh: packages are pinned for x86-64 only; install the libraries by hand (docs/OPERATIONS.md)" >&2; exit 1; }

work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

for engine in "$@"; do
	pin=$(pins "$engine")
	# Word splitting is wanted: four fields without blanks.
	# shellcheck disable=SC2086
	set -- $pin
	package=$1 version=$2 sha256=$3 inside=$4
	stamp="$folder/$engine/.version"
	if [ "$(cat "$stamp" 2>/dev/null)" = "$version $sha256" ]; then
		echo "$engine $version is there"
		continue
	fi
	printf '%s==%s --hash=sha256:%s\n' "$package" "$version" "$sha256" > "$work/$engine.txt"
	python3 -m pip --quiet --disable-pip-version-check download --no-deps --only-binary :all: --python-version 311 --implementation cp \
		--platform manylinux_2_28_x86_64 --require-hashes --dest "$work/$engine" -r "$work/$engine.txt"
	python3 -m zipfile -e "$work/$engine"/*.whl "$work/$engine.unpacked"
	rm -rf "${folder:?}/$engine"
	mkdir "$folder/$engine"
	# Libraries and what they read beside them; no Python modules.
	find "$work/$engine.unpacked/$inside" -maxdepth 1 -type f ! -name '*.py*' ! -name '*.cpython*' -exec mv {} "$folder/$engine/" \;
	chmod -R a+rX "$folder/$engine"
	echo "$version $sha256" > "$stamp"
	echo "$engine $version is in $folder/$engine"
done
