/*
 * DPDK's rte_ring, single producer and single consumer, between two processes: the peer that `make bench-ring` measures
 * Flumeway's ring against.
 *
 *   rte_ring CORE_A CORE_B
 *
 * Reads lines `BATCH PAUSE WARM TRIPS CLOCKED` from standard input and answers each with a line of numbers: mean
 * nanoseconds of a round trip over TRIPS, then CLOCKED single round trips, clock reads included. BATCH is 1 or 32 objects; PAUSE 1 puts
 * rte_pause() into the empty poll. Rings and objects lie in a shared mapping made before the fork, so no EAL is needed.
 * The producer writes a word of each 64-byte object, the consumer reads all of it.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <rte_pause.h>
#include <rte_ring.h>

#define CAPACITY 64
#define BATCH_MAX 32
#define CLOCKED_MAX 65536
/* Longer than any round: a process that waits for a dead one ends. */
#define ROUND_S 60

struct object {
	uint64_t word[8];
} __attribute__((aligned(64)));

struct side {
	struct rte_ring *in, *out;
	unsigned batch;
	int pause;
	uint64_t sum;
};

static struct object *objects;
static uint64_t clocked_ns[CLOCKED_MAX];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(int core)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0)
		fail("sched_setaffinity");
}

static inline void send(struct side *s, void **held)
{
	for (unsigned i = 0; i < s->batch; i++)
		((volatile struct object *)held[i])->word[0] = ++s->sum;
	if (s->batch == 1) {
		while (rte_ring_sp_enqueue(s->out, held[0]) != 0)
			;
	} else {
		while (rte_ring_sp_enqueue_bulk(s->out, held, s->batch, NULL) == 0)
			;
	}
}

static inline void receive(struct side *s, void **held)
{
	unsigned have = 0;
	while (have < s->batch) {
		unsigned got;
		if (s->batch == 1)
			got = rte_ring_sc_dequeue(s->in, held) == 0;
		else
			got = rte_ring_sc_dequeue_burst(s->in, held + have, s->batch - have, NULL);
		if (got == 0 && s->pause)
			rte_pause();
		have += got;
	}
	for (unsigned i = 0; i < s->batch; i++)
		for (unsigned w = 0; w < 8; w++)
			s->sum += ((volatile struct object *)held[i])->word[w];
}

static struct rte_ring *make_ring(char *at, const char *name)
{
	struct rte_ring *ring = (struct rte_ring *)at;
	if (rte_ring_init(ring, name, CAPACITY, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0)
		fail("rte_ring_init");
	return ring;
}

static void echo(struct side *s, uint64_t trips)
{
	void *held[BATCH_MAX];
	for (uint64_t i = 0; i < trips; i++) {
		receive(s, held);
		send(s, held);
	}
}

static void round_of(struct side *a, struct side *b, int core_b, uint64_t warm, uint64_t trips, uint64_t clocked)
{
	void *held[BATCH_MAX];
	for (unsigned i = 0; i < BATCH_MAX; i++)
		held[i] = &objects[i];
	pid_t child = fork();
	if (child < 0)
		fail("fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(core_b);
		echo(b, warm + trips + clocked);
		_exit(0);
	}
	alarm(ROUND_S);
	for (uint64_t i = 0; i < warm; i++) {
		send(a, held);
		receive(a, held);
	}
	uint64_t start = now_ns();
	for (uint64_t i = 0; i < trips; i++) {
		send(a, held);
		receive(a, held);
	}
	uint64_t end = now_ns(), before = end;
	for (uint64_t i = 0; i < clocked; i++) {
		send(a, held);
		receive(a, held);
		uint64_t now = now_ns();
		clocked_ns[i] = now - before;
		before = now;
	}
	int status;
	if (waitpid(child, &status, 0) != child || status != 0)
		fail("the other process");
	alarm(0);
	printf("%.3f", trips ? (double)(end - start) / (double)trips : 0.0);
	for (uint64_t i = 0; i < clocked; i++)
		printf(" %" PRIu64, clocked_ns[i]);
	printf("\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: rte_ring CORE_A CORE_B\n");
		return 2;
	}
	pin(atoi(argv[1]));
	size_t page = 4096, ring_bytes = ((size_t)rte_ring_get_memsize(CAPACITY) + page - 1) & ~(page - 1);
	size_t bytes = 2 * ring_bytes + BATCH_MAX * sizeof(struct object);
	char *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (shared == MAP_FAILED)
		fail("mmap");
	objects = (struct object *)(shared + 2 * ring_bytes);
	unsigned batch;
	int pause_;
	uint64_t warm, trips, clocked;
	while (scanf("%u %d %" SCNu64 " %" SCNu64 " %" SCNu64, &batch, &pause_, &warm, &trips, &clocked) == 5) {
		if (batch < 1 || batch > BATCH_MAX || clocked > CLOCKED_MAX) {
			fprintf(stderr, "rte_ring: at most %d objects and %d clocked round trips\n", BATCH_MAX, CLOCKED_MAX);
			return 2;
		}
		struct rte_ring *there = make_ring(shared, "there"), *back = make_ring(shared + ring_bytes, "back");
		struct side a = { .in = back, .out = there, .batch = batch, .pause = pause_ };
		struct side b = { .in = there, .out = back, .batch = batch, .pause = pause_ };
		round_of(&a, &b, atoi(argv[2]), warm, trips, clocked);
	}
	return 0;
}
