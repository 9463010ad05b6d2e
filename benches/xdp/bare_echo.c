/*
 * Sends every UDP packet of one AF_XDP queue back from the buffer it came in: one process, no library, what an echo can cost
 * at best. Two sockets on one UMEM and queue, as the pipeline has them: R with RX and FILL, T with TX and COMPLETION. See
 * xsk.h for the options.
 */
#define _GNU_SOURCE
#include "redirect.h"
#include "xsk.h"

static inline void swap16(uint8_t *a, uint8_t *b)
{
	uint16_t x, y;
	memcpy(&x, a, 2);
	memcpy(&y, b, 2);
	memcpy(a, &y, 2);
	memcpy(b, &x, 2);
}

static inline void swap32(uint8_t *a, uint8_t *b)
{
	uint32_t x, y;
	memcpy(&x, a, 4);
	memcpy(&y, b, 4);
	memcpy(a, &y, 4);
	memcpy(b, &x, 4);
}

/* MACs, IPv4 addresses, UDP ports. Both checksums stay right: they are sums, and the order of terms does not matter. */
static inline void turn_around(uint8_t *packet)
{
	swap32(packet, packet + 6);
	swap16(packet + 4, packet + 10);
	swap32(packet + 26, packet + 30);
	swap16(packet + 34, packet + 36);
}

/* What was sent is filled in again. */
static inline void reap(struct umem *umem)
{
	struct ring *completion = &umem->completion, *fill = &umem->fill;
	const uint32_t n = available(completion, UMEM_RING);
	if (n == 0 || room(fill, n) < n)
		return;
	for (uint32_t i = 0; i < n; i++) {
		const uint64_t *done = completion->entries;
		put_address(fill, i, chunk_of(done[(completion->cached_consumer + i) & completion->mask]));
	}
	taken(completion, n);
	given(fill, n);
}

/* In copy mode the kernel sends a few dozen packets a call (EAGAIN: more are left), and none while the interface's queue is
 * full (EAGAIN, EBUSY, ENOBUFS): the rest goes with the next kick. */
static inline void kick(int xsk, struct ring *tx)
{
	if (needs_wakeup(tx) && sendto(xsk, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN && errno != EBUSY &&
	    errno != ENOBUFS && errno != EINTR)
		fail("kick the TX ring");
}

static inline int is_unsent(struct ring *tx)
{
	return __atomic_load_n(tx->consumer, __ATOMIC_ACQUIRE) != tx->cached_producer;
}

static uint32_t echo_burst(struct ring *rx, struct ring *tx, uint8_t *area, struct work *w)
{
	uint32_t n = available(rx, BURST);
	if (n == 0)
		return 0;
	const uint32_t free = room(tx, n);
	if (n > free)
		n = free;
	for (uint32_t i = 0; i < n; i++)
		__builtin_prefetch(area + descriptor(rx, i)->addr, 1);
	for (uint32_t i = 0; i < n; i++) {
		/* The program redirects nothing shorter than the three headers. */
		const struct xdp_desc *d = descriptor(rx, i);
		turn_around(area + d->addr);
		((struct xdp_desc *)tx->entries)[(tx->cached_producer + i) & tx->mask] =
			(struct xdp_desc){.addr = d->addr, .len = d->len};
		w->bytes += d->len;
	}
	taken(rx, n);
	given(tx, n);
	return n;
}

int main(int argc, char **argv)
{
	const struct options o = parse(argc, argv);
	struct umem umem;
	struct work w = {0};
	uint64_t first_ns = 0, last_ns = 0;

	prepare(&o);
	const int r = open_socket(), t = open_socket();
	create_umem(r, &umem);
	struct ring rx = create_ring(r, XDP_RX_RING);
	fill_all(&umem);
	bind_socket(r, &o, -1);
	struct ring tx = create_ring(t, XDP_TX_RING);
	bind_socket(t, &o, r);
	attach(&o, r);
	ready(&o);
	start_clock(&w);
	while (!stopping) {
		const uint32_t n = echo_burst(&rx, &tx, umem.area, &w);
		const int unsent = n > 0 || is_unsent(&tx);
		if (unsent)
			kick(t, &tx);
		reap(&umem);
		if (n > 0) {
			w.packets += n;
			w.bursts++;
			last_ns = 0;
			if (first_ns == 0)
				first_ns = clock_ns(CLOCK_MONOTONIC);
			continue;
		}
		if (last_ns == 0)
			last_ns = clock_ns(CLOCK_MONOTONIC);
		w.empty++;
		if (!unsent)
			wait_for_packets(r, &umem, o.spin);
	}
	if (last_ns == 0)
		last_ns = clock_ns(CLOCK_MONOTONIC);
	report(&w, r, first_ns > 0 ? last_ns - first_ns : 0);
	return 0;
}
