/* libevent: event_active from another thread, which takes its locks. */
#include <event2/event.h>
#include <event2/thread.h>
#include <stdlib.h>

#include "wakes.h"

struct peer {
    struct event_base *base;
    struct event *event;
    atomic_uint_fast64_t *woken;
};

static void on_wake(evutil_socket_t fd, short what, void *of) {
    (void)fd, (void)what;
    struct peer *peer = of;
    atomic_fetch_add_explicit(peer->woken, 1, memory_order_release);
}

static void *start(atomic_uint_fast64_t *woken) {
    if (evthread_use_pthreads()) abort();
    struct peer *peer = calloc(1, sizeof *peer);
    peer->woken = woken;
    peer->base = event_base_new();
    peer->event = event_new(peer->base, -1, EV_PERSIST, on_wake, peer);
    if (evthread_make_base_notifiable(peer->base)) abort();
    return peer;
}

static void wake(void *of) {
    struct peer *peer = of;
    event_active(peer->event, EV_READ, 0);
}

static void turn(void *of, int wait) {
    struct peer *peer = of;
    /* It has no event that the kernel could report, and would not wait. */
    event_base_loop(peer->base, (wait ? EVLOOP_ONCE : EVLOOP_NONBLOCK) | EVLOOP_NO_EXIT_ON_EMPTY);
}

WAKES_PENDING(wake)

const struct wakes_peer wakes_event = {start, wake, pending, turn};
