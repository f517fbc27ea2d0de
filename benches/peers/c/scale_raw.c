/* W7: a table of descriptors and events for it that no kernel sent; and a ring of real eventfds on epoll. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BATCH = 100, EVENTS = 128 };

/* What a loop in C would keep of a descriptor; one cache line, as netpoll's. */
struct desc {
	uint64_t deadline[2];
	int fd;
	uint32_t generation, waiter;
	uint8_t ready, waiting;
} __attribute__((aligned(64)));

struct table {
	uint32_t n;
	struct desc *desc;
	const uint32_t *order, *at;
};

void *scale_raw_table(uint32_t n, const uint32_t *order)
{
	struct table *table = malloc(sizeof *table);
	*table = (struct table){.n = n, .desc = aligned_alloc(64, n * sizeof(struct desc)), .order = order, .at = order};
	for (uint32_t i = 0; i < n; i++)
		table->desc[i] = (struct desc){.fd = (int)i, .generation = 1, .waiter = i, .waiting = EPOLLIN};
	return table;
}

/* An edge: answers whether it ends a wait. */
static inline int edge(struct table *table, uint64_t data, uint32_t events)
{
	if ((uint32_t)data >= table->n)
		return 0;
	struct desc *desc = &table->desc[(uint32_t)data];
	if (desc->generation != data >> 32)
		return 0;
	uint8_t woken = desc->waiting & events;
	desc->ready |= events;
	desc->waiting &= ~woken;
	return woken;
}

/* A batch of edges, each of which ends a wait; then whoever waited tries, in vain, and waits again. */
void scale_raw_table_run(struct table *table, uint64_t ops)
{
	uint32_t woken[BATCH];
	for (uint64_t batch = 0; batch < ops / BATCH; batch++) {
		uint32_t len = 0;
		for (int i = 0; i < BATCH; i++) {
			volatile uint32_t events = EPOLLIN;
			if (edge(table, (uint64_t)1 << 32 | table->at[i], events))
				woken[len++] = table->desc[table->at[i]].waiter;
		}
		for (uint32_t i = 0; i < len; i++) {
			struct desc *desc = &table->desc[woken[i]];
			if (desc->deadline[0] != 1 && desc->ready & EPOLLIN) {
				desc->ready &= ~EPOLLIN;
				desc->waiting |= EPOLLIN;
				desc->waiter = woken[i];
			}
		}
		table->at += BATCH;
		if (table->at == table->order + table->n)
			table->at = table->order;
	}
}

struct ring {
	int epoll;
	int *fd;
	uint32_t *next;
	uint64_t waits;
};

static void die(const char *what)
{
	perror(what);
	abort();
}

/* `active` counters of `n` are not zero; each is read and added to the one that lies `stride` further. */
void *scale_raw_ring(uint32_t n, uint32_t active, uint32_t stride)
{
	struct ring *ring = calloc(1, sizeof *ring);
	ring->epoll = epoll_create1(EPOLL_CLOEXEC);
	ring->fd = malloc(n * sizeof(int));
	ring->next = malloc(n * sizeof(uint32_t));
	for (uint32_t i = 0; i < n; i++) {
		struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = i};
		ring->fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		ring->next[i] = (i + stride) % n;
		if (ring->fd[i] < 0 || epoll_ctl(ring->epoll, EPOLL_CTL_ADD, ring->fd[i], &event) < 0)
			die("eventfd");
	}
	for (uint32_t i = 0; i < active; i++) {
		uint64_t one = 1;
		if (write(ring->fd[i * (n / active)], &one, sizeof one) != sizeof one)
			die("write");
	}
	return ring;
}

void scale_raw_ring_run(struct ring *ring, uint64_t ops)
{
	struct epoll_event events[EVENTS];
	while ((int64_t)ops > 0) {
		int n = epoll_wait(ring->epoll, events, EVENTS, -1);
		ring->waits++;
		for (int i = 0; i < n; i++) {
			uint32_t link = events[i].data.u32;
			uint64_t count;
			if (read(ring->fd[link], &count, sizeof count) != sizeof count)
				continue;
			if (write(ring->fd[ring->next[link]], &count, sizeof count) != sizeof count)
				die("write");
			ops--;
		}
	}
}

uint64_t scale_raw_ring_waits(const struct ring *ring)
{
	return ring->waits;
}
