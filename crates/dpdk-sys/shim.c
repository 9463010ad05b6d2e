/* Ports: DPDK's inline functions as functions, and structures that are the same for every release. */
#include "shim.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_epoll.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_interrupts.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_memory.h>
#include <rte_mempool.h>
#include <rte_memzone.h>
#include <rte_version.h>

_Static_assert(RTE_VERSION >= RTE_VERSION_NUM(22, 11, 0, 0), "an older DPDK");

uint32_t fw_version(void)
{
	return RTE_VERSION;
}

int fw_errno(void)
{
	return rte_errno;
}

/* The port. */

/* Of this thread's network namespace; 0: unknown. */
static uint16_t mtu_of_interface(uint32_t if_index)
{
	struct ifreq request = { 0 };
	int mtu = 0;
	int fd;

	if (if_index == 0 || if_indextoname(if_index, request.ifr_name) == NULL)
		return 0;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	if (ioctl(fd, SIOCGIFMTU, &request) == 0)
		mtu = request.ifr_mtu;
	close(fd);
	return mtu < 0 ? 0 : RTE_MIN(mtu, UINT16_MAX);
}

int fw_port_info(uint16_t port, struct fw_port_info *info)
{
	struct rte_eth_dev_info device;
	struct rte_ether_addr mac;
	int rc = rte_eth_dev_info_get(port, &device);

	if (rc != 0)
		return rc;
	memset(info, 0, sizeof(*info));
	if (device.driver_name != NULL)
		strncpy(info->driver, device.driver_name, sizeof(info->driver) - 1);
	if (device.device != NULL && rte_dev_bus(device.device) != NULL)
		strncpy(info->bus, rte_bus_name(rte_dev_bus(device.device)), sizeof(info->bus) - 1);
	info->rx_offloads = device.rx_offload_capa;
	info->tx_offloads = device.tx_offload_capa;
	info->rss_types = device.flow_type_rss_offloads;
	info->max_rx_frame = device.max_rx_pktlen;
	info->interface_mtu = mtu_of_interface(device.if_index);
	info->numa_node = rte_eth_dev_socket_id(port);
	info->max_rx_queues = device.max_rx_queues;
	info->max_tx_queues = device.max_tx_queues;
	info->min_mtu = device.min_mtu;
	info->max_mtu = device.max_mtu;
	info->max_rx_descriptors = device.rx_desc_lim.nb_max;
	info->max_tx_descriptors = device.tx_desc_lim.nb_max;
	if (rte_eth_macaddr_get(port, &mac) == 0)
		memcpy(info->mac, mac.addr_bytes, sizeof(info->mac));
	return 0;
}

int fw_port_link(uint16_t port, bool *is_up, uint32_t *speed_mbps)
{
	struct rte_eth_link link;
	const int rc = rte_eth_link_get_nowait(port, &link);

	if (rc != 0)
		return rc;
	*is_up = link.link_status == RTE_ETH_LINK_UP;
	*speed_mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
	return 0;
}

uint32_t fw_rx_scatters_from(uint16_t port, uint16_t queue)
{
	struct rte_eth_rxq_info info;

	if (rte_eth_rx_queue_info_get(port, queue, &info) != 0 || !info.scattered_rx)
		return 0;
	/* Most do not tell how much of a buffer they use. Some use a power of two, and no buffer has 4096 bytes for data. */
	return info.rx_buf_size != 0 ? info.rx_buf_size : 2048;
}

int fw_port_configure(uint16_t port, struct fw_port_config *config)
{
	const uint64_t checksums =
		RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
	const uint64_t spread = RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP;
	struct rte_eth_dev_info device;
	struct rte_eth_conf conf;
	int rc = rte_eth_dev_info_get(port, &device);

	if (rc != 0)
		return rc;
	memset(&conf, 0, sizeof(conf));
	if (config->mtu != 0)
		conf.rxmode.mtu = config->mtu;
	config->checksum = config->checksum && (device.rx_offload_capa & checksums) == checksums;
	if (config->checksum)
		conf.rxmode.offloads |= checksums;
	config->rss = config->rss && config->rx_queues > 1 && (device.flow_type_rss_offloads & spread) != 0;
	if (config->rss) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = device.flow_type_rss_offloads & spread;
	}
	conf.intr_conf.rxq = config->interrupts;
	rc = rte_eth_dev_configure(port, config->rx_queues, config->tx_queues, &conf);
	if (rc != 0 && config->interrupts) {
		config->interrupts = false;
		conf.intr_conf.rxq = 0;
		rc = rte_eth_dev_configure(port, config->rx_queues, config->tx_queues, &conf);
	}
	return rc;
}

int fw_port_stats(uint16_t port, struct fw_port_stats *stats)
{
	struct rte_eth_stats all;
	int rc = rte_eth_stats_get(port, &all);

	if (rc != 0)
		return rc;
	*stats = (struct fw_port_stats){
		.received = all.ipackets,
		.sent = all.opackets,
		.received_bytes = all.ibytes,
		.sent_bytes = all.obytes,
		.missed = all.imissed,
		.receive_errors = all.ierrors,
		.send_errors = all.oerrors,
		.no_mbuf = all.rx_nombuf,
	};
	return 0;
}

int fw_port_remove(uint16_t port)
{
	struct rte_eth_dev_info device;
	int rc = rte_eth_dev_info_get(port, &device);

	if (rc != 0)
		return rc;
	rc = rte_eth_dev_stop(port);
	/* Who cannot stop has never started. */
	if (rc != 0 && rc != -ENOTSUP)
		return rc;
	rc = rte_eth_dev_close(port);
	if (rc != 0)
		return rc;
	return rte_dev_remove(device.device);
}

int fw_port_map(uint16_t port, void *base, uint64_t iova, size_t len)
{
	struct rte_eth_dev_info device;
	int rc = rte_eth_dev_info_get(port, &device);

	if (rc != 0)
		return rc;
	rc = rte_dev_dma_map(device.device, base, iova, len);
	return rc == 0 ? 0 : -rte_errno;
}

bool fw_iova_is_physical(void)
{
	return rte_eal_iova_mode() == RTE_IOVA_PA;
}

uint64_t fw_iova(const void *address)
{
	rte_iova_t iova = rte_mem_virt2iova(address);

	return iova == RTE_BAD_IOVA ? UINT64_MAX : iova;
}

int fw_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, struct rte_mempool *pool)
{
	return rte_eth_rx_queue_setup(port, queue, descriptors, SOCKET_ID_ANY, NULL, pool);
}

int fw_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors)
{
	struct rte_eth_dev_info device;
	struct rte_eth_txconf conf;
	int rc = rte_eth_dev_info_get(port, &device);

	if (rc != 0)
		return rc;
	/* What has been sent is somebody's buffer: it is to come back soon, not when the queue is nearly full. Some drivers allow
	 * a threshold as close to the queue's length as this, others have their own. */
	conf = device.default_txconf;
	if (descriptors > 8) {
		conf.tx_free_thresh = descriptors - 4;
		rc = rte_eth_tx_queue_setup(port, queue, descriptors, SOCKET_ID_ANY, &conf);
		if (rc == 0)
			return 0;
	}
	return rte_eth_tx_queue_setup(port, queue, descriptors, SOCKET_ID_ANY, NULL);
}

/* Interrupts. */

int fw_rx_interrupt_add(uint16_t port, uint16_t queue, int epoll)
{
	int rc;

	/* Ports without interrupts accept the configuration all the same. */
	if (rte_eth_dev_rx_intr_ctl_q_get_fd(port, queue) < 0)
		return -ENOTSUP;
	rc = rte_eth_dev_rx_intr_enable(port, queue);
	if (rc != 0)
		return rc;
	rte_eth_dev_rx_intr_disable(port, queue);
	return rte_eth_dev_rx_intr_ctl_q(port, queue, epoll, RTE_INTR_EVENT_ADD, NULL);
}

int fw_rx_interrupt_take(int epoll)
{
	struct rte_epoll_event events[16];

	return rte_epoll_wait(epoll, events, 16, 0);
}
