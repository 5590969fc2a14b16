/* Links: vm/numa.o vm/options-numa.o vm/options-cpu.o x86/tables/numa.o hw/ram-size.o util/keys.o util/options.o util/log.o */

/* --numa: what it says of a machine, where the memory is, and what is refused. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/options.h"
#include "lkvm/vm/numa.h"
#include "lkvm/vm/run.h"
#include "unit.h"

static struct vm_config cfg;
static const struct opt option = { OPT_PARSE, 0, "numa", "KEY,...", .keys = run_numa_keys };

/* @nodes: a --numa each, separated by blanks. Return: of what was wrong first, or 0 */
static int parse(unsigned cpus, uint64_t ram_bytes, const char *nodes)
{
	char text[1000], *rest = text, *word;
	int err = 0;

	run_free_numa(&cfg);
	cfg = (struct vm_config){ .cpus = cpus, .ram.size_bytes = ram_bytes };
	ck_assert_uint_lt((size_t)snprintf(text, sizeof(text), "%s", nodes), sizeof(text));
	log_hold_errors(true);
	while (!err && (word = strsep(&rest, " ")))
		err = run_parse_numa(&cfg, &option, word);
	return err;
}

static int choose(unsigned cpus, uint64_t ram_bytes, const char *nodes)
{
	int err = parse(cpus, ram_bytes, nodes);

	return err ? err : run_choose_numa(&cfg);
}

static void refused(unsigned cpus, uint64_t ram_bytes, const char *nodes, const char *why)
{
	char text[1024];

	ck_assert_msg(choose(cpus, ram_bytes, nodes) == -EINVAL, "%s", nodes);
	log_last_error(text, sizeof(text));
	ck_assert_msg(!strcmp(text, why), "%s: %s, not: %s", nodes, text, why);
	ck_assert_ptr_null(cfg.numa);
}

START_TEST(test_nothing)
{
	cfg = (struct vm_config){ .cpus = 2 };
	ck_assert_int_eq(run_choose_numa(&cfg), 0);
	ck_assert_ptr_null(cfg.numa);
}
END_TEST

/* The sizes at the gap, in one, two and four nodes */
START_TEST(test_ranges)
{
	static const struct {
		const char *nodes;
		unsigned n;
		struct {
			unsigned node;
			uint64_t start, mib;
		} want[5];
	} table[] = {
		{ "mem=256,cpus=0-3", 1, { { 0, 0, 256 } } },
		{ "mem=128,cpus=0-1 mem=128,cpus=2-3", 2, { { 0, 0, 128 }, { 1, 128 * MIB, 128 } } },
		{ "mem=3328,cpus=0-3", 1, { { 0, 0, 3328 } } },
		{ "mem=3328,cpus=0-3 mem=1", 2, { { 0, 0, 3328 }, { 1, 4 * GIB, 1 } } },
		{ "mem=4096,cpus=0-3", 2, { { 0, 0, 3328 }, { 0, 4 * GIB, 768 } } },
		{ "mem=2048,cpus=0 mem=2048,cpus=1-3", 3, { { 0, 0, 2048 }, { 1, 2 * GIB, 1280 }, { 1, 4 * GIB, 768 } } },
		{ "mem=2G,cpus=0 mem=2G,cpus=1 mem=2G,cpus=2 mem=2G,cpus=3", 5,
		  { { 0, 0, 2048 }, { 1, 2 * GIB, 1280 }, { 1, 4 * GIB, 768 }, { 2, 4 * GIB + 768 * MIB, 2048 },
		    { 3, 6 * GIB + 768 * MIB, 2048 } } },
		{ "cpus=0-3 mem=64", 1, { { 1, 0, 64 } } },
	};
	struct numa_range range[NUMA_MAX_RANGES];

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		ck_assert_int_eq(choose(4, 0, table[i].nodes), 0);
		ck_assert_uint_eq(numa_ranges(cfg.numa, range), table[i].n);
		for (unsigned k = 0; k < table[i].n; k++) {
			ck_assert_uint_eq(range[k].node, table[i].want[k].node);
			ck_assert_uint_eq(range[k].start, table[i].want[k].start);
			ck_assert_uint_eq(range[k].bytes, table[i].want[k].mib * MIB);
		}
	}
}
END_TEST

START_TEST(test_nodes)
{
	ck_assert_int_eq(choose(6, 0, "mem=64,cpus=0:2-3,dist=10:11:12 mem=32768K,cpus=1:4-5 mem=1"), 0);
	ck_assert_uint_eq(cfg.ram.size_bytes, 97 * MIB); /* theirs together */
	ck_assert_mem_eq(cfg.numa->node, ((uint8_t[]){ 0, 1, 0, 0, 1, 1 }), 6);
	ck_assert_mem_eq(cfg.numa->distance, ((uint8_t[]){ 10, 11, 12 }), 3);
	ck_assert_mem_eq(&cfg.numa->distance[numa_pair(1, 0)], ((uint8_t[]){ 11, 10, 20 }), 3);
	ck_assert_mem_eq(&cfg.numa->distance[numa_pair(2, 0)], ((uint8_t[]){ 12, 20, 10 }), 3);
	ck_assert(numa_has_cpu(cfg.numa, 1));
	ck_assert(!numa_has_cpu(cfg.numa, 2));
	ck_assert_int_eq(choose(2, 256 * MIB, "mem=256,cpus=0-1,latency=80:90,bandwidth=1:100000000 cpus="), -EINVAL);
	ck_assert_int_eq(choose(2, 256 * MIB, "mem=255,cpus=0-1,latency=80:90,bandwidth=1:100000000 mem=1"), 0);
	ck_assert_uint_eq(cfg.numa->latency_ns[numa_pair(0, 1)], 90);
	ck_assert_uint_eq(cfg.numa->bandwidth_mb[numa_pair(0, 1)], 100000000);
}
END_TEST

START_TEST(test_refused)
{
	refused(2, 0, "mem=64,cpus=0", "--numa: CPU 1 is in no node");
	refused(2, 0, "mem=64,cpus=0-1 cpus=1", "--numa: CPU 1 is in node 0 and in node 1");
	refused(2, 0, "mem=64,cpus=0-2", "--numa: node 0 has CPU 2, but there are only 2 (--cpus)");
	refused(2, 256 * MIB, "mem=64,cpus=0-1",
		"--numa: the nodes have 65536KB of RAM in all, the guest has 262144KB (--mem)");
	refused(2, 64 * MIB, "mem=64,cpus=0-1 mem=4K",
		"--numa: the nodes have 65540KB of RAM in all, the guest has 65536KB (--mem)");
	refused(2, 0, "mem=32,cpus=0-1 mem=31", "--numa: the nodes have 63MB of RAM in all (min 64MB)");
	refused(2, 0, "mem=16777215T,cpus=0-1 mem=16777215T",
		"--numa: node 1 makes it more RAM than there are addresses");
	refused(2, 0, "mem=64,cpus=0-1 mem=0", "--numa: node 1 has neither RAM nor CPUs");
	refused(2, 0, "mem=64,cpus=0-1,dist=10:20", "--numa: node 0 has 2 values in dist=, one for each of 1 nodes is needed");
	refused(2, 0, "mem=64,cpus=0,dist=20:20 cpus=1",
		"--numa: the distance of node 0 to node 0 is 20: 10 is that to itself");
	refused(2, 0, "mem=64,cpus=0,dist=10:10 cpus=1",
		"--numa: the distance of node 0 to node 1 is 10: 10 is that to itself");
	refused(2, 0, "mem=64,cpus=0,latency=1:2 cpus=1", "--numa: node 1 has no latency=, of which others have one");
	refused(2, 0, "mem=64,cpus=0-1,bandwidth=1:2 mem=64,bandwidth=1:2",
		"--numa: node 1 has no CPUs, but bandwidth=, of which others have one");
	refused(2, 0, "mem=64,cpus=0-1,policy=bind", "--numa: node 0 has policy=, but no host=");
	refused(2, 0, "mem=64,cpus=0-1,host=1023", "--numa: node 0: the host has no node 1023");
	refused(2, 0, "mem=64,cpus=2-1", "option '--numa': cpus '2-1' is no list of CPUs (0-3:8)");
	refused(2, 0, "mem=64,cpus=4096", "option '--numa': cpus '4096' is no list of CPUs (0-3:8)");
	refused(2, 0, "mem=64,host=1024", "option '--numa': host '1024' is no list of the host's nodes (0:1)");
	refused(2, 0, "mem=4097B", "option '--numa': mem '4097B' is no multiple of the page size (4096B)");
	refused(2, 0, "mem=x", "option '--numa': mem 'x' is no size (512, 512M, 2G)");
	refused(2, 0, "mem=64,dist=9", "option '--numa': dist '9' is no list of distances, from 10 to 255 (10:20)");
	refused(2, 0, "policy=local", "option '--numa': policy 'local' is no policy (bind, preferred, interleave)");
	refused(2, 0, "latency=0", "option '--numa': latency '0' is no list of nanoseconds (80:150)");
}
END_TEST

START_TEST(test_too_many)
{
	char nodes[NUMA_NODES * 7 + 20] = "cpus=0-1";

	for (unsigned i = 1; i < NUMA_NODES; i++)
		strcat(nodes, " mem=2");
	ck_assert_int_eq(choose(2, 0, nodes), 0);
	ck_assert_uint_eq(cfg.numa->n, NUMA_NODES);
	strcat(nodes, " mem=2");
	refused(2, 0, nodes, "option '--numa': more than 64 nodes");
}
END_TEST

/* Each host has a node 0, if it has any. */
START_TEST(test_policies)
{
	struct numa_range range[NUMA_MAX_RANGES];
	char host[64];

	ck_assert_int_eq(choose(2, 0, "mem=4096,host=0,cpus=0-1 mem=64 mem=64,host=0,policy=interleave"), 0);
	ck_assert_uint_eq(cfg.ram.n_policies, 3); /* the first one is on both sides of the gap */
	ck_assert_int_eq(cfg.ram.policy[0].mode, MPOL_BIND);
	ck_assert_uint_eq(cfg.ram.policy[1].start, 4 * GIB);
	ck_assert_uint_eq(cfg.ram.policy[1].bytes, 768 * MIB);
	ck_assert_int_eq(cfg.ram.policy[2].mode, MPOL_INTERLEAVE);
	ck_assert_uint_eq(cfg.ram.policy[2].nodes[0], 1);
	ck_assert_uint_eq(numa_ranges(cfg.numa, range), 4);
	ck_assert_str_eq(run_numa_host(&cfg, &range[0], host, sizeof(host)), ", bind host=0");
	ck_assert_str_eq(run_numa_host(&cfg, &range[2], host, sizeof(host)), "");
	ck_assert_str_eq(run_numa_host(&cfg, &range[3], host, sizeof(host)), ", interleave host=0");
}
END_TEST

/* The nodes of a snapshot's machine are there; where they are from is asked each time. */
START_TEST(test_restored)
{
	struct numa saved;
	static const struct {
		const char *nodes, *why;
	} table[] = {
		{ "mem=64,cpus=0 mem=64,cpus=1", NULL },
		{ "host=0 host=0", NULL },
		{ "mem=64,cpus=1 mem=64,cpus=0", "the machine in 'saved' has other NUMA nodes (--numa)" },
		{ "mem=64,cpus=0,dist=10:21 mem=64,cpus=1", "the machine in 'saved' has other NUMA nodes (--numa)" },
		{ "mem=128,cpus=0-1", "the machine in 'saved' has 2 NUMA nodes, not 1 (--numa)" },
	};
	char text[1024];

	ck_assert_int_eq(choose(2, 0, table[0].nodes), 0);
	saved = *cfg.numa;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		ck_assert_int_eq(parse(2, 0, table[i].nodes), 0);
		cfg.numa = malloc(sizeof(saved));
		*cfg.numa = saved;
		cfg.restore = "saved";
		cfg.ram.size_bytes = 128 * MIB;
		ck_assert_int_eq(run_choose_numa(&cfg), table[i].why ? -EINVAL : 0);
		log_last_error(text, sizeof(text));
		if (table[i].why)
			ck_assert_str_eq(text, table[i].why);
		ck_assert_mem_eq(cfg.numa, &saved, sizeof(saved));
	}
	ck_assert_int_eq(parse(2, 0, table[0].nodes), 0);
	cfg.restore = "saved";
	ck_assert_int_eq(run_choose_numa(&cfg), -EINVAL);
	log_last_error(text, sizeof(text));
	ck_assert_str_eq(text, "the machine in 'saved' was made without --numa");
}
END_TEST

static int note(void *ctx, unsigned n)
{
	strcat(ctx, (char[]){ ' ', (char)('a' + n), '\0' });
	return n == 9 ? -EPERM : 0;
}

START_TEST(test_lists)
{
	static const struct {
		const char *text, *want; /* NULL: refused */
	} table[] = {
		{ "0", " a" }, { "0-2,5", " a b c f" }, { "5,0-1", " f a b" }, { "3-3", " d" }, { "", NULL },
		{ "-", NULL }, { "1-", NULL }, { "-1", NULL }, { "1,", NULL }, { "2-1", NULL }, { "0x1", NULL },
		{ "11", NULL }, { "0-11", NULL }, { "1-2-3", NULL }, { "0000000000000000001", NULL }, { " 1", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		char got[100] = "";

		ck_assert_int_eq(run_parse_ranges(table[i].text, ',', 10, note, got), table[i].want ? 0 : -EINVAL);
		if (table[i].want)
			ck_assert_str_eq(got, table[i].want);
	}
	ck_assert_int_eq(run_parse_ranges("8-10", ',', 10, note, (char[100]){ 0 }), -EPERM);
}
END_TEST

UNIT_MAIN("numa", test_nothing, test_ranges, test_nodes, test_refused, test_too_many, test_policies, test_restored,
	  test_lists)
