/*
 * What the generator can be told.
 */
#ifndef FLUMEWAY_BENCH_GENERATOR_H
#define FLUMEWAY_BENCH_GENERATOR_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Most packets of one call, and fewest payloads. */
#define BURST 64u

struct options {
	const char *source, *target, *file, *mac, *interface;
	uint16_t port;
	size_t size, id_at, reply_id_at;
	uint32_t payloads, window, burst;
	double rate, seconds, warm_s, timeout_s;
	int spin, core, one_way, print_histogram, check_at, check_value;
};

static void usage(void)
{
	fputs("generator -s SOURCE_IPV4 -t TARGET_IPV4 -p PORT (-r PACKETS_PER_S | -W WINDOW) [OPTIONS]\n"
	      "-r RATE      paced: so many packets a second, 0 as fast as they go    -W N   closed loop: N in flight\n"
	      "-d SECONDS   duration (5)                   -u SECONDS   not measured before that (0.2)\n"
	      "-f FILE      payloads, one behind another   -l LENGTH    bytes of a payload (64)\n"
	      "-n COUNT     payloads if there is no file (4096)\n"
	      "-a OFFSET    of the id in a request (0)     -A OFFSET    of the id in a reply (as -a)\n"
	      "-e OFFSET:VALUE  byte that a good reply has\n"
	      "-b BURST     packets handed over at once (paced 32, closed loop 1)\n"
	      "-w spin|poll wait strategy (spin)           -c CORE      bind to a core\n"
	      "-o SECONDS   a reply that takes longer is lost (1)\n"
	      "-i INTERFACE -m MAC   whole Ethernet frames to this address, past the queueing discipline\n"
	      "-x           one way: expects no replies\n"
	      "-H           print the histogram: [upper bound in ns, count] of each bucket\n", stderr);
	exit(2);
}

static struct options parse(int argc, char **argv)
{
	struct options o = {.size = 64, .payloads = 4096, .rate = -1, .seconds = 5, .warm_s = 0.2, .timeout_s = 1,
			    .spin = 1, .core = -1, .check_at = -1, .reply_id_at = SIZE_MAX};
	int option;

	while ((option = getopt(argc, argv, "s:t:p:r:W:d:u:f:l:n:a:A:e:b:w:c:o:i:m:xH")) != -1) {
		switch (option) {
		case 's': o.source = optarg; break;
		case 't': o.target = optarg; break;
		case 'p': o.port = (uint16_t)atoi(optarg); break;
		case 'r': o.rate = atof(optarg); break;
		case 'W': o.window = (uint32_t)atoi(optarg); break;
		case 'd': o.seconds = atof(optarg); break;
		case 'u': o.warm_s = atof(optarg); break;
		case 'f': o.file = optarg; break;
		case 'l': o.size = strtoul(optarg, NULL, 10); break;
		case 'n': o.payloads = (uint32_t)atoi(optarg); break;
		case 'a': o.id_at = strtoul(optarg, NULL, 10); break;
		case 'A': o.reply_id_at = strtoul(optarg, NULL, 10); break;
		case 'e':
			if (sscanf(optarg, "%d:%d", &o.check_at, &o.check_value) != 2)
				usage();
			break;
		case 'b': o.burst = (uint32_t)atoi(optarg); break;
		case 'w': o.spin = optarg[0] == 's'; break;
		case 'c': o.core = atoi(optarg); break;
		case 'o': o.timeout_s = atof(optarg); break;
		case 'i': o.interface = optarg; break;
		case 'm': o.mac = optarg; break;
		case 'x': o.one_way = 1; break;
		case 'H': o.print_histogram = 1; break;
		default: usage();
		}
	}
	if (o.reply_id_at == SIZE_MAX)
		o.reply_id_at = o.id_at;
	if (o.burst == 0)
		o.burst = o.window > 0 ? 1 : 32;
	if (o.burst > BURST)
		o.burst = BURST;
	if (!o.source || !o.target || !o.port || (o.rate < 0) == (o.window == 0) || (o.one_way && o.window > 0) || !o.interface != !o.mac ||
	    o.id_at + 8 > o.size || o.size > 65507 || o.payloads < BURST)
		usage();
	return o;
}

#endif
