/* libev: a watcher for each link, level-triggered. */
#include <ev.h>
#include "chain.h"

struct watcher {
	ev_io io;
	int to;
};

static uint64_t events, target;

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
	char buf[CHAIN_BUFFER];
	ssize_t got = read(io->fd, buf, sizeof buf);
	(void)revents;
	if (got <= 0)
		return;
	chain_forward(((struct watcher *)io)->to, buf, got);
	if (++events == target)
		ev_break(loop, EVBREAK_ONE);
}

void *chain_ev_start(const struct chain_link *links, uint32_t n)
{
	struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
	struct watcher *watchers = calloc(n, sizeof *watchers);
	for (uint32_t i = 0; i < n; i++) {
		ev_io_init(&watchers[i].io, on_readable, links[i].from, EV_READ);
		watchers[i].to = links[i].to;
		ev_io_start(loop, &watchers[i].io);
	}
	return loop;
}

void chain_ev_run(void *state, uint64_t ops)
{
	target += ops;
	if (events < target)
		ev_run(state, 0);
}

uint64_t chain_ev_waits(const void *state)
{
	return ev_iteration((struct ev_loop *)state);
}
