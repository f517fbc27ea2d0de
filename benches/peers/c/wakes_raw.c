/* An eventfd on bare epoll: level-triggered and read back; edge-triggered and never read; behind a flag; and with looks before the wait. */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "wakes.h"

/* Looks before the wait that blocks. */
enum { LOOKS = 20 };

struct raw {
    int epoll, event, reads, coalesces, looks;
    atomic_uint pending;
    atomic_uint_fast64_t *woken;
};

static void *start(atomic_uint_fast64_t *woken, uint32_t flags, int reads, int coalesces, int looks) {
    struct raw *raw = calloc(1, sizeof *raw);
    raw->epoll = epoll_create1(EPOLL_CLOEXEC);
    raw->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | flags, .data.ptr = raw};
    if (raw->epoll < 0 || raw->event < 0 || epoll_ctl(raw->epoll, EPOLL_CTL_ADD, raw->event, &event)) abort();
    raw->reads = reads, raw->coalesces = coalesces, raw->looks = looks, raw->woken = woken;
    return raw;
}

static void *start_level(atomic_uint_fast64_t *woken) { return start(woken, 0, 1, 0, 0); }
static void *start_edge(atomic_uint_fast64_t *woken) { return start(woken, EPOLLET, 0, 0, 0); }
static void *start_coalescing(atomic_uint_fast64_t *woken) { return start(woken, EPOLLET, 0, 1, 0); }
static void *start_looking(atomic_uint_fast64_t *woken) { return start(woken, EPOLLET, 0, 1, LOOKS); }

static void wake(void *loop) {
    struct raw *raw = loop;
    uint64_t one = 1;
    if (write(raw->event, &one, sizeof one) != sizeof one) abort();
}

static void wake_once(void *loop) {
    struct raw *raw = loop;
    if (atomic_exchange_explicit(&raw->pending, 1, memory_order_acq_rel) == 0) wake(loop);
}

static void turn(void *loop, int wait) {
    struct raw *raw = loop;
    struct epoll_event events[128];
    int ready = 0;
    for (int look = 0; wait && look < raw->looks && ready == 0; look++) ready = epoll_wait(raw->epoll, events, 128, 0);
    if (ready == 0) ready = epoll_wait(raw->epoll, events, 128, wait ? -1 : 0);
    for (int at = 0; at < ready; at++) {
        struct raw *of = events[at].data.ptr;
        uint64_t count;
        if (of->reads && read(of->event, &count, sizeof count) != sizeof count) abort();
        if (of->coalesces) atomic_exchange_explicit(&of->pending, 0, memory_order_acq_rel);
        atomic_fetch_add_explicit(of->woken, 1, memory_order_release);
    }
}

WAKES_PENDING(wake)

static void pending_once(void *loop, uint64_t ops) {
    for (uint64_t op = 0; op < ops; op++) wake_once(loop);
}

const struct wakes_peer wakes_raw = {start_level, wake, pending, turn};
const struct wakes_peer wakes_raw_edge = {start_edge, wake, pending, turn};
const struct wakes_peer wakes_raw_coalescing = {start_coalescing, wake_once, pending_once, turn};
const struct wakes_peer wakes_raw_looking = {start_looking, wake_once, pending_once, turn};
