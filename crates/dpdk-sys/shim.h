/* What Flumeway calls of DPDK, in plain types: the same for every release from 22.11 to 24.11. */
#ifndef FW_SHIM_H
#define FW_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RTE_VERSION of the headers: year, month, minor, release, a byte each. */
uint32_t fw_version(void);
/* Error number of the calling thread's last failed call. */
int fw_errno(void);

/* What a port can do. */
struct fw_port_info {
	char driver[40];
	char bus[16];
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint64_t rss_types;
	uint32_t max_rx_frame;
	int32_t numa_node;
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint16_t min_mtu;
	uint16_t max_mtu;
	/* Of the kernel's interface below; 0: there is none. */
	uint16_t interface_mtu;
	uint16_t max_rx_descriptors;
	uint16_t max_tx_descriptors;
	uint8_t mac[6];
};

/* How a port is to work. `rss`: spread packets over the queues by addresses and ports. */
struct fw_port_config {
	uint16_t rx_queues;
	uint16_t tx_queues;
	uint16_t mtu;
	bool rss;
	bool checksum;
	bool interrupts;
};

/* Counters of a port since it was started. */
struct fw_port_stats {
	uint64_t received;
	uint64_t sent;
	uint64_t received_bytes;
	uint64_t sent_bytes;
	uint64_t missed;
	uint64_t receive_errors;
	uint64_t send_errors;
	uint64_t no_mbuf;
};

int fw_port_info(uint16_t port, struct fw_port_info *info);
/* The link as it is now; a speed of 0: unknown. */
int fw_port_link(uint16_t port, bool *is_up, uint32_t *speed_mbps);
/* Of a started port: bytes from which on it may spread a frame over several buffers; 0: it does not, or does not tell. */
uint32_t fw_rx_scatters_from(uint16_t port, uint16_t queue);
/* Offloads that the port lacks are left out; what is used stands in `config` afterwards. */
int fw_port_configure(uint16_t port, struct fw_port_config *config);
int fw_port_stats(uint16_t port, struct fw_port_stats *stats);
/* Stops and closes the port and takes its device away. An error: the device may still use the buffers that it has. */
int fw_port_remove(uint16_t port);
/* Makes memory that DPDK does not own visible to the port's device, which does DMA. */
int fw_port_map(uint16_t port, void *base, uint64_t iova, size_t len);
bool fw_iova_is_physical(void);
/* UINT64_MAX: unknown. */
uint64_t fw_iova(const void *address);

/* Packet buffers: an object each in a stride of 4096 bytes, made over memory that belongs to somebody else. */
struct fw_pool;
struct rte_mempool;

enum { FW_STRIDE = 4096, FW_OBJECT_HEADER = 64, FW_MBUF = 128, FW_BURST = 64 };

/* `iovas`: of each `page` bytes, kept by the pool; NULL where no device does DMA. NULL: see fw_errno. */
struct fw_pool *fw_pool_create(const char *name, void *base, uint32_t buffers, const uint64_t *iovas, size_t page,
			       uint16_t private_bytes, uint32_t cache, int numa_node);
void fw_pool_free(struct fw_pool *pool);
struct rte_mempool *fw_pool_raw(const struct fw_pool *pool);
/* Bytes of a buffer before the headroom. */
uint16_t fw_pool_data_room(const struct fw_pool *pool);
uint32_t fw_pool_available(const struct fw_pool *pool);
/* Buffers `indices` (of this pool, from 0, in nobody's hands) may be received into. */
void fw_pool_put(struct fw_pool *pool, const uint32_t *indices, uint32_t count);
/* Takes up to `count` buffers out; returns how many. */
uint32_t fw_pool_get(struct fw_pool *pool, uint32_t *indices, uint32_t count);
/* Every buffer lies where its index says, at an address for DMA that is its page's. 0, or -EFAULT. */
int fw_pool_check(const struct fw_pool *pool);

/* A received packet: `index` in the pool, UINT32_MAX for a buffer that is not the pool's. */
struct fw_packet {
	uint32_t index;
	uint16_t offset;
	uint16_t len;
	uint32_t flags;
};
enum { FW_BAD_CHECKSUM = 1, FW_GOOD_CHECKSUM = 2, FW_SEGMENTED = 4 };

/* At most FW_BURST packets. */
uint16_t fw_rx_burst(uint16_t port, uint16_t queue, struct fw_pool *pool, struct fw_packet *packets, uint16_t max);
int fw_rx_queue_count(uint16_t port, uint16_t queue);

/* The sending side: mbufs without data of their own that point into buffers. */
struct fw_sender;

struct fw_sender *fw_sender_create(const char *name, void *base, uint32_t buffers, const uint64_t *iovas, size_t page,
				   uint32_t headers, uint32_t cache, int numa_node);
void fw_sender_free(struct fw_sender *sender);
/* From now on frames are copied to mbufs of `pool`, and are done with when they have been handed over. */
void fw_sender_copy(struct fw_sender *sender, struct rte_mempool *pool);

struct fw_frame {
	uint32_t index;
	uint16_t offset;
	uint16_t len;
};
/* Hands frames over, at most FW_BURST; returns how many went. The others' buffers are still the caller's. */
uint16_t fw_tx_burst(uint16_t port, uint16_t queue, struct fw_sender *sender, const struct fw_frame *frames, uint16_t count);
/* Buffers that the device is done with, since the last call; returns how many. */
uint32_t fw_sender_take_done(struct fw_sender *sender, uint32_t *indices, uint32_t max);

/* A pool with data of its own, for the receiving side of a port that only sends: an object each in FW_STRIDE bytes. */
struct rte_mempool *fw_plain_pool(const char *name, uint32_t mbufs, int numa_node);
void fw_plain_pool_free(struct rte_mempool *pool);

/* Interrupts of one rx queue in an epoll instance; 0, or a negative error number. */
int fw_rx_interrupt_add(uint16_t port, uint16_t queue, int epoll);
/* Takes the events that wait there. */
int fw_rx_interrupt_take(int epoll);

int fw_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, struct rte_mempool *pool);
int fw_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors);

#endif
