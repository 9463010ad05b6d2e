/*
 * A histogram of durations in nanoseconds: 64 buckets to each power of two, so a value is known to 1.6 %.
 */
#ifndef FLUMEWAY_BENCH_HISTOGRAM_H
#define FLUMEWAY_BENCH_HISTOGRAM_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#define SUB_BITS 6u
#define BUCKETS ((64u - SUB_BITS + 1u) << SUB_BITS)

struct histogram {
	uint64_t bucket[BUCKETS];
	uint64_t count, total, max, min;
};

/* Values below 64 have a bucket each; above, the leading bit selects the group and the next six bits the bucket. */
static inline uint32_t bucket_of(uint64_t value)
{
	if (value < (1u << SUB_BITS))
		return (uint32_t)value;
	const uint32_t top = 63u - (uint32_t)__builtin_clzll(value);
	return ((top - SUB_BITS + 1u) << SUB_BITS) + (uint32_t)((value >> (top - SUB_BITS)) & ((1u << SUB_BITS) - 1u));
}

/* Largest value of a bucket. */
static inline uint64_t bound_of(uint32_t bucket)
{
	const uint32_t group = bucket >> SUB_BITS, sub = bucket & ((1u << SUB_BITS) - 1u);
	if (group == 0)
		return sub;
	return (((uint64_t)sub + 1 + (1u << SUB_BITS)) << (group - 1)) - 1;
}

static inline void record(struct histogram *h, uint64_t value)
{
	h->bucket[bucket_of(value)]++;
	h->total += value;
	h->max = value > h->max ? value : h->max;
	h->min = h->count == 0 || value < h->min ? value : h->min;
	h->count++;
}

/* The value that a share of all does not exceed; 0 if there is none. */
static inline uint64_t quantile(const struct histogram *h, double share)
{
	const double wanted = share * (double)h->count;
	uint64_t seen = 0;
	for (uint32_t b = 0; b < BUCKETS; b++) {
		seen += h->bucket[b];
		if (h->bucket[b] > 0 && (double)seen >= wanted)
			return bound_of(b) < h->max ? bound_of(b) : h->max;
	}
	return h->max;
}

static inline void print_summary(const struct histogram *h)
{
	printf("{\"count\":%" PRIu64 ",\"mean_ns\":%.0f,\"min_ns\":%" PRIu64 ",\"p50_ns\":%" PRIu64 ",\"p90_ns\":%" PRIu64
	       ",\"p99_ns\":%" PRIu64 ",\"p999_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64 "}",
	       h->count, h->count > 0 ? (double)h->total / (double)h->count : 0.0, h->min, quantile(h, 0.5),
	       quantile(h, 0.9), quantile(h, 0.99), quantile(h, 0.999), h->max);
}

static inline void print_buckets(const struct histogram *h)
{
	const char *comma = "";
	putchar('[');
	for (uint32_t b = 0; b < BUCKETS; b++) {
		if (h->bucket[b] == 0)
			continue;
		printf("%s[%" PRIu64 ",%" PRIu64 "]", comma, bound_of(b), h->bucket[b]);
		comma = ",";
	}
	putchar(']');
}

#endif
