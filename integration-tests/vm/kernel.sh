#!/bin/sh
# Fetches the kernel of the test machine and makes its initial file system: KERNEL.sh FOLDER.
#
# Debian's own kernel, whichever linux-image-amd64 depends on today. It is downloaded by apt-get, which checks it against
# the signed index, unpacked into FOLDER, and never installed. FOLDER then holds
#   vmlinuz  initramfs.cpio  stamp (package, version and a checksum of what the initial file system was made from)
# and is left alone as long as the stamp is right.
set -eu
folder=${1:?usage: kernel.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)

# Drivers of the machine, then those that tests bind to; `modprobe` says what these depend on.
modules="virtio_pci virtio_console 9p 9pnet_virtio e1000e virtio_net vfio-pci vfio_iommu_type1 uio_pci_generic"

fail() {
    echo "kernel.sh: $1" >&2
    exit 3
}

for tool in apt-get apt-cache dpkg-deb depmod modprobe cpio busybox; do
    command -v "$tool" >/dev/null 2>&1 || fail "\`$tool\` is not there: make deps-vm installs it (Debian packages cpio, kmod, busybox-static)"
done

package=$(apt-cache depends --important linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
if [ -z "$package" ]; then
    [ -f "$folder/stamp" ] || fail "the package lists do not name a kernel (linux-image-amd64): apt-get update"
    echo "kernel.sh: the package lists do not name a kernel; taking the one that is there: $(cat "$folder/stamp")" >&2
    exit 0
fi
version=$(apt-cache show "$package" 2>/dev/null | sed -n 's/^Version: //p' | head -n 1)
stamp="$package $version $(cat "$0" "$here/init" | sha256sum | cut -c 1-16)"
if [ -f "$folder/stamp" ] && [ "$(cat "$folder/stamp")" = "$stamp" ]; then
    exit 0
fi

mkdir -p "$folder"
work=$(mktemp -d "$folder/making.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! (cd "$work" && apt-get download -q "$package=$version" >log 2>&1); then
    sed 's/^/kernel.sh: /' "$work/log" >&2
    fail "$package $version cannot be downloaded: the machine needs Debian's archive once (apt-get update, then again)"
fi
echo "kernel.sh: $package $version" >&2
dpkg-deb -x "$work"/*.deb "$work/package"
release=${package#linux-image-}
[ -f "$work/package/boot/vmlinuz-$release" ] || fail "$package holds no kernel called vmlinuz-$release"

# Debian's packages leave this to their installation.
depmod -b "$work/package" "$release"
root=$work/root
mkdir -p "$root/bin" "$root/modules" "$root/proc" "$root/sys" "$root/dev" "$root/host"
for module in $modules; do
    modprobe -d "$work/package" -S "$release" --show-depends "$module" || fail "$package has no module $module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' >"$work/order"
[ -s "$work/order" ] || fail "no modules were found in $package"
while read -r path; do
    cp "$path" "$root/modules/"
    basename "$path" >>"$root/modules/order"
done <"$work/order"
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$here/init" "$root/init"
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) >"$work/initramfs.cpio"
mv "$work/package/boot/vmlinuz-$release" "$folder/vmlinuz"
mv "$work/initramfs.cpio" "$folder/initramfs.cpio"
echo "$stamp" >"$folder/stamp"
