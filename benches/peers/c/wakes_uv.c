/* libuv: uv_async. */
#include <stdlib.h>
#include <uv.h>

#include "wakes.h"

struct peer {
    uv_loop_t loop;
    uv_async_t async;
    atomic_uint_fast64_t *woken;
};

static void on_wake(uv_async_t *async) {
    struct peer *peer = async->data;
    atomic_fetch_add_explicit(peer->woken, 1, memory_order_release);
}

static void *start(atomic_uint_fast64_t *woken) {
    struct peer *peer = calloc(1, sizeof *peer);
    if (uv_loop_init(&peer->loop) || uv_async_init(&peer->loop, &peer->async, on_wake)) abort();
    peer->async.data = peer;
    peer->woken = woken;
    return peer;
}

static void wake(void *of) {
    struct peer *peer = of;
    uv_async_send(&peer->async);
}

static void turn(void *of, int wait) {
    struct peer *peer = of;
    uv_run(&peer->loop, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

WAKES_PENDING(wake)

const struct wakes_peer wakes_uv = {start, wake, pending, turn};
