#include <event2/event.h>
#include <event2/event_struct.h>
#include "open_close.h"

static struct event event, stays;
static int turns;

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	open_close_die("nothing is readable");
}

void *open_close_event_start(int fd, int other, int with_turns)
{
	struct event_config *config = event_config_new();
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	struct event_base *base = event_base_new_with_config(config);
	if (event_assign(&event, base, fd, EV_READ | EV_PERSIST, on_readable, NULL) ||
	    event_assign(&stays, base, other, EV_READ | EV_PERSIST, on_readable, NULL) || event_add(&stays, NULL))
		open_close_die("event_add");
	turns = with_turns;
	return base;
}

void open_close_event_run(void *state, uint64_t ops)
{
	while (ops--) {
		if (event_add(&event, NULL))
			open_close_die("event_add");
		if (turns)
			event_base_loop(state, EVLOOP_NONBLOCK);
		if (event_del(&event))
			open_close_die("event_del");
		if (turns)
			event_base_loop(state, EVLOOP_NONBLOCK);
	}
}
