/* The access list in DPDK's terms: a classifier in software, and rules of a port that drop packets. */
#ifndef FW_FILTER_H
#define FW_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rte_acl_ctx;
struct rte_flow;

/* What a packet is classified by, in network byte order. Where it stands in a key: the protocol's byte, source and destination
 * address (IPv4: the first four bytes), source port and destination port, VLAN identifier (four bytes). */
enum {
	FW_KEY = 44,
	FW_KEY_PROTOCOL = 0,
	FW_KEY_SOURCE = 4,
	FW_KEY_DESTINATION = 20,
	FW_KEY_PORTS = 36,
	FW_KEY_VLAN = 40,
	/* Most keys of a call. */
	FW_KEYS = 64,
	FW_FLOW_ITEMS = 4,
	FW_FLOW_BYTES = 44,
};

/* Headers. */
enum { FW_FLOW_ETH = 1, FW_FLOW_VLAN, FW_FLOW_IPV4, FW_FLOW_IPV6, FW_FLOW_UDP };

/* One rule, of one family. Addresses are as in a packet, the rest as the machine has it. */
struct fw_match {
	/* From 0; the lowest that matches is found. */
	uint32_t number;
	uint8_t source[16];
	uint8_t destination[16];
	/* Leading bits that count. */
	uint8_t source_bits;
	uint8_t destination_bits;
	uint8_t protocol;
	/* Bits that count: all or none. */
	uint8_t protocol_mask;
	uint16_t vlan;
	uint16_t vlan_mask;
	uint16_t source_port_first;
	uint16_t source_port_last;
	uint16_t port_first;
	uint16_t port_last;
};

/* A classifier of `count` (at least one) rules in at most `max_bytes` of the library's memory. The name is no other
 * classifier's. NULL: see fw_errno. */
struct rte_acl_ctx *fw_acl_create(const char *name, bool ipv6, const struct fw_match *rules, uint32_t count,
				  size_t max_bytes);
void fw_acl_free(struct rte_acl_ctx *acl);
/* `found[i]` becomes the number of the rule that matches `keys[i]`, plus 1, or 0. At most FW_KEYS. */
int fw_acl_classify(const struct rte_acl_ctx *acl, const uint8_t (*keys)[FW_KEY], uint32_t *found, uint32_t count);

/* How a port's rule works. `wanted.number` is not looked at, and neither is the protocol, which is UDP. */
struct fw_flow_rule {
	struct fw_match wanted;
	bool ipv6;
	bool count;
	/* Among rules that match, the lowest decides. */
	uint32_t priority;
};
/* One header of what a rule asks for, and what must stand in its first bytes. */
struct fw_flow_item {
	int kind;
	bool has_spec;
	bool has_last;
	uint8_t spec[FW_FLOW_BYTES];
	uint8_t last[FW_FLOW_BYTES];
	uint8_t mask[FW_FLOW_BYTES];
};
/* Writes the headers, at most FW_FLOW_ITEMS, and returns how many there are. */
uint32_t fw_flow_describe(const struct fw_flow_rule *rule, struct fw_flow_item *items);
/* The port drops what matches. NULL: see fw_errno, and `message` (of `len` bytes) has the port's words, if it has any. */
struct rte_flow *fw_flow_create(uint16_t port, const struct fw_flow_rule *rule, char *message, size_t len);
int fw_flow_destroy(uint16_t port, struct rte_flow *flow);
/* Takes all rules of the port away. */
int fw_flow_flush(uint16_t port);
/* Packets that it has dropped. */
int fw_flow_hits(uint16_t port, struct rte_flow *flow, uint64_t *hits);

#endif
