"""Whole Ethernet frames on an interface: sends the lines of standard input, prints the frames that arrive. Both hexadecimal.

The kernel takes the outer VLAN tag out of a received frame and tells it beside (packet(7), PACKET_AUXDATA, and
linux/if_packet.h, struct tpacket_auxdata): it is put back here. Argument: the interface.
"""

import select
import socket
import struct
import sys

SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 263, 8, 4
ETH_P_ALL = 3
HAS_TAG, HAS_TPID = 0x10, 0x40
AUXDATA = struct.Struct("=IIIHHHH")


def whole(frame, ancillary):
    """The frame with its outer tag."""
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = AUXDATA.unpack(data[: AUXDATA.size])
            if status & HAS_TAG:
                tag = struct.pack("!HH", tpid if status & HAS_TPID else 0x8100, tci)
                return frame[:12] + tag + frame[12:]
    return frame


link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
link.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
link.bind((sys.argv[1], ETH_P_ALL))
print("ready", flush=True)
while True:
    readable, _, _ = select.select([link, sys.stdin.buffer.raw], [], [])
    if link in readable:
        received, ancillary, _, address = link.recvmsg(65536, 64)
        if address[2] != PACKET_OUTGOING:
            print(whole(received, ancillary).hex(), flush=True)
    elif line := sys.stdin.buffer.raw.readline():
        link.send(bytes.fromhex(line.decode()))
    else:
        break
