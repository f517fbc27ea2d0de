#include <ev.h>
#include "open_close.h"

static ev_io watcher, stays;
static int turns;

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
	(void)loop, (void)io, (void)revents;
	open_close_die("nothing is readable");
}

void *open_close_ev_start(int fd, int other, int with_turns)
{
	struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
	ev_io_init(&watcher, on_readable, fd, EV_READ);
	ev_io_init(&stays, on_readable, other, EV_READ);
	ev_io_start(loop, &stays);
	ev_run(loop, EVRUN_NOWAIT);
	turns = with_turns;
	return loop;
}

void open_close_ev_run(void *state, uint64_t ops)
{
	while (ops--) {
		ev_io_start(state, &watcher);
		if (turns)
			ev_run(state, EVRUN_NOWAIT);
		ev_io_stop(state, &watcher);
		if (turns)
			ev_run(state, EVRUN_NOWAIT);
	}
}
