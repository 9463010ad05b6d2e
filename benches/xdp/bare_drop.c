/*
 * Receives on one AF_XDP queue and drops: what a receive rate is measured against. See xsk.h for the options.
 */
#define _GNU_SOURCE
#include "redirect.h"
#include "xsk.h"

/* Gives a burst straight back to the kernel. */
static uint32_t drop_burst(struct ring *rx, struct ring *fill, struct work *w)
{
	const uint32_t n = available(rx, BURST);
	if (n == 0 || room(fill, n) < n)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct xdp_desc *d = descriptor(rx, i);
		w->bytes += d->len;
		put_address(fill, i, chunk_of(d->addr));
	}
	taken(rx, n);
	given(fill, n);
	return n;
}

int main(int argc, char **argv)
{
	const struct options o = parse(argc, argv);
	struct umem umem;
	struct work w = {0};
	uint64_t first_ns = 0, last_ns = 0;

	prepare(&o);
	const int xsk = open_socket();
	create_umem(xsk, &umem);
	struct ring rx = create_ring(xsk, XDP_RX_RING);
	fill_all(&umem);
	bind_socket(xsk, &o, -1);
	attach(&o, xsk);
	ready(&o);
	start_clock(&w);
	while (!stopping) {
		const uint32_t n = drop_burst(&rx, &umem.fill, &w);
		if (n > 0) {
			w.packets += n;
			w.bursts++;
			last_ns = 0;
			if (first_ns == 0)
				first_ns = clock_ns(CLOCK_MONOTONIC);
			continue;
		}
		/* The clock is read once per idle stretch, not per burst. */
		if (last_ns == 0)
			last_ns = clock_ns(CLOCK_MONOTONIC);
		w.empty++;
		wait_for_packets(xsk, &umem, o.spin);
	}
	if (last_ns == 0)
		last_ns = clock_ns(CLOCK_MONOTONIC);
	report(&w, xsk, first_ns > 0 ? last_ns - first_ns : 0);
	return 0;
}
