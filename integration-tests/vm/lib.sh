# What orders to the test machine share.

# reserve PAGES: hugepages of 2 MiB.
reserve() {
    echo "$1" >/proc/sys/vm/nr_hugepages
    [ "$(cat /proc/sys/vm/nr_hugepages)" -ge "$1" ] || { echo "only $(cat /proc/sys/vm/nr_hugepages) of $1 hugepages"; return 1; }
}

# bind ADDRESS DRIVER: gives a PCI device to a driver, whichever it has now.
bind() {
    device=/sys/bus/pci/devices/$1
    echo "$2" >"$device/driver_override"
    if [ -e "$device/driver" ]; then
        [ "$(basename "$(readlink "$device/driver")")" = "$2" ] && return 0
        echo "$1" >"$device/driver/unbind"
    fi
    echo "$1" >/sys/bus/pci/drivers_probe
    [ "$(basename "$(readlink "$device/driver")")" = "$2" ] || { echo "$1 does not go to $2"; return 1; }
}

# until_true LIMIT_S COMMAND...: until it succeeds.
until_true() {
    tries=$(($1 * 5))
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "waited in vain: $*"; return 1; }
        sleep 0.2
    done
}
