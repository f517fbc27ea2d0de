/* libevent: its events, level- and edge-triggered, and its bufferevents. Idle deadlines are those of the persistent event, in a queue of
 * common timeouts, as its manual recommends for many of one length. */
#define _GNU_SOURCE
#include "echo.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdint.h>

struct conn {
    struct event event;
    struct echo echo;
    short wanted;
};

static struct event_base *base;
static struct event accepting;
static char *buf;
static size_t size;
static struct timeval span;
static const struct timeval *idle;
static int edge;

static void on_ready(evutil_socket_t fd, short events, void *arg);

static void want(struct conn *conn, short wanted) {
    conn->wanted = wanted;
    event_assign(&conn->event, base, conn->echo.fd, wanted | EV_PERSIST, on_ready, conn);
    event_add(&conn->event, idle);
}

static void on_ready(evutil_socket_t fd, short events, void *arg) {
    struct conn *conn = arg;
    enum outcome outcome = GONE;
    if (!(events & EV_TIMEOUT)) {
        /* A short read proves nothing once the end of the stream may stand behind it. */
        enum until until = !edge ? ONE_READ : events & EV_CLOSED ? NOTHING_LEFT : SHORT_READ;
        outcome = echo_step(&conn->echo, buf, size, until);
    }
    if (outcome == GONE) {
        event_del(&conn->event);
        close(fd);
        free(conn->echo.pending);
        free(conn);
        return;
    }
    short wanted = outcome == WANTS_WRITE ? EV_WRITE : EV_READ;
    if (!edge && wanted != conn->wanted) {
        event_del(&conn->event);
        want(conn, wanted);
    }
}

static void on_client(evutil_socket_t listener, short events, void *arg) {
    int fd;
    (void)events;
    (void)arg;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *conn = calloc(1, sizeof *conn);
        if (!conn)
            abort();
        conn->echo.fd = fd;
        want(conn, edge ? EV_READ | EV_WRITE | EV_CLOSED | EV_ET : EV_READ);
    }
}

static void on_buffered(struct bufferevent *stream, void *arg) {
    (void)arg;
    bufferevent_write_buffer(stream, bufferevent_get_input(stream));
}

static void on_end(struct bufferevent *stream, short events, void *arg) {
    (void)events;
    (void)arg;
    bufferevent_free(stream);
}

static void on_buffered_client(evutil_socket_t listener, short events, void *arg) {
    int fd;
    (void)events;
    (void)arg;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct bufferevent *stream = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
        if (!stream)
            abort();
        bufferevent_setcb(stream, on_buffered, NULL, on_end, NULL);
        if (idle)
            bufferevent_set_timeouts(stream, idle, NULL);
        bufferevent_enable(stream, EV_READ | EV_WRITE);
    }
}

static void serve(int listener, size_t wanted, uint64_t idle_ms, event_callback_fn accept) {
    struct event_config *config = event_config_new();
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    base = event_base_new_with_config(config);
    buf = malloc(size = wanted);
    if (idle_ms) {
        span = (struct timeval){ .tv_sec = (time_t)(idle_ms / 1000), .tv_usec = (suseconds_t)(idle_ms % 1000 * 1000) };
        idle = event_base_init_common_timeout(base, &span);
    }
    event_assign(&accepting, base, listener, EV_READ | EV_PERSIST, accept, NULL);
    event_add(&accepting, NULL);
    event_base_dispatch(base);
}

void echo_event(int listener, size_t size, uint64_t idle_ms) { serve(listener, size, idle_ms, on_client); }

void echo_event_et(int listener, size_t size, uint64_t idle_ms) {
    edge = 1;
    serve(listener, size, idle_ms, on_client);
}

void echo_event_bufferevent(int listener, size_t size, uint64_t idle_ms) { serve(listener, size, idle_ms, on_buffered_client); }
