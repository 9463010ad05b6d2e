// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The first filter: runs in the driver for each frame that an interface receives. Frames for the pipeline go to the AF_XDP
// socket of their queue, if the access list lets them; all else goes to the kernel as if there were no program.
//
// The access list comes as bit vectors: each map below gives the set of rules that one field of the packet matches, and the
// first rule of the intersection decides (crates/acl/src/compiled.rs). It never changes: a new list is a new program, which
// takes the link over. So constants (`volatile const`) switch off what a list does not use, and the kernel removes that code.
//
// Bytes of the frame are checked against its end before they are read; the kernel's verifier holds us to it.

#include "kernel.bpf.h"

#define WORDS 8
#define MAX_RULES (WORDS * 64)

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_SERVICE_VLAN 0x88a8
#define PROTOCOL_UDP 17
#define PROTOCOL_FRAGMENT 44

// How often a rate's state is tried while other cores change it. Each failure is another packet of the same source admitted.
#define ATTEMPTS 8

// The interface's own address, as its first four and last two bytes lie in memory.
volatile const u32 own_mac_first = 0;
volatile const u16 own_mac_last = 0;
volatile const u32 rule_count = 0;
volatile const u32 policy_denies = 0;
// Whether any rule looks at the field.
volatile const u32 has_sources = 0;
volatile const u32 has_source_ports = 0;
volatile const u32 has_vlans = 0;
// Rules for values that no rule names.
volatile const u64 any_source_port[WORDS] = {};
volatile const u64 any_vlan[WORDS] = {};

struct bits {
	u64 words[WORDS];
};

// IPv4 addresses are mapped (RFC 4291 section 2.5.5.2). In network byte order.
struct address {
	u32 words[4];
};

struct ipv4_prefix {
	u32 length;
	u32 address;
};

struct ipv6_prefix {
	u32 length;
	struct address address;
};

struct rule {
	u32 denies;
	u32 is_limited;
	u64 interval_ns;
	u64 tolerance_ns;
};

struct rate_key {
	u32 rule;
	struct address source;
};

struct counters {
	u64 redirected;
	u64 no_socket;
	u64 denied;
	u64 limited;
	u64 fragments;
	u64 policy_hits;
	u64 reserved[2];
};

// Our own addresses: the rules that match each as destination.
struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(max_entries, 1024);
	TYPE(key, struct address);
	TYPE(value, struct bits);
} locals SECTION(".maps");

// Our own ports, in host byte order: the rules that match each as destination, and UDP as protocol.
struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(max_entries, 64);
	TYPE(key, u16);
	TYPE(value, struct bits);
} ports SECTION(".maps");

// Both tries hold the empty prefix, if any rule names a source.
struct {
	NUMBER(type, BPF_MAP_TYPE_LPM_TRIE);
	NUMBER(max_entries, MAX_RULES + 1);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	TYPE(key, struct ipv4_prefix);
	TYPE(value, struct bits);
} sources_ipv4 SECTION(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_LPM_TRIE);
	NUMBER(max_entries, MAX_RULES + 1);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	TYPE(key, struct ipv6_prefix);
	TYPE(value, struct bits);
} sources_ipv6 SECTION(".maps");

// The loader sets the number of entries: one if the list does not look at the field.
struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, 65536);
	TYPE(key, u32);
	TYPE(value, struct bits);
} source_ports SECTION(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, 4096);
	TYPE(key, u32);
	TYPE(value, struct bits);
} vlans SECTION(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, MAX_RULES);
	TYPE(key, u32);
	TYPE(value, struct rule);
} rules SECTION(".maps");

// Theoretical arrival times (GCRA). The least recently used is forgotten when the map is full.
struct {
	NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	NUMBER(max_entries, 65536);
	TYPE(key, struct rate_key);
	TYPE(value, u64);
} rates SECTION(".maps");

// The time, if it is not 0: for tests.
struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u64);
} control SECTION(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct counters);
} totals SECTION(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, MAX_RULES);
	TYPE(key, u32);
	TYPE(value, u64);
} hits SECTION(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_XSKMAP);
	NUMBER(max_entries, 256);
	TYPE(key, u32);
	TYPE(value, u32);
} sockets SECTION(".maps");

struct packet {
	struct address source;
	struct address destination;
	u16 source_port;
	u16 port;
	u16 vlan;
	u8 is_ipv4;
	u8 is_fragment;
};

static ALWAYS_INLINE int is_mapped(const struct address *address)
{
	return address->words[0] == 0 && address->words[1] == 0 && address->words[2] == SWAP32(0xffff);
}

// The UDP header behind an IPv4 header. Fragments but the first have none.
static ALWAYS_INLINE void *parse_ipv4(struct packet *packet, struct ipv4 *ip, void *end)
{
	if ((void *)(ip + 1) > end)
		return 0;
	u32 header = (ip->version_ihl & 0xf) * 4;
	u16 fragment = SWAP16(ip->fragment) & 0x3fff;
	if (ip->version_ihl >> 4 != 4 || header < sizeof(*ip) || ip->protocol != PROTOCOL_UDP || fragment & 0x1fff)
		return 0;
	packet->is_fragment = fragment != 0;
	packet->is_ipv4 = 1;
	packet->source.words[2] = SWAP32(0xffff);
	packet->source.words[3] = ip->source;
	packet->destination.words[2] = SWAP32(0xffff);
	packet->destination.words[3] = ip->destination;
	return (void *)ip + header;
}

// The UDP header right behind an IPv6 header, or behind the fragment header of a first fragment of several.
static ALWAYS_INLINE void *parse_ipv6(struct packet *packet, struct ipv6 *ip, void *end)
{
	if ((void *)(ip + 1) > end || *(u8 *)ip >> 4 != 6)
		return 0;
	__builtin_memcpy(&packet->source, ip->source, sizeof(packet->source));
	__builtin_memcpy(&packet->destination, ip->destination, sizeof(packet->destination));
	// No such addresses are on the wire (RFC 4942 section 2.2); here they would pass for IPv4. The kernel drops them.
	if (is_mapped(&packet->source) || is_mapped(&packet->destination))
		return 0;
	if (ip->next_header == PROTOCOL_UDP)
		return ip + 1;
	struct ipv6_fragment *fragment = (void *)(ip + 1);
	if (ip->next_header != PROTOCOL_FRAGMENT || (void *)(fragment + 1) > end)
		return 0;
	// Offset 0 and more to come. A whole packet with a fragment header (RFC 6946) is none, and the kernel's.
	if (fragment->next_header != PROTOCOL_UDP || (SWAP16(fragment->offset) & ~6) != 1)
		return 0;
	packet->is_fragment = 1;
	return fragment + 1;
}

// Whether the frame is a UDP datagram (or the first part of one) sent to this interface.
static ALWAYS_INLINE int parse(struct packet *packet, void *frame, void *end)
{
	struct ethernet *ethernet = frame;
	if ((void *)(ethernet + 1) > end)
		return 0;
	if (*(u32 *)ethernet->destination != own_mac_first || *(u16 *)(ethernet->destination + 4) != own_mac_last)
		return 0;
	u16 type = ethernet->type;
	void *next = ethernet + 1;
#pragma unroll
	for (int depth = 0; depth < 2; depth++) {
		struct tag *tag = next;
		if (type != SWAP16(ETHERTYPE_VLAN) && type != SWAP16(ETHERTYPE_SERVICE_VLAN))
			break;
		if ((void *)(tag + 1) > end)
			return 0;
		if (depth == 0)
			packet->vlan = SWAP16(tag->control) & 0xfff;
		type = tag->type;
		next = tag + 1;
	}
	struct udp *udp = 0;
	if (type == SWAP16(ETHERTYPE_IPV4))
		udp = parse_ipv4(packet, next, end);
	else if (type == SWAP16(ETHERTYPE_IPV6))
		udp = parse_ipv6(packet, next, end);
	if (!udp || (void *)(udp + 1) > end)
		return 0;
	packet->source_port = SWAP16(udp->source);
	packet->port = SWAP16(udp->destination);
	return 1;
}

static ALWAYS_INLINE struct bits *find_source(const struct packet *packet)
{
	if (packet->is_ipv4) {
		struct ipv4_prefix key = { 32, packet->source.words[3] };
		return map_lookup(&sources_ipv4, &key);
	}
	struct ipv6_prefix key = { 128, packet->source };
	return map_lookup(&sources_ipv6, &key);
}

// The position of the lowest bit that is set: how many bits are below it, counted in parallel. clang 14 crashes on
// __builtin_ctzll here, and branches would multiply the paths that the verifier follows.
static ALWAYS_INLINE u32 lowest_bit(u64 word)
{
	u64 below = (word & -word) - 1;
	below -= below >> 1 & 0x5555555555555555;
	below = (below & 0x3333333333333333) + (below >> 2 & 0x3333333333333333);
	below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return below * 0x0101010101010101 >> 56;
}

// The first rule that matches, or MAX_RULES.
static ALWAYS_INLINE u32 match(const struct packet *packet, const struct bits *local, const struct bits *port)
{
	struct bits *source = 0, *source_port = 0, *vlan = 0;
	u32 key;
	if (has_sources) {
		source = find_source(packet);
		if (!source)
			return MAX_RULES;
	}
	if (has_source_ports) {
		key = packet->source_port;
		source_port = map_lookup(&source_ports, &key);
		if (!source_port)
			return MAX_RULES;
	}
	if (has_vlans) {
		key = packet->vlan;
		vlan = map_lookup(&vlans, &key);
		if (!vlan)
			return MAX_RULES;
	}
#pragma unroll
	for (u32 n = 0; n < WORDS; n++) {
		if (n * 64 >= rule_count)
			return MAX_RULES;
		u64 matching = local->words[n] & port->words[n];
		if (source)
			matching &= source->words[n];
		if (source_port)
			matching &= source_port->words[n] | any_source_port[n];
		if (vlan)
			matching &= vlan->words[n] | any_vlan[n];
		if (matching)
			return n * 64 + lowest_bit(matching);
	}
	return MAX_RULES;
}

// The generic cell rate algorithm, as in crates/acl/src/gcra.rs. What cannot be accounted for is not admitted.
static ALWAYS_INLINE int conforms(const struct rule *rule, const struct rate_key *key)
{
	u32 zero = 0;
	u64 *fixed_ns = map_lookup(&control, &zero);
	u64 now = fixed_ns ? *fixed_ns : 0;
	if (!now)
		now = ktime_get_ns();
	u64 *arrival = map_lookup(&rates, key);
	if (!arrival) {
		u64 never = 0;
		// Another core may be first with this source: either's entry will do.
		map_update(&rates, key, &never, BPF_NOEXIST);
		arrival = map_lookup(&rates, key);
		if (!arrival)
			return 0;
	}
#pragma unroll
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		u64 before = *(volatile u64 *)arrival;
		if (now + rule->tolerance_ns < before)
			return 0;
		u64 after = (before > now ? before : now) + rule->interval_ns;
		if (__sync_val_compare_and_swap(arrival, before, after) == before)
			return 1;
	}
	return 0;
}

// Whether the access list lets the packet in; counted.
static ALWAYS_INLINE int is_allowed(const struct packet *packet, const struct bits *local, const struct bits *port,
				    struct counters *count)
{
	struct rate_key key;
	u64 *hit;
	struct rule *rule;
	key.rule = rule_count ? match(packet, local, port) : MAX_RULES;
	rule = key.rule < MAX_RULES ? map_lookup(&rules, &key.rule) : 0;
	if (!rule) {
		count->policy_hits++;
		count->denied += policy_denies;
		return !policy_denies;
	}
	hit = map_lookup(&hits, &key.rule);
	if (hit)
		++*hit;
	if (rule->denies) {
		count->denied++;
		return 0;
	}
	if (!rule->is_limited)
		return 1;
	key.source = packet->source;
	if (conforms(rule, &key))
		return 1;
	count->limited++;
	return 0;
}

SECTION("xdp")
int flumeway(struct xdp_md *context)
{
	struct packet packet = {};
	u32 zero = 0, queue = context->rx_queue_index;
	if (!parse(&packet, (void *)(long)context->data, (void *)(long)context->data_end))
		return XDP_PASS;
	struct bits *local = map_lookup(&locals, &packet.destination);
	if (!local)
		return XDP_PASS;
	struct bits *port = map_lookup(&ports, &packet.port);
	struct counters *count = map_lookup(&totals, &zero);
	if (!port || !count)
		return XDP_PASS;
	if (packet.is_fragment) {
		count->fragments++;
		return XDP_DROP;
	}
	if (!is_allowed(&packet, local, port, count))
		return XDP_DROP;
	if (!map_lookup(&sockets, &queue)) {
		count->no_socket++;
		return XDP_PASS;
	}
	count->redirected++;
	return redirect_map(&sockets, queue, XDP_PASS);
}

// None of the helpers above asks for the GPL since Linux 5.8, and without links (5.9) the program cannot be attached.
char program_license[] SECTION("license") = "MIT OR Apache-2.0";
