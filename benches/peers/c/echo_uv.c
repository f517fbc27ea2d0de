/* libuv: its streams, and uv_poll under our own reads and writes. Idle deadlines by uv_timer_again. */
#define _GNU_SOURCE
#include "echo.h"

#include <stdint.h>
#include <uv.h>

struct conn {
    union {
        uv_tcp_t tcp;
        uv_poll_t poll;
    } handle;
    uv_timer_t timer;
    struct echo echo;
    int wanted, open;
};

struct rest {
    uv_write_t write;
    char bytes[];
};

static uv_loop_t loop;
static char *buf;
static size_t size;
static uint64_t idle;

static void on_closed(uv_handle_t *handle) {
    struct conn *conn = handle->data;
    if (--conn->open)
        return;
    free(conn->echo.pending);
    free(conn);
}

static void hang_up(struct conn *conn) {
    if (uv_is_closing((uv_handle_t *)&conn->handle))
        return;
    uv_close((uv_handle_t *)&conn->handle, on_closed);
    if (idle)
        uv_close((uv_handle_t *)&conn->timer, on_closed);
}

static void on_timer(uv_timer_t *timer) { hang_up(timer->data); }

static void guard(struct conn *conn) {
    conn->open = 1;
    if (idle) {
        conn->open = 2;
        uv_timer_init(&loop, &conn->timer);
        conn->timer.data = conn;
        uv_timer_start(&conn->timer, on_timer, idle, idle);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *give) {
    (void)handle;
    (void)suggested;
    *give = uv_buf_init(buf, (unsigned)size);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *from);

static void on_written(uv_write_t *write, int status) {
    struct conn *conn = write->handle->data;
    free(write);
    if (status < 0)
        hang_up(conn);
    else if (!uv_is_closing((uv_handle_t *)&conn->handle))
        uv_read_start((uv_stream_t *)&conn->handle, on_alloc, on_read);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *from) {
    struct conn *conn = stream->data;
    if (n < 0) {
        hang_up(conn);
        return;
    }
    if (n == 0)
        return;
    uv_buf_t answer = uv_buf_init(from->base, (unsigned)n);
    int sent = uv_try_write(stream, &answer, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        hang_up(conn);
        return;
    }
    if (sent < n) {
        size_t done = sent < 0 ? 0 : (size_t)sent;
        struct rest *rest = malloc(sizeof *rest + (size_t)n - done);
        if (!rest)
            abort();
        memcpy(rest->bytes, from->base + done, (size_t)n - done);
        answer = uv_buf_init(rest->bytes, (unsigned)((size_t)n - done));
        uv_read_stop(stream);
        uv_write(&rest->write, stream, &answer, 1, on_written);
    }
    if (idle)
        uv_timer_again(&conn->timer);
}

static void on_client(uv_stream_t *listener, int status) {
    struct conn *conn = calloc(1, sizeof *conn);
    (void)status;
    if (!conn)
        abort();
    uv_tcp_init(&loop, &conn->handle.tcp);
    conn->handle.tcp.data = conn;
    guard(conn);
    if (uv_accept(listener, (uv_stream_t *)&conn->handle))
        hang_up(conn);
    else
        uv_read_start((uv_stream_t *)&conn->handle, on_alloc, on_read);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct conn *conn = poll->data;
    enum outcome outcome = echo_step(&conn->echo, buf, size, ONE_READ);
    (void)events;
    if (status < 0 || outcome == GONE) {
        int fd = conn->echo.fd;
        hang_up(conn);
        close(fd);
        return;
    }
    int wanted = outcome == WANTS_WRITE ? UV_WRITABLE : UV_READABLE;
    if (wanted != conn->wanted)
        uv_poll_start(poll, conn->wanted = wanted, on_poll);
    if (idle)
        uv_timer_again(&conn->timer);
}

static void on_poll_timer(uv_timer_t *timer) {
    struct conn *conn = timer->data;
    int fd = conn->echo.fd;
    hang_up(conn);
    close(fd);
}

static void on_poll_client(uv_poll_t *poll, int status, int events) {
    int fd, listener = *(int *)poll->data;
    (void)status;
    (void)events;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *conn = calloc(1, sizeof *conn);
        if (!conn)
            abort();
        conn->echo.fd = fd;
        uv_poll_init_socket(&loop, &conn->handle.poll, fd);
        conn->handle.poll.data = conn;
        guard(conn);
        if (idle)
            uv_timer_start(&conn->timer, on_poll_timer, idle, idle);
        uv_poll_start(&conn->handle.poll, conn->wanted = UV_READABLE, on_poll);
    }
}

static void start(size_t wanted, uint64_t idle_ms) {
    buf = malloc(size = wanted);
    idle = idle_ms;
    uv_loop_init(&loop);
}

void echo_uv(int listener, size_t size, uint64_t idle_ms) {
    static uv_tcp_t tcp;
    start(size, idle_ms);
    uv_tcp_init(&loop, &tcp);
    uv_tcp_open(&tcp, listener);
    uv_listen((uv_stream_t *)&tcp, 4096, on_client);
    uv_run(&loop, UV_RUN_DEFAULT);
}

void echo_uv_poll(int listener, size_t size, uint64_t idle_ms) {
    static uv_poll_t poll;
    start(size, idle_ms);
    uv_poll_init_socket(&loop, &poll, listener);
    poll.data = &listener;
    uv_poll_start(&poll, UV_READABLE, on_poll_client);
    uv_run(&loop, UV_RUN_DEFAULT);
}
