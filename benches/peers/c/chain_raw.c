/* The floor: epoll by hand, edge-triggered with the short-read rule, edge-triggered until EAGAIN, or level-triggered. */
#include <errno.h>
#include <sys/epoll.h>
#include "chain.h"

enum mode { SHORT, DRAIN, LEVEL };

struct chain {
	int epoll;
	uint64_t events, target, waits;
};

static struct chain chain;

void *chain_raw_start(const struct chain_link *links, uint32_t n, uint32_t mode)
{
	chain.epoll = epoll_create1(EPOLL_CLOEXEC);
	for (uint32_t i = 0; i < n; i++) {
		struct epoll_event event = { .events = EPOLLIN | (mode == LEVEL ? 0 : EPOLLET), .data.ptr = (void *)&links[i] };
		if (epoll_ctl(chain.epoll, EPOLL_CTL_ADD, links[i].from, &event))
			chain_die("epoll_ctl");
	}
	return &chain;
}

uint64_t chain_raw_waits(const void *state)
{
	return ((const struct chain *)state)->waits;
}

static int turn(struct chain *chain, struct epoll_event *events, int room)
{
	int n = epoll_wait(chain->epoll, events, room, -1);
	if (n < 0)
		chain_die("epoll_wait");
	chain->waits++;
	return n;
}

/* A read that fills less than the buffer has emptied the socket; level-triggered, one read is enough in any case. */
void chain_raw_run_short(void *state, uint64_t ops)
{
	struct chain *chain = state;
	struct epoll_event events[256];
	char buf[CHAIN_BUFFER];
	chain->target += ops;
	while (chain->events < chain->target) {
		int n = turn(chain, events, 256);
		for (int i = 0; i < n; i++) {
			const struct chain_link *link = events[i].data.ptr;
			ssize_t got;
			do {
				got = read(link->from, buf, sizeof buf);
				if (got <= 0)
					break;
				chain_forward(link->to, buf, got);
				chain->events++;
			} while (got == sizeof buf);
			if (got < 0 && errno != EAGAIN)
				chain_die("read");
		}
	}
}

void chain_raw_run_drain(void *state, uint64_t ops)
{
	struct chain *chain = state;
	struct epoll_event events[256];
	char buf[CHAIN_BUFFER];
	chain->target += ops;
	while (chain->events < chain->target) {
		int n = turn(chain, events, 256);
		for (int i = 0; i < n; i++) {
			const struct chain_link *link = events[i].data.ptr;
			ssize_t got;
			while ((got = read(link->from, buf, sizeof buf)) > 0) {
				chain_forward(link->to, buf, got);
				chain->events++;
			}
			if (got < 0 && errno != EAGAIN)
				chain_die("read");
		}
	}
}
