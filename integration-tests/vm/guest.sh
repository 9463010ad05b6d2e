#!/bin/sh
# What the test machine runs: one order after the other, as the test on the host sends them.
#
# An order is a line with a number N on the serial port. The script `share/N.sh` is run, its output goes to `share/N.out`, and
# the answer is a line `N STATUS`. The port closes when the test ends, and with it the machine.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C
export SHARE=/mnt/share BIN=/mnt/bin SOURCE=/mnt/source
cd /tmp || exit 1
ulimit -l unlimited
ip link set lo up

port=
for _ in 1 2 3 4 5 6 7 8 9 10; do
    for name in /sys/class/virtio-ports/*/name; do
        [ -f "$name" ] && [ "$(cat "$name")" = orders ] && port=/dev/$(basename "$(dirname "$name")")
    done
    [ -n "$port" ] && break
    sleep 0.2
done
[ -n "$port" ] || { echo "guest.sh: no serial port for orders"; exit 1; }
exec 3<>"$port"
echo "0 0" >&3
while read -r number <&3; do
    sh "$SHARE/$number.sh" >"$SHARE/$number.out" 2>&1 </dev/null 3>&-
    echo "$number $?" >&3
done
