"""Builds the three example datagrams of docs/PROTOCOL.md from its tables, without any code of the wire crate.

Run `python3 crates/wire/tests/reference.py`; the output is what tests/golden.rs and docs/PROTOCOL.md hold.
"""

import hashlib
import hmac
import struct

KEY = bytes(range(32))
STREAM, SESSION, FRAME, CAPTURE = 7, 0x1122334455667788, 42, 0x0102030405060708


def crc32c(data):
    """CRC32C bit by bit: reflected polynomial 0x82f63b78, initial and final inversion."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def datagram(kind, fields, payload, key=None):
    """Prefix, fields of the kind from byte 40 to 127, MAC extension, payload; then MAC, then checksum."""
    header_len = 192 if key else 128
    prefix = struct.pack("<4sBBHIIIIQQ", b"FLWY", 1, kind, header_len, 0, 0, STREAM, len(payload), SESSION, FRAME)
    assert len(prefix) == 40 and len(fields) == 88
    extension = struct.pack("<HH16s44x", 0x8001, 16, b"") if key else b""
    whole = bytearray(prefix + fields + extension + payload)
    if key:
        whole[132:148] = hmac.new(key, bytes(whole), hashlib.sha256).digest()[:16]
    struct.pack_into("<I", whole, 8, crc32c(whole))
    return bytes(whole)


def request(key=None):
    payload = b"flumeway"
    fields = struct.pack("<HHIIBxHHxxIQ56x", 0, 1, 0, len(payload), 4, 4, 2, 30_000, CAPTURE)
    return datagram(1, fields, payload, key)


def reply():
    payload = struct.pack("<IfB3s", 1, 0.75, 3, b"car") + struct.pack("<IfB3x", 2, 0.25, 0)
    fields = struct.pack("<HHII", 0, 1, 0, len(payload))
    fields += struct.pack("<BBBBHBBI", 0, 0, 1, 1, 2, 0, 0, 1_000)
    fields += struct.pack("<QQ6I24x", CAPTURE, 5_000_000_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000)
    return datagram(2, fields, payload)


if __name__ == "__main__":
    assert crc32c(b"123456789") == 0xE3069283
    for name, octets in [("request", request()), ("request with MAC", request(KEY)), ("reply", reply())]:
        print(name)
        for start in range(0, len(octets), 16):
            print(octets[start : start + 16].hex(" "))
