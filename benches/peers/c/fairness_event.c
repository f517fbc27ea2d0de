/* libevent: one read for each event. */
#include <event2/event.h>

#include "fairness.h"

struct peer {
    struct fairness *counters;
    struct event_base *base;
};

static void on_flood(evutil_socket_t fd, short what, void *of) {
    (void)what;
    struct peer *peer = of;
    fairness_read(peer->counters, fd);
}

static void on_quiet(evutil_socket_t fd, short what, void *of) {
    (void)what;
    struct peer *peer = of;
    fairness_read_quiet(peer->counters, fd);
    if (atomic_load_explicit(&peer->counters->stop, memory_order_acquire)) event_base_loopbreak(peer->base);
}

void fairness_event(struct fairness *counters, const int *fds, int floods) {
    struct peer peer = {counters, event_base_new()};
    struct event **events = calloc(floods + 1, sizeof *events);
    for (int at = 0; at <= floods; at++) {
        events[at] = event_new(peer.base, fds[at], EV_READ | EV_PERSIST, at == floods ? on_quiet : on_flood, &peer);
        if (event_add(events[at], NULL)) fairness_die("event_add");
    }
    event_base_dispatch(peer.base);
    for (int at = 0; at <= floods; at++) event_free(events[at]);
    event_base_free(peer.base);
    free(events);
}
