/* What each C peer of `fairness` reads with, and counts. */
#pragma once
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* `Counters` in fairness.rs. */
struct fairness {
    /* Reads of flooded connections. */
    atomic_uint_fast64_t operations;
    /* Runs of the quiet one's handler; how many operations there had been by then, and what time it was. */
    atomic_uint_fast64_t runs, operations_at_run, nanos_at_run;
    atomic_bool stop;
    /* Where operations are counted: what is done after each. */
    void (*flooded)(void), (*quiet)(void);
};

enum { FLOOD_BYTES = 512 };

static inline void fairness_die(const char *what) {
    perror(what);
    abort();
}

static inline void fairness_count(struct fairness *counters) {
    atomic_fetch_add_explicit(&counters->operations, 1, memory_order_relaxed);
    if (counters->flooded) counters->flooded();
}

static inline ssize_t fairness_read(struct fairness *counters, int fd) {
    char bytes[FLOOD_BYTES];
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n == 0) fairness_die("a flooded connection was closed");
    if (n > 0) fairness_count(counters);
    return n;
}

/* Of whoever has read the quiet one's byte. */
static inline void fairness_has_run(struct fairness *counters) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t operations = atomic_load_explicit(&counters->operations, memory_order_relaxed);
    atomic_store_explicit(&counters->operations_at_run, operations, memory_order_relaxed);
    atomic_store_explicit(&counters->nanos_at_run, now.tv_sec * 1000000000ull + now.tv_nsec, memory_order_relaxed);
    atomic_fetch_add_explicit(&counters->runs, 1, memory_order_release);
    if (counters->quiet) counters->quiet();
}

static inline void fairness_read_quiet(struct fairness *counters, int fd) {
    char bytes[FLOOD_BYTES];
    if (read(fd, bytes, sizeof bytes) > 0) fairness_has_run(counters);
}
