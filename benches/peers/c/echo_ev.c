/* libev. Idle deadlines by ev_timer_again, or, as its manual recommends for many of one length, by a moment of last activity that the timer
 * looks at when it comes up. */
#define _GNU_SOURCE
#include "echo.h"

#include <ev.h>
#include <stdint.h>

struct conn {
    ev_io io;
    ev_timer timer;
    ev_tstamp active;
    struct echo echo;
};

static struct ev_loop *loop;
static char *buf;
static size_t size;
static double idle;
static int lazy;

static void hang_up(struct conn *conn) {
    ev_io_stop(loop, &conn->io);
    if (idle > 0)
        ev_timer_stop(loop, &conn->timer);
    close(conn->echo.fd);
    free(conn->echo.pending);
    free(conn);
}

static void on_timer(struct ev_loop *l, ev_timer *timer, int events) {
    struct conn *conn = timer->data;
    (void)events;
    if (lazy) {
        double left = conn->active + idle - ev_now(l);
        if (left > 0) {
            ev_timer_set(timer, left, 0.);
            ev_timer_start(l, timer);
            return;
        }
    }
    hang_up(conn);
}

static void on_ready(struct ev_loop *l, ev_io *io, int events) {
    struct conn *conn = (struct conn *)io;
    enum outcome outcome = echo_step(&conn->echo, buf, size, ONE_READ);
    (void)events;
    if (outcome == GONE) {
        hang_up(conn);
        return;
    }
    int wanted = outcome == WANTS_WRITE ? EV_WRITE : EV_READ;
    if (!(io->events & wanted)) {
        ev_io_stop(l, io);
        ev_io_set(io, conn->echo.fd, wanted);
        ev_io_start(l, io);
    }
    if (idle > 0) {
        if (lazy)
            conn->active = ev_now(l);
        else
            ev_timer_again(l, &conn->timer);
    }
}

static void on_client(struct ev_loop *l, ev_io *io, int events) {
    int fd;
    (void)events;
    while ((fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *conn = calloc(1, sizeof *conn);
        if (!conn)
            abort();
        conn->echo.fd = fd;
        ev_io_init(&conn->io, on_ready, fd, EV_READ);
        ev_io_start(l, &conn->io);
        if (idle > 0) {
            conn->active = ev_now(l);
            ev_timer_init(&conn->timer, on_timer, idle, lazy ? 0. : idle);
            conn->timer.data = conn;
            ev_timer_start(l, &conn->timer);
        }
    }
}

static void serve(int listener, size_t wanted, uint64_t idle_ms, int is_lazy) {
    static ev_io io;
    buf = malloc(size = wanted);
    idle = (double)idle_ms / 1000;
    lazy = is_lazy;
    loop = ev_loop_new(EVBACKEND_EPOLL);
    ev_io_init(&io, on_client, listener, EV_READ);
    ev_io_start(loop, &io);
    ev_run(loop, 0);
}

void echo_ev(int listener, size_t size, uint64_t idle_ms) { serve(listener, size, idle_ms, 0); }

void echo_ev_lazy(int listener, size_t size, uint64_t idle_ms) { serve(listener, size, idle_ms, 1); }
