// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the program uses of the kernel's interface: numbers and layouts of include/uapi/linux/bpf.h and if_ether.h. They
// stand here so that clang alone builds the program, and the same program everywhere: no system header can change it.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SECTION(name) __attribute__((section(name), used))
#define ALWAYS_INLINE inline __attribute__((always_inline))

// Fields of a map's definition, as loaders read them from the program's type information.
#define NUMBER(name, value) int(*name)[value]
#define TYPE(name, value) typeof(value) *name

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_XSKMAP = 17,
};

enum {
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1,
};

enum {
	XDP_DROP = 1,
	XDP_PASS = 2,
};

// The program is given this; the kernel rewrites the accesses.
struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*ktime_get_ns)(void) = (void *)5;
static long (*redirect_map)(void *map, u64 key, u64 flags) = (void *)51;

#define SWAP16(x) ((u16)__builtin_bswap16(x))
#define SWAP32(x) ((u32)__builtin_bswap32(x))

struct ethernet {
	u8 destination[6];
	u8 source[6];
	u16 type;
};

// Tag control information, and the type that follows it (IEEE 802.1Q).
struct tag {
	u16 control;
	u16 type;
};

struct ipv4 {
	u8 version_ihl;
	u8 tos;
	u16 total_length;
	u16 identification;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	u32 source;
	u32 destination;
};

struct ipv6 {
	u32 version_class_flow;
	u16 payload_length;
	u8 next_header;
	u8 hop_limit;
	u32 source[4];
	u32 destination[4];
};

struct ipv6_fragment {
	u8 next_header;
	u8 reserved;
	u16 offset;
	u32 identification;
};

struct udp {
	u16 source;
	u16 destination;
	u16 length;
	u16 checksum;
};
