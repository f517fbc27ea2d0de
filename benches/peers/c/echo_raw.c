/* The floor: an echo server as one would write it by hand on epoll, with idle deadlines in a lazy 4-ary heap where they are asked for. */
#define _GNU_SOURCE
#include "echo.h"

#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>

#define BATCH 1024

struct conn {
    struct echo echo;
    /* When it is hung up on, and what it is queued by: a deadline pushed out only writes the first. */
    uint64_t deadline, key;
    uint32_t place;
};

struct heap {
    struct conn **conns;
    uint32_t len, room;
};

static void heap_put(struct heap *heap, uint32_t place, struct conn *conn) {
    heap->conns[place] = conn;
    conn->place = place;
}

static void heap_up(struct heap *heap, uint32_t place, struct conn *conn) {
    while (place > 0) {
        uint32_t parent = (place - 1) / 4;
        if (heap->conns[parent]->key <= conn->key)
            break;
        heap_put(heap, place, heap->conns[parent]);
        place = parent;
    }
    heap_put(heap, place, conn);
}

static void heap_down(struct heap *heap, uint32_t place, struct conn *conn) {
    for (;;) {
        uint32_t first = 4 * place + 1, least = first;
        if (first >= heap->len)
            break;
        for (uint32_t child = first + 1; child < first + 4 && child < heap->len; child++)
            if (heap->conns[child]->key < heap->conns[least]->key)
                least = child;
        if (heap->conns[least]->key >= conn->key)
            break;
        heap_put(heap, place, heap->conns[least]);
        place = least;
    }
    heap_put(heap, place, conn);
}

static void heap_add(struct heap *heap, struct conn *conn) {
    if (heap->len == heap->room) {
        heap->room = heap->room ? 2 * heap->room : 64;
        heap->conns = realloc(heap->conns, heap->room * sizeof *heap->conns);
        if (!heap->conns)
            abort();
    }
    conn->key = conn->deadline;
    heap_up(heap, heap->len++, conn);
}

static void heap_remove(struct heap *heap, struct conn *conn) {
    struct conn *last = heap->conns[--heap->len];
    if (last == conn)
        return;
    uint32_t place = conn->place;
    heap_down(heap, place, last);
    heap_up(heap, last->place, last);
}

static uint64_t clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void hang_up(struct heap *heap, struct conn *conn, uint64_t idle) {
    if (idle)
        heap_remove(heap, conn);
    close(conn->echo.fd);
    free(conn->echo.pending);
    free(conn);
}

/* Hangs up on who was idle for too long, and says how long to sleep. */
static int expire(struct heap *heap, uint64_t now, uint64_t idle) {
    while (heap->len) {
        struct conn *conn = heap->conns[0];
        if (conn->key > now)
            return (int)((conn->key - now + 999999) / 1000000);
        if (conn->deadline > now) {
            conn->key = conn->deadline;
            heap_down(heap, 0, conn);
        } else {
            hang_up(heap, conn, idle);
        }
    }
    return -1;
}

static void accept_all(int epoll, int listener, uint32_t events, struct heap *heap, uint64_t deadline) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *conn = calloc(1, sizeof *conn);
        if (!conn)
            abort();
        conn->echo.fd = fd;
        struct epoll_event event = { .events = events, .data.ptr = conn };
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        if (deadline) {
            conn->deadline = deadline;
            heap_add(heap, conn);
        }
    }
}

static inline __attribute__((always_inline)) void serve(int listener, size_t size, uint64_t idle, enum until until) {
    static struct epoll_event events[BATCH];
    struct heap heap = { 0 };
    int level = until == ONE_READ;
    uint32_t interest = level ? EPOLLIN : EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    char *buf = malloc(size);
    int epoll = epoll_create1(EPOLL_CLOEXEC), timeout = -1;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(epoll, events, BATCH, timeout);
        uint64_t deadline = 0, now = 0;
        if (idle)
            deadline = (now = clock_now()) + idle;
        for (int i = 0; i < n; i++) {
            struct conn *conn = events[i].data.ptr;
            if (!conn) {
                accept_all(epoll, listener, interest, &heap, deadline);
                continue;
            }
            unsigned blocked = conn->echo.len;
            enum outcome outcome;
            /* A short read proves nothing once the end of the stream may stand behind it. */
            if (until == SHORT_READ && __builtin_expect(events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR), 0))
                outcome = echo_step(&conn->echo, buf, size, NOTHING_LEFT);
            else
                outcome = echo_step(&conn->echo, buf, size, until);
            if (outcome == GONE) {
                hang_up(&heap, conn, idle);
                continue;
            }
            if (level && (outcome == WANTS_WRITE) != (blocked != 0)) {
                struct epoll_event other = { .events = outcome == WANTS_WRITE ? EPOLLOUT : EPOLLIN, .data.ptr = conn };
                epoll_ctl(epoll, EPOLL_CTL_MOD, conn->echo.fd, &other);
            }
            if (idle)
                conn->deadline = deadline;
        }
        if (idle)
            timeout = expire(&heap, now, idle);
    }
}

void echo_raw(int listener, size_t size, uint64_t idle_ms) {
    if (idle_ms)
        serve(listener, size, idle_ms * 1000000, SHORT_READ);
    else
        serve(listener, size, 0, SHORT_READ);
}

void echo_raw_drain(int listener, size_t size, uint64_t idle_ms) {
    (void)idle_ms;
    serve(listener, size, 0, NOTHING_LEFT);
}

void echo_raw_lt(int listener, size_t size, uint64_t idle_ms) {
    (void)idle_ms;
    serve(listener, size, 0, ONE_READ);
}
