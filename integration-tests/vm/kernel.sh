#!/bin/sh
# Fetches the kernel of the test machine and makes its initial file system: kernel.sh FOLDER.
#
# Debian's own kernel, whichever linux-image-amd64 depends on today. It is downloaded by apt-get, which checks it against
# the signed index, unpacked, and never installed. FOLDER then holds
#   *.deb  the package, so that it is downloaded once      vmlinuz  initramfs.cpio
#   stamp  package, version and a checksum of what the initial file system was made from: if it is right, nothing is done
set -eu
folder=${1:?usage: kernel.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)

# Drivers of the machine, then those that tests bind to; `modprobe` says what these depend on.
modules="virtio_pci virtio_console 9p 9pnet_virtio overlay e1000e virtio_net vfio-pci vfio_iommu_type1 uio_pci_generic"
# What `net_tap` has the kernel filter packets with, and the namespaces of its test.
modules="$modules tun veth cls_flower act_gact act_mirred act_skbedit sch_multiq sch_ingress"

say() {
    echo "kernel.sh: $1" >&2
}
fail() {
    say "$1"
    exit 3
}
# The newest package that the lists name: "PACKAGE VERSION", or nothing.
newest() {
    package=$(apt-cache depends --important linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
    [ -n "$package" ] || return 0
    echo "$package $(apt-cache show "$package" 2>/dev/null | sed -n 's/^Version: //p' | head -n 1)"
}

for tool in apt-get apt-cache dpkg-deb depmod modprobe cpio busybox; do
    command -v "$tool" >/dev/null 2>&1 || fail "\`$tool\` is not there: make deps installs it (Debian packages cpio, kmod, busybox-static)"
done
mkdir -p "$folder"
work=$(mktemp -d "$folder/making.XXXXXX")
trap 'rm -rf "$work"' EXIT

wanted=$(newest)
if [ -z "$wanted" ] && apt-get update -qq >"$work/log" 2>&1; then
    wanted=$(newest)
fi
deb=$folder/$(echo "$wanted" | tr ' ' '_').deb
if [ -z "$wanted" ] || [ ! -f "$deb" ]; then
    if [ -n "$wanted" ] && (cd "$work" && apt-get download -q "$(echo "$wanted" | tr ' ' '=')" >log 2>&1); then
        rm -f "$folder"/*.deb
        mv "$work"/*.deb "$deb"
    else
        # An older one does as well.
        sed 's/^/kernel.sh: /' "$work/log" >&2 || true
        deb=$(ls "$folder"/*.deb 2>/dev/null | head -n 1)
        [ -n "$deb" ] || fail "no kernel can be downloaded ($wanted): the machine needs Debian's archive once (apt-get update, then again)"
        say "the newest kernel cannot be downloaded; taking $deb"
    fi
fi
stamp="$(basename "$deb" .deb) $(cat "$0" "$here/init" | sha256sum | cut -c 1-16)"
if [ -f "$folder/stamp" ] && [ "$(cat "$folder/stamp")" = "$stamp" ]; then
    exit 0
fi

say "initial file system from $(basename "$deb")"
dpkg-deb -x "$deb" "$work/package"
release=$(ls "$work/package/lib/modules")
[ -f "$work/package/boot/vmlinuz-$release" ] || fail "$deb holds no kernel called vmlinuz-$release"
# Debian's packages leave this to their installation.
depmod -b "$work/package" "$release"
root=$work/root
mkdir -p "$root/bin" "$root/modules" "$root/proc" "$root/sys" "$root/dev" "$root/host"
for module in $modules; do
    modprobe -d "$work/package" -S "$release" --show-depends "$module" >>"$work/needed" || fail "$deb has no module $module"
done
sed -n 's/^insmod \([^ ]*\).*/\1/p' "$work/needed" | awk '!seen[$0]++' | while read -r path; do
    cp "$path" "$root/modules/"
    basename "$path" >>"$root/modules/order"
done
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$here/init" "$root/init"
chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) >"$work/initramfs.cpio"
mv "$work/package/boot/vmlinuz-$release" "$folder/vmlinuz"
mv "$work/initramfs.cpio" "$folder/initramfs.cpio"
echo "$stamp" >"$folder/stamp"
