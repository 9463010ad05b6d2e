/*
 * The XDP program that gives packets to a socket, assembled by hand (Documentation/bpf/standardization/instruction-set.rst),
 * and its attachment by bpf(2).
 */
#ifndef FLUMEWAY_BENCH_REDIRECT_H
#define FLUMEWAY_BENCH_REDIRECT_H

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "xsk.h"

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof *attr);
}

#define INSN(c, d, s, o, i) ((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})
#define LOAD(size, d, s, o) INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define MOVE(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define UNLESS_EQUAL(d, i, o) INSN(BPF_JMP | BPF_JNE | BPF_K, d, 0, o, i)

/* UDP over IPv4 without options to `port` goes to the socket of the queue it came in by; all else, and what comes to a
 * queue without a socket, to the kernel. */
static int load_program(int map, uint16_t port)
{
	const struct bpf_insn code[] = {
		LOAD(BPF_W, 2, 1, offsetof(struct xdp_md, data)),
		LOAD(BPF_W, 3, 1, offsetof(struct xdp_md, data_end)),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 4, 2, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 4, 0, 0, 42),
		INSN(BPF_JMP | BPF_JGT | BPF_X, 4, 3, 14, 0),
		LOAD(BPF_H, 5, 2, 12),
		UNLESS_EQUAL(5, htons(0x0800), 12),
		LOAD(BPF_B, 5, 2, 14),
		UNLESS_EQUAL(5, 0x45, 10),
		LOAD(BPF_B, 5, 2, 23),
		UNLESS_EQUAL(5, 17, 8),
		LOAD(BPF_H, 5, 2, 36),
		UNLESS_EQUAL(5, htons(port), 6),
		LOAD(BPF_W, 2, 1, offsetof(struct xdp_md, rx_queue_index)),
		INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map),
		INSN(0, 0, 0, 0, 0),
		MOVE(3, XDP_PASS),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect_map),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		MOVE(0, XDP_PASS),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	static char log[16384];
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_XDP,
		.insns = (uintptr_t)code,
		.insn_cnt = sizeof code / sizeof *code,
		.license = (uintptr_t)"Dual MIT/GPL",
		.log_buf = (uintptr_t)log,
		.log_size = sizeof log,
		.log_level = 1,
	};
	int fd = bpf(BPF_PROG_LOAD, &attr);

	if (fd < 0) {
		fputs(log, stderr);
		fail("load the XDP program");
	}
	return fd;
}

/* Redirects the port's packets to `xsk`. The link's descriptor stays open: the program is attached as long as we live. */
static void attach(const struct options *o, int xsk)
{
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_XSKMAP, .key_size = 4, .value_size = 4, .max_entries = o->queue + 1};
	int map_fd = bpf(BPF_MAP_CREATE, &map);
	if (map_fd < 0)
		fail("create the map of sockets");
	union bpf_attr element = {
		.map_fd = (uint32_t)map_fd, .key = (uintptr_t)&o->queue, .value = (uintptr_t)&xsk};
	if (bpf(BPF_MAP_UPDATE_ELEM, &element) != 0)
		fail("put the socket into the map");
	union bpf_attr link = {
		.link_create = {
			.prog_fd = (uint32_t)load_program(map_fd, o->port),
			.target_ifindex = if_nametoindex(o->interface),
			.attach_type = BPF_XDP,
			.flags = o->generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE,
		}};
	if (bpf(BPF_LINK_CREATE, &link) < 0)
		fail("attach the XDP program (is another one attached, or the MTU above 3506?)");
}

#endif
