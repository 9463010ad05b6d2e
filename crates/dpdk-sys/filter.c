/* Access lists as rte_acl and rte_flow take them. */
#include "filter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_acl.h>
#include <rte_byteorder.h>
#include <rte_errno.h>
#include <rte_flow.h>
#include <rte_memory.h>

/* The classifier. */

/* Fields of a rule. The library demands one byte first, and groups of four bytes from then on; it decides faster if what rules
 * differ in comes early. */
enum { PROTOCOL, ADDRESSES };

static uint32_t words_of(bool ipv6)
{
	return ipv6 ? 4 : 1;
}

static uint32_t fields_of(bool ipv6)
{
	return ADDRESSES + 2 * words_of(ipv6) + 3;
}

static void define(struct rte_acl_config *config, bool ipv6)
{
	const uint32_t words = words_of(ipv6);
	uint32_t n = PROTOCOL;
	uint32_t group = 0;

#define FIELD(kind, bytes, in, at)                                                                                     \
	do {                                                                                                           \
		config->defs[n] = (struct rte_acl_field_def){ RTE_ACL_FIELD_TYPE_##kind, bytes, n, in, at };           \
		n++;                                                                                                   \
	} while (0)
	FIELD(BITMASK, 1, group, FW_KEY_PROTOCOL);
	for (uint32_t word = 0; word < words; word++)
		FIELD(MASK, 4, ++group, FW_KEY_SOURCE + 4 * word);
	for (uint32_t word = 0; word < words; word++)
		FIELD(MASK, 4, ++group, FW_KEY_DESTINATION + 4 * word);
	FIELD(RANGE, 2, ++group, FW_KEY_PORTS);
	FIELD(RANGE, 2, group, FW_KEY_PORTS + 2);
	FIELD(BITMASK, 4, ++group, FW_KEY_VLAN);
#undef FIELD
	config->num_fields = n;
	config->num_categories = 1;
}

static struct rte_acl_field *set_prefix(struct rte_acl_field *field, const uint8_t *address, uint32_t bits, uint32_t words)
{
	for (uint32_t word = 0; word < words; word++, field++) {
		uint32_t value;

		memcpy(&value, address + 4 * word, sizeof(value));
		field->value.u32 = rte_be_to_cpu_32(value);
		field->mask_range.u32 = RTE_MIN(bits, 32u);
		bits -= field->mask_range.u32;
	}
	return field;
}

static void set_rule(struct rte_acl_rule *rule, const struct fw_match *match, bool ipv6)
{
	struct rte_acl_field *field = rule->field;

	rule->data.category_mask = 1;
	rule->data.priority = RTE_ACL_MAX_PRIORITY - match->number;
	rule->data.userdata = match->number + 1;
	field->value.u8 = match->protocol;
	field->mask_range.u8 = match->protocol_mask;
	field = set_prefix(field + 1, match->source, match->source_bits, words_of(ipv6));
	field = set_prefix(field, match->destination, match->destination_bits, words_of(ipv6));
	field->value.u16 = match->source_port_first;
	field->mask_range.u16 = match->source_port_last;
	field++;
	field->value.u16 = match->port_first;
	field->mask_range.u16 = match->port_last;
	field++;
	field->value.u32 = match->vlan;
	field->mask_range.u32 = match->vlan_mask;
}

struct rte_acl_ctx *fw_acl_create(const char *name, bool ipv6, const struct fw_match *rules, uint32_t count,
				  size_t max_bytes)
{
	const size_t size = RTE_ACL_RULE_SZ(fields_of(ipv6));
	const struct rte_acl_param param = {
		.name = name, .socket_id = SOCKET_ID_ANY, .rule_size = size, .max_rule_num = count,
	};
	struct rte_acl_config config = { .max_size = max_bytes };
	struct rte_acl_ctx *acl = rte_acl_create(&param);
	char *raw = calloc(count, size);
	int rc = acl == NULL ? -rte_errno : raw == NULL ? -ENOMEM : 0;

	if (rc == 0) {
		for (uint32_t i = 0; i < count; i++)
			set_rule((struct rte_acl_rule *)(raw + i * size), &rules[i], ipv6);
		rc = rte_acl_add_rules(acl, (const struct rte_acl_rule *)raw, count);
	}
	free(raw);
	if (rc == 0) {
		define(&config, ipv6);
		rc = rte_acl_build(acl, &config);
	}
	if (rc == 0)
		return acl;
	rte_acl_free(acl);
	rte_errno = -rc;
	return NULL;
}

void fw_acl_free(struct rte_acl_ctx *acl)
{
	rte_acl_free(acl);
}

int fw_acl_classify(const struct rte_acl_ctx *acl, const uint8_t (*keys)[FW_KEY], uint32_t *found, uint32_t count)
{
	const uint8_t *pointers[FW_KEYS];

	if (count > FW_KEYS)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++)
		pointers[i] = keys[i];
	return rte_acl_classify(acl, pointers, found, count, 1);
}

/* Rules of a port. */

_Static_assert(sizeof(struct rte_flow_item_ipv6) <= FW_FLOW_BYTES, "the longest header");

/* The headers that a packet must have, and what must stand in them. */
struct pattern {
	struct rte_flow_item_eth eth, eth_mask;
	struct rte_flow_item_vlan vlan, vlan_mask;
	struct rte_flow_item_ipv4 ipv4, ipv4_mask;
	struct rte_flow_item_ipv6 ipv6, ipv6_mask;
	struct rte_flow_item_udp udp, udp_last, udp_mask;
	struct rte_flow_item items[FW_FLOW_ITEMS + 1];
};

static void mask_prefix(void *spec, void *mask, const uint8_t *address, uint32_t bits)
{
	uint8_t *bytes = mask;

	memset(bytes, 0xff, bits / 8);
	if (bits % 8 != 0)
		bytes[bits / 8] = 0xff << (8 - bits % 8);
	memcpy(spec, address, (bits + 7) / 8);
}

/* An item that demands nothing but its header has no spec: some drivers refuse an empty mask. */
static struct rte_flow_item *add(struct rte_flow_item *item, enum rte_flow_item_type type, const void *spec,
				 const void *mask, bool demands)
{
	*item = (struct rte_flow_item){ .type = type };
	if (demands) {
		item->spec = spec;
		item->mask = mask;
	}
	return item + 1;
}

static bool add_ports(const struct fw_match *match, struct pattern *p)
{
	const bool source = match->source_port_first > 0 || match->source_port_last < UINT16_MAX;
	const bool destination = match->port_first > 0 || match->port_last < UINT16_MAX;

	if (source) {
		p->udp.hdr.src_port = rte_cpu_to_be_16(match->source_port_first);
		p->udp_last.hdr.src_port = rte_cpu_to_be_16(match->source_port_last);
		p->udp_mask.hdr.src_port = UINT16_MAX;
	}
	if (destination) {
		p->udp.hdr.dst_port = rte_cpu_to_be_16(match->port_first);
		p->udp_last.hdr.dst_port = rte_cpu_to_be_16(match->port_last);
		p->udp_mask.hdr.dst_port = UINT16_MAX;
	}
	return source || destination;
}

static void describe(const struct fw_flow_rule *rule, struct pattern *p)
{
	const struct fw_match *match = &rule->wanted;
	const bool addressed = match->source_bits > 0 || match->destination_bits > 0;
	const bool untagged = match->vlan_mask != 0 && match->vlan == 0;
	struct rte_flow_item *next = p->items;
	struct rte_flow_item *udp;
	bool ported;

	memset(p, 0, sizeof(*p));
	p->eth_mask.has_vlan = 1;
	next = add(next, RTE_FLOW_ITEM_TYPE_ETH, &p->eth, &p->eth_mask, untagged);
	if (match->vlan_mask != 0 && match->vlan != 0) {
		p->vlan.hdr.vlan_tci = rte_cpu_to_be_16(match->vlan);
		p->vlan_mask.hdr.vlan_tci = rte_cpu_to_be_16(0x0fff);
		next = add(next, RTE_FLOW_ITEM_TYPE_VLAN, &p->vlan, &p->vlan_mask, true);
	}
	if (rule->ipv6) {
		mask_prefix(&p->ipv6.hdr.src_addr, &p->ipv6_mask.hdr.src_addr, match->source, match->source_bits);
		mask_prefix(&p->ipv6.hdr.dst_addr, &p->ipv6_mask.hdr.dst_addr, match->destination,
			    match->destination_bits);
		next = add(next, RTE_FLOW_ITEM_TYPE_IPV6, &p->ipv6, &p->ipv6_mask, addressed);
	} else {
		mask_prefix(&p->ipv4.hdr.src_addr, &p->ipv4_mask.hdr.src_addr, match->source, match->source_bits);
		mask_prefix(&p->ipv4.hdr.dst_addr, &p->ipv4_mask.hdr.dst_addr, match->destination,
			    match->destination_bits);
		next = add(next, RTE_FLOW_ITEM_TYPE_IPV4, &p->ipv4, &p->ipv4_mask, addressed);
	}
	ported = add_ports(match, p);
	/* Drivers that know no ranges refuse any `last`, also one that is no more than the first. */
	udp = next;
	next = add(next, RTE_FLOW_ITEM_TYPE_UDP, &p->udp, &p->udp_mask, ported);
	if (memcmp(&p->udp, &p->udp_last, sizeof(p->udp)) != 0)
		udp->last = &p->udp_last;
	add(next, RTE_FLOW_ITEM_TYPE_END, NULL, NULL, false);
}

static size_t bytes_of(enum rte_flow_item_type type, int *kind)
{
	switch (type) {
	case RTE_FLOW_ITEM_TYPE_ETH:
		*kind = FW_FLOW_ETH;
		return sizeof(struct rte_flow_item_eth);
	case RTE_FLOW_ITEM_TYPE_VLAN:
		*kind = FW_FLOW_VLAN;
		return sizeof(struct rte_flow_item_vlan);
	case RTE_FLOW_ITEM_TYPE_IPV4:
		*kind = FW_FLOW_IPV4;
		return sizeof(struct rte_flow_item_ipv4);
	case RTE_FLOW_ITEM_TYPE_IPV6:
		*kind = FW_FLOW_IPV6;
		return sizeof(struct rte_flow_item_ipv6);
	default:
		*kind = FW_FLOW_UDP;
		return sizeof(struct rte_flow_item_udp);
	}
}

uint32_t fw_flow_describe(const struct fw_flow_rule *rule, struct fw_flow_item *items)
{
	struct pattern pattern;
	uint32_t n = 0;

	describe(rule, &pattern);
	for (; pattern.items[n].type != RTE_FLOW_ITEM_TYPE_END; n++) {
		const struct rte_flow_item *from = &pattern.items[n];
		int kind;
		const size_t bytes = bytes_of(from->type, &kind);

		items[n] = (struct fw_flow_item){ .kind = kind };
		items[n].has_spec = from->spec != NULL;
		items[n].has_last = from->last != NULL;
		if (from->spec != NULL)
			memcpy(items[n].spec, from->spec, bytes);
		if (from->last != NULL)
			memcpy(items[n].last, from->last, bytes);
		if (from->mask != NULL)
			memcpy(items[n].mask, from->mask, bytes);
	}
	return n;
}

struct rte_flow *fw_flow_create(uint16_t port, const struct fw_flow_rule *rule, char *message, size_t len)
{
	const struct rte_flow_attr attributes = { .ingress = 1, .priority = rule->priority };
	const struct rte_flow_action_count counter = { 0 };
	const struct rte_flow_action actions[] = {
		{ .type = RTE_FLOW_ACTION_TYPE_COUNT, .conf = &counter },
		{ .type = RTE_FLOW_ACTION_TYPE_DROP },
		{ .type = RTE_FLOW_ACTION_TYPE_END },
	};
	const struct rte_flow_action *first = rule->count ? actions : actions + 1;
	struct rte_flow_error error = { 0 };
	struct rte_flow *flow = NULL;
	struct pattern pattern;

	describe(rule, &pattern);
	if (rte_flow_validate(port, &attributes, pattern.items, first, &error) == 0)
		flow = rte_flow_create(port, &attributes, pattern.items, first, &error);
	if (flow == NULL)
		snprintf(message, len, "%s", error.message == NULL ? "" : error.message);
	return flow;
}

int fw_flow_destroy(uint16_t port, struct rte_flow *flow)
{
	struct rte_flow_error error = { 0 };

	return rte_flow_destroy(port, flow, &error);
}

int fw_flow_flush(uint16_t port)
{
	struct rte_flow_error error = { 0 };

	return rte_flow_flush(port, &error);
}

int fw_flow_hits(uint16_t port, struct rte_flow *flow, uint64_t *hits)
{
	const struct rte_flow_action action[] = {
		{ .type = RTE_FLOW_ACTION_TYPE_COUNT },
		{ .type = RTE_FLOW_ACTION_TYPE_END },
	};
	struct rte_flow_query_count count = { 0 };
	struct rte_flow_error error = { 0 };
	const int rc = rte_flow_query(port, flow, action, &count, &error);

	if (rc == 0 && !count.hits_set)
		return -ENOTSUP;
	*hits = count.hits;
	return rc;
}
