/* libev: ev_async. */
#include <ev.h>
#include <stdlib.h>

#include "wakes.h"

struct peer {
    struct ev_loop *loop;
    ev_async async;
    atomic_uint_fast64_t *woken;
};

static void on_wake(struct ev_loop *loop, ev_async *async, int events) {
    (void)loop, (void)events;
    struct peer *peer = async->data;
    atomic_fetch_add_explicit(peer->woken, 1, memory_order_release);
}

static void *start(atomic_uint_fast64_t *woken) {
    struct peer *peer = calloc(1, sizeof *peer);
    peer->loop = ev_loop_new(EVBACKEND_EPOLL);
    peer->woken = woken;
    ev_async_init(&peer->async, on_wake);
    peer->async.data = peer;
    ev_async_start(peer->loop, &peer->async);
    return peer;
}

static void wake(void *of) {
    struct peer *peer = of;
    ev_async_send(peer->loop, &peer->async);
}

static void turn(void *of, int wait) {
    struct peer *peer = of;
    ev_run(peer->loop, wait ? EVRUN_ONCE : EVRUN_NOWAIT);
}

WAKES_PENDING(wake)

const struct wakes_peer wakes_ev = {start, wake, pending, turn};
