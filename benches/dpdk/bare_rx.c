/*
 * Receives from one port of DPDK and frees: what a poll-mode driver costs with nothing around it. No owner words, an ordinary
 * pool, nobody looks at the packets.
 *
 * bare_rx DEVICE CORE BURST CACHE SECONDS prints one line of JSON.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

enum { MBUFS = 8191, DESCRIPTORS = 1024, MOST = 512 };

static void check(int failed, const char *what)
{
	if (failed) {
		fprintf(stderr, "bare_rx: %s: %s\n", what, rte_strerror(rte_errno));
		exit(1);
	}
}

static uint16_t start_port(const char *device, unsigned cache)
{
	struct rte_eth_conf conf = {0};
	uint16_t port;

	check(rte_dev_probe(device) != 0, device);
	RTE_ETH_FOREACH_DEV(port)
		break;
	struct rte_mempool *pool =
		rte_pktmbuf_pool_create("bare", MBUFS, cache, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	check(pool == NULL, "create the pool");
	check(rte_eth_dev_configure(port, 1, 1, &conf) != 0, "configure");
	check(rte_eth_rx_queue_setup(port, 0, DESCRIPTORS, SOCKET_ID_ANY, NULL, pool) != 0, "set up the receive queue");
	check(rte_eth_tx_queue_setup(port, 0, DESCRIPTORS, SOCKET_ID_ANY, NULL) != 0, "set up the send queue");
	check(rte_eth_dev_start(port) != 0, "start");
	return port;
}

/* Packets in `cycles` of the time stamp counter. */
static uint64_t receive(uint16_t port, uint16_t burst, uint64_t cycles)
{
	const uint64_t start = rte_rdtsc();
	struct rte_mbuf *mbufs[MOST];
	uint64_t packets = 0;

	while (rte_rdtsc() - start < cycles) {
		const uint16_t n = rte_eth_rx_burst(port, 0, mbufs, burst);
		for (uint16_t i = 0; i < n; i++)
			rte_pktmbuf_free(mbufs[i]);
		packets += n;
	}
	return packets;
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fputs("bare_rx DEVICE CORE BURST CACHE SECONDS\n", stderr);
		return 2;
	}
	char *eal[] = {"bare_rx", "--in-memory", "--no-telemetry", "--log-level=error", "-a", "0000:ff:1f.7", "-l", argv[2],
		       "--file-prefix", "bare-rx", NULL};
	const int burst = atoi(argv[3]);

	check(rte_eal_init(sizeof eal / sizeof *eal - 1, eal) < 0, "initialise EAL");
	if (burst < 1 || burst > MOST) {
		fprintf(stderr, "bare_rx: a burst has 1 to %d packets\n", MOST);
		return 2;
	}
	const uint16_t port = start_port(argv[1], (unsigned)atoi(argv[4]));
	const uint64_t hz = rte_get_tsc_hz(), cycles = (uint64_t)(atof(argv[5]) * (double)hz);
	/* Caches, branch predictors and the clock of the core settle first. */
	receive(port, (uint16_t)burst, cycles / 4);
	const uint64_t packets = receive(port, (uint16_t)burst, cycles);
	printf("{\"packets\":%" PRIu64 ",\"cycles_per_packet\":%.2f,\"tsc_hz\":%" PRIu64 "}\n", packets,
	       packets == 0 ? 0.0 : (double)cycles / (double)packets, hz);
	return 0;
}
