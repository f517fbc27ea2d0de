/* libev: one read for each event. */
#include <ev.h>

#include "fairness.h"

static void on_flood(struct ev_loop *loop, ev_io *io, int events) {
    (void)loop, (void)events;
    fairness_read(io->data, io->fd);
}

static void on_quiet(struct ev_loop *loop, ev_io *io, int events) {
    (void)events;
    struct fairness *counters = io->data;
    fairness_read_quiet(counters, io->fd);
    if (atomic_load_explicit(&counters->stop, memory_order_acquire)) ev_break(loop, EVBREAK_ALL);
}

void fairness_ev(struct fairness *counters, const int *fds, int floods) {
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    ev_io *ios = calloc(floods + 1, sizeof *ios);
    for (int at = 0; at <= floods; at++) {
        ev_io_init(&ios[at], at == floods ? on_quiet : on_flood, fds[at], EV_READ);
        ios[at].data = counters;
        ev_io_start(loop, &ios[at]);
    }
    ev_run(loop, 0);
    for (int at = 0; at <= floods; at++) ev_io_stop(loop, &ios[at]);
    ev_loop_destroy(loop);
    free(ios);
}
