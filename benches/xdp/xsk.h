/*
 * AF_XDP on nothing but the kernel's headers, for the programs in this folder: sockets, UMEM and rings
 * (Documentation/networking/af_xdp.rst).
 */
#ifndef FLUMEWAY_BENCH_XSK_H
#define FLUMEWAY_BENCH_XSK_H

#include <errno.h>
#include <inttypes.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 4096u
#define CHUNKS 4096u
#define RING 2048u
/* Chunks can wait nowhere but in the UMEM's own two rings, so each holds all of them. */
#define UMEM_RING CHUNKS
#define BURST 64u
/* Longest sleep: completions that came meanwhile are reaped then. */
#define SLEEP_MS 100

/* Cursors are in the kernel's pages; the cached values are ours. */
struct ring {
	uint32_t *producer, *consumer, *flags;
	void *entries;
	uint32_t mask, size;
	uint32_t cached_producer, cached_consumer;
};

struct umem {
	uint8_t *area;
	struct ring fill, completion;
};

struct options {
	const char *interface;
	uint32_t queue;
	uint16_t port;
	int spin, core, generic;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void usage(const char *name)
{
	fprintf(stderr,
		"%s -i INTERFACE [-q QUEUE] [-p UDP_PORT] [-w spin|poll] [-c CORE] [-g]\n"
		"-g: generic XDP instead of native. SIGTERM ends it; it prints a line when ready, and JSON in the end.\n",
		name);
	exit(2);
}

static struct options parse(int argc, char **argv)
{
	struct options o = {.port = 9000, .core = -1};
	int option;

	while ((option = getopt(argc, argv, "i:q:p:w:c:g")) != -1) {
		switch (option) {
		case 'i': o.interface = optarg; break;
		case 'q': o.queue = (uint32_t)strtoul(optarg, NULL, 10); break;
		case 'p': o.port = (uint16_t)strtoul(optarg, NULL, 10); break;
		case 'w':
			if (strcmp(optarg, "spin") != 0 && strcmp(optarg, "poll") != 0)
				usage(argv[0]);
			o.spin = optarg[0] == 's';
			break;
		case 'c': o.core = atoi(optarg); break;
		case 'g': o.generic = 1; break;
		default: usage(argv[0]);
		}
	}
	if (o.interface == NULL || optind != argc)
		usage(argv[0]);
	return o;
}

static void prepare(const struct options *o)
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	const struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	/* Refused in some containers; with CAP_IPC_LOCK there is no limit anyway. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	if (o->core >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET(o->core, &set);
		if (sched_setaffinity(0, sizeof set, &set) != 0)
			fail("bind to the core");
	}
}

/* --- sockets --- */

static void set(int fd, int option, const void *value, socklen_t size, const char *what)
{
	if (setsockopt(fd, SOL_XDP, option, value, size) != 0)
		fail(what);
}

static int open_socket(void)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fail("open an AF_XDP socket");
	return fd;
}

static struct ring map_ring(int fd, off_t page, const struct xdp_ring_offset *at, uint32_t size, size_t entry)
{
	uint8_t *base = mmap(NULL, at->desc + size * entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, page);
	if (base == MAP_FAILED)
		fail("map a ring");
	return (struct ring){
		.producer = (uint32_t *)(base + at->producer),
		.consumer = (uint32_t *)(base + at->consumer),
		.flags = (uint32_t *)(base + at->flags),
		.entries = base + at->desc,
		.mask = size - 1,
		.size = size,
	};
}

static struct xdp_mmap_offsets offsets_of(int fd)
{
	struct xdp_mmap_offsets offsets;
	socklen_t size = sizeof offsets;
	if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &size) != 0)
		fail("ask where the rings lie");
	return offsets;
}

/* In huge pages where there are any, as the pipeline's packets are. */
static uint8_t *allocate(size_t size)
{
	const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
	void *area = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);
	if (area == MAP_FAILED)
		area = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (area == MAP_FAILED)
		fail("allocate the UMEM");
	return area;
}

static void create_umem(int fd, struct umem *umem)
{
	umem->area = allocate((size_t)CHUNKS * CHUNK);
	const struct xdp_umem_reg reg = {
		.addr = (uintptr_t)umem->area, .len = (uint64_t)CHUNKS * CHUNK, .chunk_size = CHUNK};
	const int size = UMEM_RING;
	set(fd, XDP_UMEM_REG, &reg, sizeof reg, "register the UMEM (CAP_IPC_LOCK, or a larger RLIMIT_MEMLOCK)");
	set(fd, XDP_UMEM_FILL_RING, &size, sizeof size, "create the FILL ring");
	set(fd, XDP_UMEM_COMPLETION_RING, &size, sizeof size, "create the COMPLETION ring");
	const struct xdp_mmap_offsets at = offsets_of(fd);
	umem->fill = map_ring(fd, (off_t)XDP_UMEM_PGOFF_FILL_RING, &at.fr, UMEM_RING, sizeof(uint64_t));
	umem->completion = map_ring(fd, (off_t)XDP_UMEM_PGOFF_COMPLETION_RING, &at.cr, UMEM_RING, sizeof(uint64_t));
}

/* The ring `option`, XDP_RX_RING or XDP_TX_RING, of a socket. */
static struct ring create_ring(int fd, int option)
{
	const int size = RING;
	const int is_rx = option == XDP_RX_RING;
	set(fd, option, &size, sizeof size, "create a ring of descriptors");
	const struct xdp_mmap_offsets at = offsets_of(fd);
	return map_ring(fd, is_rx ? XDP_PGOFF_RX_RING : (off_t)XDP_PGOFF_TX_RING, is_rx ? &at.rx : &at.tx, RING,
			sizeof(struct xdp_desc));
}

/* `shared`: the socket that registered the UMEM and serves the same queue, or -1. */
static void bind_socket(int fd, const struct options *o, int shared)
{
	struct sockaddr_xdp address = {
		.sxdp_family = AF_XDP,
		.sxdp_ifindex = if_nametoindex(o->interface),
		.sxdp_queue_id = o->queue,
		/* The second socket inherits the mode of the first, and may not name one itself. */
		.sxdp_flags = shared < 0 ? XDP_COPY | XDP_USE_NEED_WAKEUP : XDP_SHARED_UMEM,
		.sxdp_shared_umem_fd = shared < 0 ? 0 : (uint32_t)shared,
	};
	if (address.sxdp_ifindex == 0)
		fail(o->interface);
	/* A queue stays busy for some 14 ms after the last socket on it was closed. */
	for (int tries = 0; bind(fd, (struct sockaddr *)&address, sizeof address) != 0; tries++) {
		if (errno != EBUSY || tries == 100)
			fail("bind to the queue (is it taken, or not there?)");
		usleep(10000);
	}
}

/* --- rings --- */

/* Entries to take, at most `most`. */
static inline uint32_t available(struct ring *r, uint32_t most)
{
	uint32_t n = r->cached_producer - r->cached_consumer;
	if (n == 0) {
		r->cached_producer = __atomic_load_n(r->producer, __ATOMIC_ACQUIRE);
		n = r->cached_producer - r->cached_consumer;
	}
	return n < most ? n : most;
}

static inline void taken(struct ring *r, uint32_t n)
{
	r->cached_consumer += n;
	__atomic_store_n(r->consumer, r->cached_consumer, __ATOMIC_RELEASE);
}

/* Room for entries; the consumer's cursor is looked at only when there seems to be too little. */
static inline uint32_t room(struct ring *r, uint32_t wanted)
{
	uint32_t n = r->size - (r->cached_producer - r->cached_consumer);
	if (n < wanted) {
		r->cached_consumer = __atomic_load_n(r->consumer, __ATOMIC_ACQUIRE);
		n = r->size - (r->cached_producer - r->cached_consumer);
	}
	return n;
}

static inline void given(struct ring *r, uint32_t n)
{
	r->cached_producer += n;
	__atomic_store_n(r->producer, r->cached_producer, __ATOMIC_RELEASE);
}

static inline int needs_wakeup(const struct ring *r)
{
	return (__atomic_load_n(r->flags, __ATOMIC_RELAXED) & XDP_RING_NEED_WAKEUP) != 0;
}

static inline void put_address(struct ring *r, uint32_t n, uint64_t address)
{
	((uint64_t *)r->entries)[(r->cached_producer + n) & r->mask] = address;
}

static inline const struct xdp_desc *descriptor(const struct ring *r, uint32_t n)
{
	return &((const struct xdp_desc *)r->entries)[(r->cached_consumer + n) & r->mask];
}

static void fill_all(struct umem *umem)
{
	for (uint32_t n = 0; n < CHUNKS; n++)
		put_address(&umem->fill, n, (uint64_t)n * CHUNK);
	given(&umem->fill, CHUNKS);
}

static inline uint64_t chunk_of(uint64_t address)
{
	return address & ~(uint64_t)(CHUNK - 1);
}

/* Until packets have come, or something else is to be looked after. */
static inline void wait_for_packets(int fd, const struct umem *umem, int spin)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	if (!spin)
		poll(&ready, 1, SLEEP_MS);
	else if (needs_wakeup(&umem->fill))
		recvfrom(fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/* --- the report --- */

static void ready(const struct options *o)
{
	printf("ready %s queue %u port %u\n", o->interface, o->queue, o->port);
	fflush(stdout);
}

struct work {
	uint64_t packets, bytes, bursts, empty, started_ns, cpu_started_ns;
};

static void start_clock(struct work *w)
{
	w->started_ns = clock_ns(CLOCK_MONOTONIC);
	w->cpu_started_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* `busy_ns`: from the first packet to the last, which is what rates are to be computed over. */
static void report(const struct work *w, int xsk, uint64_t busy_ns)
{
	struct xdp_statistics s = {0};
	socklen_t size = sizeof s;
	const uint64_t elapsed_ns = clock_ns(CLOCK_MONOTONIC) - w->started_ns;
	const uint64_t cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - w->cpu_started_ns;

	getsockopt(xsk, SOL_XDP, XDP_STATISTICS, &s, &size);
	printf("{\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"bursts\":%" PRIu64 ",\"empty_polls\":%" PRIu64
	       ",\"elapsed_ns\":%" PRIu64 ",\"busy_ns\":%" PRIu64 ",\"packets_per_s\":%.0f,\"cpu_ns\":%" PRIu64
	       ",\"cpu_ns_per_packet\":%.1f,\"rx_dropped\":%" PRIu64 ",\"rx_ring_full\":%" PRIu64
	       ",\"fill_ring_empty\":%" PRIu64 ",\"tx_invalid\":%" PRIu64 "}\n",
	       w->packets, w->bytes, w->bursts, w->empty, elapsed_ns, busy_ns,
	       busy_ns > 0 ? (double)w->packets * 1e9 / (double)busy_ns : 0.0, cpu_ns,
	       w->packets > 0 ? (double)cpu_ns / (double)w->packets : 0.0, (uint64_t)s.rx_dropped,
	       (uint64_t)s.rx_ring_full, (uint64_t)s.rx_fill_ring_empty_descs, (uint64_t)s.tx_invalid_descs);
}

#endif
