/* What each C peer of `wakes` offers. */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

struct wakes_peer {
    /* A loop that counts the wakes it has seen in `woken`. */
    void *(*start)(atomic_uint_fast64_t *woken);
    /* From any thread. */
    void (*wake)(void *loop);
    /* So many wakes without a turn between them. */
    void (*pending)(void *loop, uint64_t ops);
    /* One turn, which waits for a wake if `wait` is set. */
    void (*turn)(void *loop, int wait);
};

/* A loop around `wake` that the compiler can inline it into. */
#define WAKES_PENDING(wake)                              \
    static void pending(void *loop, uint64_t ops) {      \
        for (uint64_t op = 0; op < ops; op++) wake(loop); \
    }
