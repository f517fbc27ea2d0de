/* libuv: streams, which are read up to 32 times for each event. */
#include <uv.h>

#include "fairness.h"

struct stream {
    uv_tcp_t tcp;
    struct fairness *counters;
    char bytes[FLOOD_BYTES];
};

static void give_bytes(uv_handle_t *handle, size_t wanted, uv_buf_t *buf) {
    (void)wanted;
    struct stream *stream = handle->data;
    *buf = uv_buf_init(stream->bytes, sizeof stream->bytes);
}

static void on_flood(uv_stream_t *of, ssize_t n, const uv_buf_t *buf) {
    (void)buf;
    struct stream *stream = of->data;
    if (n < 0) fairness_die(uv_strerror(n));
    if (n > 0) fairness_count(stream->counters);
}

static void on_quiet(uv_stream_t *of, ssize_t n, const uv_buf_t *buf) {
    (void)buf;
    struct stream *stream = of->data;
    if (n > 0) fairness_has_run(stream->counters);
    if (atomic_load_explicit(&stream->counters->stop, memory_order_acquire)) uv_stop(of->loop);
}

void fairness_uv(struct fairness *counters, const int *fds, int floods) {
    uv_loop_t loop;
    struct stream *streams = calloc(floods + 1, sizeof *streams);
    if (uv_loop_init(&loop)) fairness_die("uv_loop_init");
    for (int at = 0; at <= floods; at++) {
        struct stream *stream = &streams[at];
        stream->counters = counters;
        /* libuv closes what it was given. */
        if (uv_tcp_init(&loop, &stream->tcp) || uv_tcp_open(&stream->tcp, dup(fds[at]))) fairness_die("uv_tcp_open");
        stream->tcp.data = stream;
        uv_read_start((uv_stream_t *)&stream->tcp, give_bytes, at == floods ? on_quiet : on_flood);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    for (int at = 0; at <= floods; at++) uv_close((uv_handle_t *)&streams[at].tcp, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    free(streams);
}
