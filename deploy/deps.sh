#!/bin/sh
# What Debian supplies for building and testing. Installs what is missing where it may; says so where it may not.
# Arguments: further packages, which only some targets need.
set -eu
wanted="gcc pkg-config $*"
missing=""
for package in $wanted; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
if ! command -v cargo >/dev/null 2>&1; then
    echo "deps: cargo is not there; install Rust 1.95 or newer (https://rustup.rs), then call make again" >&2
    exit 3
fi
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
else
    echo "deps: would install:$missing" >&2
    echo "deps: run 'sudo apt-get install --no-install-recommends$missing', then call make again" >&2
    exit 3
fi
