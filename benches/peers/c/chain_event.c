/* libevent: an event for each link, level- or edge-triggered. */
#include <event2/event.h>
#include <event2/event_struct.h>
#include "chain.h"

struct link_event {
	struct event event;
	int to;
};

static struct event_base *base;
static uint64_t events, target;

static void forwarded(void)
{
	if (++events == target)
		event_base_loopbreak(base);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	char buf[CHAIN_BUFFER];
	ssize_t got;
	do {
		got = read(fd, buf, sizeof buf);
		if (got <= 0)
			return;
		chain_forward(((struct link_event *)arg)->to, buf, got);
		forwarded();
	} while ((what & EV_ET) && got == sizeof buf);
}

void *chain_event_start(const struct chain_link *links, uint32_t n, uint32_t edge)
{
	struct event_config *config = event_config_new();
	struct link_event *link_events = calloc(n, sizeof *link_events);
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	base = event_base_new_with_config(config);
	for (uint32_t i = 0; i < n; i++) {
		struct link_event *each = &link_events[i];
		each->to = links[i].to;
		if (event_assign(&each->event, base, links[i].from, EV_READ | EV_PERSIST | (edge ? EV_ET : 0), on_readable, each) ||
		    event_add(&each->event, NULL))
			chain_die("event_add");
	}
	return base;
}

void chain_event_run(void *state, uint64_t ops)
{
	target += ops;
	if (events < target)
		event_base_loop(state, 0);
}
