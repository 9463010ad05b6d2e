/*
 * Sends UDP packets at a given rate, or keeps a given number in flight, and measures the replies. All options are in
 * generator.h; the result is one JSON object on standard output.
 *
 * Packets: equal payloads one behind another in a file (-f), or made here. Each carries a 64-bit little-endian id (-a), and
 * ids rise by one from payload to payload; the reply carries it too (-A). Payloads are sent in turn, again and again, so
 * there must be more of them than can be in flight.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "generator.h"
#include "headers.h"
#include "histogram.h"

#define REPLY_MAX 4096u
/* A paced packet that is late by more than this is sent all the same, and counted. */
#define LATE_NS 100000u

struct generator {
	struct options o;
	/* Packets as they go out: whole frames on a packet socket, else payloads. */
	uint8_t *packets;
	size_t stride;
	uint64_t first_id;
	/* When the packet of each payload was sent; 0: it is not in flight. */
	uint64_t *sent_ns;
	uint64_t next, oldest;
	int receiver, sender;
	uint64_t measure_from_ns;
	uint64_t sent, received, unexpected, unmatched, lost, refused, late, outstanding;
	struct histogram rtt;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

static void fail(const char *what)
{
	fprintf(stderr, "generator: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct sockaddr_in address(const char *text, uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	if (inet_pton(AF_INET, text, &a.sin_addr) != 1) {
		fprintf(stderr, "generator: %s is no IPv4 address\n", text);
		exit(2);
	}
	return a;
}

/* Receives the replies, and sends unless a packet socket does. */
static int udp_socket(const struct options *o)
{
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), size = 8 << 20;
	const struct sockaddr_in from = address(o->source, 0), to = address(o->target, o->port);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&from, sizeof from) != 0 ||
	    connect(fd, (const struct sockaddr *)&to, sizeof to) != 0)
		fail("open a UDP socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
	return fd;
}

static int packet_socket(const struct options *o)
{
	/* Protocol 0: it receives nothing. */
	const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, size = 8 << 20;
	const struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(o->interface)};
	if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof at) != 0)
		fail("open a packet socket on the interface");
	if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) != 0)
		fail("PACKET_QDISC_BYPASS");
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
	return fd;
}

static uint64_t id_of(const uint8_t *at)
{
	uint64_t id;
	memcpy(&id, at, sizeof id);
	return le64toh(id);
}

static void *allocate(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		fail("allocate the packets");
	return memory;
}

static const uint8_t *map_file(struct options *o)
{
	const int fd = open(o->file, O_RDONLY | O_CLOEXEC);
	struct stat s;
	if (fd < 0 || fstat(fd, &s) != 0)
		fail(o->file);
	if (s.st_size == 0 || (size_t)s.st_size % o->size != 0) {
		fprintf(stderr, "generator: %s has %jd bytes, which is no multiple of %zu\n", o->file,
			(intmax_t)s.st_size, o->size);
		exit(2);
	}
	o->payloads = (uint32_t)((size_t)s.st_size / o->size);
	const uint8_t *bytes = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (bytes == MAP_FAILED)
		fail(o->file);
	if (o->payloads < BURST) {
		fprintf(stderr, "generator: %s has fewer than %u payloads\n", o->file, BURST);
		exit(2);
	}
	return bytes;
}

static void find_macs(const struct generator *g, uint8_t own[6], uint8_t target[6])
{
	struct ifreq hardware = {0};

	snprintf(hardware.ifr_name, sizeof hardware.ifr_name, "%s", g->o.interface);
	if (ioctl(g->sender, SIOCGIFHWADDR, &hardware) != 0)
		fail("ask for the interface's address");
	memcpy(own, hardware.ifr_hwaddr.sa_data, 6);
	if (sscanf(g->o.mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", target, target + 1, target + 2, target + 3, target + 4,
		   target + 5) != 6)
		usage();
}

static void make_packets(struct generator *g)
{
	struct options *o = &g->o;
	const uint8_t *file = o->file ? map_file(o) : NULL;
	const size_t before = o->interface ? HEADERS : 0;
	struct end own = {0}, target = {.at = address(o->target, o->port)};
	socklen_t size = sizeof own.at;

	getsockname(g->receiver, (struct sockaddr *)&own.at, &size);
	if (o->interface)
		find_macs(g, own.mac, target.mac);
	/* Each packet on cache lines of its own. */
	g->stride = (before + o->size + 63) & ~(size_t)63;
	g->packets = allocate(g->stride * o->payloads);
	for (uint32_t n = 0; n < o->payloads; n++) {
		uint8_t *packet = g->packets + g->stride * n, *payload = packet + before;
		if (file) {
			memcpy(payload, file + o->size * n, o->size);
		} else {
			const uint64_t id = htole64(n);
			memcpy(payload + o->id_at, &id, sizeof id);
		}
		if (id_of(payload + o->id_at) != id_of(g->packets + before + o->id_at) + n) {
			fprintf(stderr, "generator: payload %u: ids must rise by one\n", n);
			exit(2);
		}
		if (o->interface)
			put_headers(packet, &own, &target, o->size);
	}
	g->first_id = id_of(g->packets + before + o->id_at);
	g->sent_ns = allocate(o->payloads * sizeof *g->sent_ns);
}

/* Gives up on replies that are too late, and on the oldest whose payloads the next `n` packets need. */
static void give_up(struct generator *g, uint64_t now, uint32_t n)
{
	const uint64_t patience_ns = (uint64_t)(g->o.timeout_s * 1e9);
	for (; g->oldest < g->next; g->oldest++) {
		uint64_t *sent_ns = &g->sent_ns[g->oldest % g->o.payloads];
		if (*sent_ns == 0)
			continue;
		if (now - *sent_ns < patience_ns && g->next + n - g->oldest <= g->o.payloads)
			return;
		*sent_ns = 0;
		g->outstanding--;
		g->lost++;
	}
}

/* How many were taken by the kernel; what it refuses, for want of room, comes again. */
static uint32_t send_burst(struct generator *g, uint32_t n)
{
	static struct mmsghdr messages[BURST];
	static struct iovec vectors[BURST];
	const size_t length = (g->o.interface ? HEADERS : 0) + g->o.size;

	if (n > g->o.burst)
		n = g->o.burst;
	const uint64_t now = now_ns();
	if (!g->o.one_way)
		give_up(g, now, n);
	for (uint32_t i = 0; i < n; i++) {
		const uint64_t at = (g->next + i) % g->o.payloads;
		vectors[i] = (struct iovec){.iov_base = g->packets + g->stride * at, .iov_len = length};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
		/* Before the call: the reply may be there before it returns. */
		g->sent_ns[at] = now;
	}
	const int taken = sendmmsg(g->sender, messages, n, 0);
	/* ECONNREFUSED tells of an earlier packet that nobody wanted. */
	if (taken < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED && errno != EINTR)
		fail("send");
	const uint32_t done = taken < 0 ? 0 : (uint32_t)taken;
	for (uint32_t i = done; i < n; i++)
		g->sent_ns[(g->next + i) % g->o.payloads] = 0;
	g->refused += done < n;
	g->next += done;
	g->sent += done;
	g->outstanding += g->o.one_way ? 0 : done;
	return done;
}

static void take_reply(struct generator *g, const uint8_t *reply, size_t length, uint64_t now)
{
	const struct options *o = &g->o;
	const int is_whole = length >= o->reply_id_at + 8 && (o->check_at < 0 || length > (size_t)o->check_at);
	const uint64_t at = is_whole ? id_of(reply + o->reply_id_at) - g->first_id : UINT64_MAX;
	if (at >= o->payloads || g->sent_ns[at] == 0) {
		g->unmatched++;
		return;
	}
	if (g->sent_ns[at] >= g->measure_from_ns)
		record(&g->rtt, now - g->sent_ns[at]);
	g->sent_ns[at] = 0;
	g->outstanding--;
	g->received++;
	g->unexpected += o->check_at >= 0 && reply[o->check_at] != o->check_value;
}

static uint32_t receive(struct generator *g)
{
	static uint8_t replies[BURST][REPLY_MAX];
	static struct mmsghdr messages[BURST];
	static struct iovec vectors[BURST];

	if (g->outstanding == 0)
		return 0;
	if (g->outstanding == 1) {
		const ssize_t length = recv(g->receiver, replies[0], REPLY_MAX, 0);
		if (length < 0)
			return 0;
		take_reply(g, replies[0], (size_t)length, now_ns());
		return 1;
	}
	for (uint32_t i = 0; i < BURST; i++) {
		vectors[i] = (struct iovec){.iov_base = replies[i], .iov_len = REPLY_MAX};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
	}
	const int n = recvmmsg(g->receiver, messages, BURST, 0, NULL);
	const uint64_t now = now_ns();
	for (int i = 0; i < n; i++)
		take_reply(g, replies[i], messages[i].msg_len, now);
	return n < 0 ? 0 : (uint32_t)n;
}

/* Packets that the schedule or the window allows now. */
static uint32_t due(struct generator *g, uint64_t start, uint64_t now)
{
	if (g->o.window > 0)
		return g->outstanding < g->o.window ? g->o.window - (uint32_t)g->outstanding : 0;
	if (g->o.rate == 0)
		return g->o.burst;
	const uint64_t by_now = (uint64_t)((double)(now - start) * g->o.rate / 1e9);
	if (by_now <= g->sent)
		return 0;
	g->late += (double)(now - start) - (double)g->sent * 1e9 / g->o.rate > LATE_NS;
	return (uint32_t)(by_now - g->sent);
}

/* Sleeps until a reply comes or the next packet is due; spinning is for those who asked for it. */
static void wait_for_work(const struct generator *g, uint64_t start, uint64_t now)
{
	struct pollfd ready = {.fd = g->receiver, .events = POLLIN};
	uint64_t patience_ns = 10000000;
	if (g->o.spin)
		return;
	if (g->o.window == 0) {
		const double next = (double)start + (double)(g->sent + 1) * 1e9 / g->o.rate;
		patience_ns = next > (double)now ? (uint64_t)(next - (double)now) : 0;
	}
	const struct timespec t = {(time_t)(patience_ns / 1000000000u), (long)(patience_ns % 1000000000u)};
	ppoll(&ready, 1, &t, NULL);
}

static uint64_t run(struct generator *g)
{
	const uint64_t start = now_ns(), end = start + (uint64_t)(g->o.seconds * 1e9);
	uint64_t now = start;

	g->measure_from_ns = start + (uint64_t)(g->o.warm_s * 1e9);
	while (now < end && !stopping) {
		uint32_t n = due(g, start, now);
		if (n > 0)
			n = send_burst(g, n);
		if (receive(g) == 0 && n == 0)
			wait_for_work(g, start, now);
		now = now_ns();
		if (g->outstanding > 0)
			give_up(g, now, 0);
	}
	const uint64_t elapsed_ns = now - start;
	while (g->outstanding > 0 && !stopping) {
		receive(g);
		give_up(g, now_ns(), 0);
	}
	return elapsed_ns;
}

static void report(const struct generator *g, uint64_t elapsed_ns)
{
	struct timespec cpu;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	printf("{\"mode\":\"%s\",\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"unexpected\":%" PRIu64
	       ",\"unmatched\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"late\":%" PRIu64 ",\"elapsed_ns\":%" PRIu64
	       ",\"sent_per_s\":%.0f,\"received_per_s\":%.0f,\"cpu_ns\":%" PRIu64 ",\"rtt\":",
	       g->o.window > 0 ? "window" : "rate", g->sent, g->received, g->lost, g->unexpected, g->unmatched, g->refused,
	       g->late, elapsed_ns, (double)g->sent * 1e9 / (double)elapsed_ns,
	       (double)g->received * 1e9 / (double)elapsed_ns,
	       (uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec);
	print_summary(&g->rtt);
	if (g->o.print_histogram) {
		printf(",\"histogram\":");
		print_buckets(&g->rtt);
	}
	printf("}\n");
}

int main(int argc, char **argv)
{
	static struct generator g;
	const struct sigaction action = {.sa_handler = on_signal};

	g.o = parse(argc, argv);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	/* Sleeps end when they should, not 50 us later. */
	prctl(PR_SET_TIMERSLACK, 1);
	if (g.o.core >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET(g.o.core, &set);
		if (sched_setaffinity(0, sizeof set, &set) != 0)
			fail("bind to the core");
	}
	g.receiver = udp_socket(&g.o);
	g.sender = g.o.interface ? packet_socket(&g.o) : g.receiver;
	make_packets(&g);
	report(&g, run(&g));
	return 0;
}
