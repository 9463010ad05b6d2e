/*
 * Ethernet, IPv4 and UDP headers with their checksums, for packets that no stack completes.
 */
#ifndef FLUMEWAY_BENCH_HEADERS_H
#define FLUMEWAY_BENCH_HEADERS_H

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

#define HEADERS 42u

/* RFC 1071, over bytes in network order. */
static uint32_t sum(const uint8_t *bytes, size_t length, uint32_t start)
{
	uint32_t s = start;
	for (size_t i = 0; i + 1 < length; i += 2)
		s += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	if (length % 2 == 1)
		s += (uint32_t)bytes[length - 1] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

struct end {
	uint8_t mac[6];
	struct sockaddr_in at;
};

/* Ethernet, IPv4 (RFC 791) and UDP (RFC 768) in front of a payload that is already there. */
static void put_headers(uint8_t *p, const struct end *from, const struct end *to, size_t payload_size)
{
	const uint32_t udp_length = 8 + (uint32_t)payload_size;
	memset(p, 0, HEADERS);
	memcpy(p, to->mac, 6);
	memcpy(p + 6, from->mac, 6);
	put16(p + 12, ETH_P_IP);
	p[14] = 0x45;
	put16(p + 16, 20 + udp_length);
	p[20] = 0x40; /* do not fragment */
	p[22] = 64;
	p[23] = 17;
	memcpy(p + 26, &from->at.sin_addr, 4);
	memcpy(p + 30, &to->at.sin_addr, 4);
	put16(p + 24, ~sum(p + 14, 20, 0));
	memcpy(p + 34, &from->at.sin_port, 2);
	memcpy(p + 36, &to->at.sin_port, 2);
	put16(p + 38, udp_length);
	const uint32_t check = ~sum(p + 34, udp_length, sum(p + 26, 8, 17 + udp_length)) & 0xffff;
	put16(p + 40, check == 0 ? 0xffff : check);
}

#endif
