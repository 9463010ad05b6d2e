/* Pools over the arena's buffers, and packets that come and go in them.
 *
 * Nothing here allocates after a pool or sender has been created, but for what DPDK does itself. Indices and lengths that come
 * from a device are checked where they are used. */
#include "shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_memory.h>
#include <rte_mempool.h>
#include <rte_memzone.h>

_Static_assert(sizeof(struct rte_mbuf) == FW_MBUF, "the size of a mbuf");
_Static_assert(offsetof(struct rte_mbuf, ol_flags) - offsetof(struct rte_mbuf, data_off) == 8, "what a fresh mbuf is told by");

/* Packet buffers. */

struct fw_memory {
	char *base;
	const uint64_t *iovas;
	size_t page;
	uint32_t buffers;
};

struct fw_pool {
	struct fw_memory memory;
	struct rte_mempool *raw;
	/* What each mbuf's second 8 bytes (data_off, refcnt, nb_segs, port) must be while nobody receives into it. */
	uint64_t fresh;
	uint16_t private_bytes;
};

static uint64_t iova_of(const struct fw_memory *memory, size_t at)
{
	return memory->iovas == NULL ? RTE_BAD_IOVA : memory->iovas[at / memory->page] + at % memory->page;
}

static struct rte_mbuf *mbuf_of(const struct fw_pool *pool, uint32_t index)
{
	return (struct rte_mbuf *)(pool->memory.base + (size_t)index * FW_STRIDE + FW_OBJECT_HEADER);
}

static uint32_t index_of(const struct fw_pool *pool, const struct rte_mbuf *mbuf)
{
	const size_t at = (const char *)mbuf - pool->memory.base;
	const size_t index = at / FW_STRIDE;

	return index < pool->memory.buffers && at % FW_STRIDE == FW_OBJECT_HEADER ? index : UINT32_MAX;
}

static int populate(struct fw_pool *pool)
{
	const struct fw_memory *memory = &pool->memory;
	const size_t len = (size_t)memory->buffers * FW_STRIDE;
	size_t at = 0;

	/* A buffer never lies across two stretches whose addresses for DMA are not consecutive. */
	while (at < len) {
		const uint64_t iova = iova_of(memory, at);
		size_t end = memory->iovas == NULL ? len : at + memory->page - at % memory->page;
		int rc;

		while (end < len && iova_of(memory, end) == iova + (end - at))
			end += memory->page;
		if (end > len)
			end = len;
		rc = rte_mempool_populate_iova(pool->raw, memory->base + at, iova, end - at, NULL, NULL);
		if (rc < 0)
			return rc;
		at = end;
	}
	return 0;
}

static struct rte_mempool *create_raw(const struct fw_pool *pool, const char *name, uint32_t cache, int numa_node)
{
	struct rte_pktmbuf_pool_private private = {
		.mbuf_data_room_size = FW_STRIDE - FW_OBJECT_HEADER - sizeof(struct rte_mbuf) - pool->private_bytes,
		.mbuf_priv_size = pool->private_bytes,
	};
	struct rte_mempool *raw = rte_mempool_create_empty(name, pool->memory.buffers, FW_STRIDE - FW_OBJECT_HEADER, cache,
							    sizeof(private), numa_node, RTE_MEMPOOL_F_NO_SPREAD);

	if (raw != NULL)
		rte_pktmbuf_pool_init(raw, &private);
	return raw;
}

struct fw_pool *fw_pool_create(const char *name, void *base, uint32_t buffers, const uint64_t *iovas, size_t page,
			       uint16_t private_bytes, uint32_t cache, int numa_node)
{
	struct fw_pool *pool = calloc(1, sizeof(*pool));
	int rc;

	if (pool == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	pool->memory = (struct fw_memory){ base, iovas, page, buffers };
	pool->private_bytes = private_bytes;
	pool->raw = create_raw(pool, name, cache, numa_node);
	if (pool->raw == NULL) {
		free(pool);
		return NULL;
	}
	rc = populate(pool);
	if (rc < 0 || pool->raw->populated_size != buffers) {
		fw_pool_free(pool);
		rte_errno = rc < 0 ? -rc : ENOMEM;
		return NULL;
	}
	rte_mempool_obj_iter(pool->raw, rte_pktmbuf_init, NULL);
	memcpy(&pool->fresh, &mbuf_of(pool, 0)->data_off, sizeof(pool->fresh));
	return pool;
}

void fw_pool_free(struct fw_pool *pool)
{
	rte_mempool_free(pool->raw);
	free(pool);
}

struct rte_mempool *fw_pool_raw(const struct fw_pool *pool)
{
	return pool->raw;
}

uint16_t fw_pool_data_room(const struct fw_pool *pool)
{
	return rte_pktmbuf_data_room_size(pool->raw);
}

uint32_t fw_pool_available(const struct fw_pool *pool)
{
	const struct rte_mempool_cache *cache = rte_mempool_default_cache(pool->raw, rte_lcore_id());

	return rte_mempool_get_ops(pool->raw->ops_index)->get_count(pool->raw) + (cache == NULL ? 0 : cache->len);
}

void fw_pool_put(struct fw_pool *pool, const uint32_t *indices, uint32_t count)
{
	void *mbufs[FW_BURST];
	uint32_t done = 0;

	while (done < count) {
		const uint32_t n = RTE_MIN(count - done, (uint32_t)FW_BURST);

		for (uint32_t i = 0; i < n; i++) {
			const uint32_t index = indices[done + i];
			struct rte_mbuf *mbuf = mbuf_of(pool, index);

			/* Whoever had the buffer may have written here; a device must not follow it. */
			mbuf->buf_addr = (char *)(mbuf + 1) + pool->private_bytes;
			mbuf->buf_len = FW_STRIDE - FW_OBJECT_HEADER - sizeof(*mbuf) - pool->private_bytes;
			rte_mbuf_iova_set(mbuf, iova_of(&pool->memory, (size_t)index * FW_STRIDE +
									   FW_OBJECT_HEADER + sizeof(*mbuf) +
									   pool->private_bytes));
			memcpy(&mbuf->data_off, &pool->fresh, sizeof(pool->fresh));
			mbuf->ol_flags = 0;
			mbuf->next = NULL;
			mbuf->pool = pool->raw;
			mbufs[i] = mbuf;
		}
		rte_mempool_put_bulk(pool->raw, mbufs, n);
		done += n;
	}
}

uint32_t fw_pool_get(struct fw_pool *pool, uint32_t *indices, uint32_t count)
{
	void *mbuf;
	uint32_t n = 0;

	while (n < count && rte_mempool_get(pool->raw, &mbuf) == 0)
		indices[n++] = index_of(pool, mbuf);
	return n;
}

int fw_pool_check(const struct fw_pool *pool)
{
	for (uint32_t index = 0; index < pool->memory.buffers; index++) {
		const struct rte_mbuf *mbuf = mbuf_of(pool, index);
		const char *data = (const char *)(mbuf + 1) + pool->private_bytes;
		const struct rte_mempool_objhdr *header =
			(const struct rte_mempool_objhdr *)((const char *)mbuf - sizeof(*header));

		if (header->mp != pool->raw || mbuf->pool != pool->raw || mbuf->buf_addr != data)
			return -EFAULT;
		if (pool->memory.iovas != NULL && rte_mbuf_iova_get(mbuf) != iova_of(&pool->memory, data - pool->memory.base))
			return -EFAULT;
	}
	return 0;
}

/* Receiving. */

static uint32_t checksum_flags(uint64_t flags)
{
	const uint64_t ip = flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
	const uint64_t l4 = flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;

	if (ip == RTE_MBUF_F_RX_IP_CKSUM_BAD || l4 == RTE_MBUF_F_RX_L4_CKSUM_BAD)
		return FW_BAD_CHECKSUM;
	return l4 == RTE_MBUF_F_RX_L4_CKSUM_GOOD ? FW_GOOD_CHECKSUM : 0;
}

uint16_t fw_rx_burst(uint16_t port, uint16_t queue, struct fw_pool *pool, struct fw_packet *packets, uint16_t max)
{
	struct rte_mbuf *mbufs[FW_BURST];
	const uint16_t n = rte_eth_rx_burst(port, queue, mbufs, RTE_MIN(max, (uint16_t)FW_BURST));

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *mbuf = mbufs[i];
		const uint32_t index = index_of(pool, mbuf);
		struct fw_packet *packet = &packets[i];

		/* Whoever asked looks at the headers of all, one after the other: all are fetched at once. */
		rte_prefetch0(rte_pktmbuf_mtod(mbuf, const void *));
		packet->index = index;
		if (unlikely(index == UINT32_MAX))
			continue;
		packet->offset = FW_OBJECT_HEADER + sizeof(*mbuf) + pool->private_bytes + mbuf->data_off;
		packet->len = mbuf->data_len;
		packet->flags = checksum_flags(mbuf->ol_flags);
		if (unlikely(mbuf->nb_segs > 1)) {
			/* Longer than the MTU allows. The rest is the device's again, as its word says. */
			rte_pktmbuf_free(mbuf->next);
			packet->flags |= FW_SEGMENTED;
		}
	}
	return n;
}

int fw_rx_queue_count(uint16_t port, uint16_t queue)
{
	return rte_eth_rx_queue_count(port, queue);
}

/* Sending. */

/* One for each buffer of the arena: what tells that a device is done with it. */
struct fw_token {
	struct rte_mbuf_ext_shared_info shared;
	struct fw_sender *sender;
};

struct fw_sender {
	struct fw_memory memory;
	struct rte_mempool *headers;
	/* Where frames are copied to, for drivers that give back late what has been sent; or NULL. */
	struct rte_mempool *copies;
	struct fw_token *tokens;
	/* Buffers that came back. Each is here once at most, since it was handed over once. */
	uint32_t *done;
	uint32_t done_count;
};

static void note_done(void *address, void *opaque)
{
	struct fw_token *token = opaque;
	struct fw_sender *sender = token->sender;

	(void)address;
	if (sender->done_count < sender->memory.buffers)
		sender->done[sender->done_count++] = token - sender->tokens;
}

struct fw_sender *fw_sender_create(const char *name, void *base, uint32_t buffers, const uint64_t *iovas, size_t page,
				   uint32_t headers, uint32_t cache, int numa_node)
{
	struct fw_sender *sender = calloc(1, sizeof(*sender));

	rte_errno = ENOMEM;
	if (sender == NULL)
		return NULL;
	sender->memory = (struct fw_memory){ base, iovas, page, buffers };
	sender->tokens = calloc(buffers, sizeof(*sender->tokens));
	sender->done = calloc(buffers, sizeof(*sender->done));
	if (sender->tokens != NULL && sender->done != NULL)
		sender->headers = rte_pktmbuf_pool_create(name, headers, cache, 0, 0, numa_node);
	if (sender->headers == NULL) {
		fw_sender_free(sender);
		return NULL;
	}
	for (uint32_t i = 0; i < buffers; i++) {
		sender->tokens[i].shared.free_cb = note_done;
		sender->tokens[i].shared.fcb_opaque = &sender->tokens[i];
		sender->tokens[i].sender = sender;
	}
	return sender;
}

void fw_sender_free(struct fw_sender *sender)
{
	rte_mempool_free(sender->headers);
	free(sender->tokens);
	free(sender->done);
	free(sender);
}

void fw_sender_copy(struct fw_sender *sender, struct rte_mempool *pool)
{
	sender->copies = pool;
}

/* The buffer is done with as soon as the driver has the copy. */
static uint16_t send_copies(uint16_t port, uint16_t queue, struct fw_sender *sender, const struct fw_frame *frames, uint16_t n)
{
	struct rte_mbuf *mbufs[FW_BURST];
	uint16_t places[FW_BURST];
	uint16_t filled = 0, sent, gone;

	if (rte_pktmbuf_alloc_bulk(sender->copies, mbufs, n) != 0)
		return 0;
	for (uint16_t i = 0; i < n; i++) {
		const char *from = sender->memory.base + (size_t)frames[i].index * FW_STRIDE + frames[i].offset;
		char *to = rte_pktmbuf_append(mbufs[i], frames[i].len);

		/* One that does not fit is done with and not sent. */
		if (unlikely(to == NULL)) {
			rte_pktmbuf_free(mbufs[i]);
			continue;
		}
		memcpy(to, from, frames[i].len);
		places[filled] = i;
		mbufs[filled++] = mbufs[i];
	}
	sent = filled == 0 ? 0 : rte_eth_tx_burst(port, queue, mbufs, filled);
	gone = sent < filled ? places[sent] : n;
	for (uint16_t i = 0; i < gone; i++)
		note_done(NULL, &sender->tokens[frames[i].index]);
	if (sent < filled)
		rte_pktmbuf_free_bulk(mbufs + sent, filled - sent);
	return gone;
}

uint16_t fw_tx_burst(uint16_t port, uint16_t queue, struct fw_sender *sender, const struct fw_frame *frames, uint16_t count)
{
	struct rte_mbuf *mbufs[FW_BURST];
	const uint16_t n = RTE_MIN(count, (uint16_t)FW_BURST);
	uint16_t sent;

	if (sender->copies != NULL)
		return n == 0 ? 0 : send_copies(port, queue, sender, frames, n);
	if (n == 0 || rte_pktmbuf_alloc_bulk(sender->headers, mbufs, n) != 0)
		return 0;
	for (uint16_t i = 0; i < n; i++) {
		const size_t at = (size_t)frames[i].index * FW_STRIDE;
		struct rte_mbuf_ext_shared_info *shared = &sender->tokens[frames[i].index].shared;

		rte_mbuf_ext_refcnt_set(shared, 1);
		rte_pktmbuf_attach_extbuf(mbufs[i], sender->memory.base + at, iova_of(&sender->memory, at), FW_STRIDE, shared);
		mbufs[i]->data_off = frames[i].offset;
		mbufs[i]->data_len = frames[i].len;
		mbufs[i]->pkt_len = frames[i].len;
	}
	sent = rte_eth_tx_burst(port, queue, mbufs, n);
	if (sent < n) {
		const uint32_t before = sender->done_count;

		rte_pktmbuf_free_bulk(mbufs + sent, n - sent);
		/* Never handed over: not done with either. */
		sender->done_count = before;
	}
	return sent;
}

uint32_t fw_sender_take_done(struct fw_sender *sender, uint32_t *indices, uint32_t max)
{
	const uint32_t n = RTE_MIN(max, sender->done_count);

	sender->done_count -= n;
	memcpy(indices, sender->done + sender->done_count, n * sizeof(*indices));
	return n;
}

/* In a stretch of its own, without gaps: drivers/net/af_xdp tells the kernel of as many bytes as there are objects, from the first
 * one on, and a frame behind them is dropped. The default layout leaves out the end of each page. */
struct rte_mempool *fw_plain_pool(const char *name, uint32_t mbufs, int numa_node)
{
	const size_t page = 2 << 20;
	struct rte_pktmbuf_pool_private private = {
		.mbuf_data_room_size = FW_STRIDE - FW_OBJECT_HEADER - sizeof(struct rte_mbuf),
	};
	struct rte_mempool *raw = rte_mempool_create_empty(name, mbufs, FW_STRIDE - FW_OBJECT_HEADER, 0, sizeof(private), numa_node,
							   RTE_MEMPOOL_F_NO_SPREAD);
	const struct rte_memzone *zone;
	int rc;

	if (raw == NULL)
		return NULL;
	rte_pktmbuf_pool_init(raw, &private);
	zone = rte_memzone_reserve_aligned(name, (size_t)mbufs * FW_STRIDE, numa_node, 0, page);
	if (zone == NULL && numa_node != SOCKET_ID_ANY)
		zone = rte_memzone_reserve_aligned(name, (size_t)mbufs * FW_STRIDE, SOCKET_ID_ANY, 0, page);
	if (zone == NULL) {
		rte_mempool_free(raw);
		rte_errno = ENOMEM;
		return NULL;
	}
	rc = rte_mempool_populate_virt(raw, zone->addr, (size_t)mbufs * FW_STRIDE, zone->hugepage_sz, NULL, NULL);
	if (rc < 0 || raw->populated_size != mbufs) {
		fw_plain_pool_free(raw);
		rte_errno = rc < 0 ? -rc : ENOMEM;
		return NULL;
	}
	rte_mempool_obj_iter(raw, rte_pktmbuf_init, NULL);
	return raw;
}

void fw_plain_pool_free(struct rte_mempool *pool)
{
	const struct rte_memzone *zone = rte_memzone_lookup(pool->name);

	rte_mempool_free(pool);
	if (zone != NULL)
		rte_memzone_free(zone);
}
