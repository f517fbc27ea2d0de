/* W2, what all C peers have in common: the operations, by way of six functions that each library's file defines. It defines its two
 * types before it includes this. The calls are direct, so that nothing stands between the work and the library.
 *
 *     struct loop                                  the library's loop
 *     struct timer                                 a timer, with the library's part in it
 *     loop_new(kind), loop_turn(loop)              a turn does not block
 *     timer_init(loop, timer, work)                its callback calls `fired(work, timer)`
 *     timer_arm(loop, timer, delay)                nanoseconds from the loop's idea of now; the timer is not armed
 *     timer_cancel(loop, timer)
*/
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum operation { ADD_CANCEL, PUSH_OUT_IN_TURN, PUSH_OUT_RANDOM, FIRE };

#define SECOND 1000000000ull
#define IDLE (60 * SECOND)

struct work;
static struct loop *loop_new(int kind);
static void loop_turn(struct loop *loop);
static void timer_init(struct loop *loop, struct timer *timer, struct work *work);
static void timer_arm(struct loop *loop, struct timer *timer, uint64_t delay);
static void timer_cancel(struct loop *loop, struct timer *timer);
static void timer_push_out(struct loop *loop, struct timer *timer, uint64_t delay);

struct work {
    struct loop *loop;
    struct timer *timers, *extra;
    enum operation operation;
    uint32_t count, cursor, *order;
    uint64_t random, fired, done;
    uint64_t start, window; /* timers that are to fire do so between start and start + window after they were armed */
};

static inline uint64_t next_random(struct work *work) {
    uint64_t x = work->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return work->random = x;
}

/* A number below `limit`, without a division. */
static inline uint64_t below(struct work *work, uint64_t limit) { return (uint64_t)(((unsigned __int128)next_random(work) * limit) >> 64); }

static inline uint64_t some_delay(struct work *work) { return work->start + below(work, work->window); }

static inline uint64_t first_delay(struct work *work) {
    switch (work->operation) {
    case FIRE:
        return some_delay(work);
    case ADD_CANCEL:
        return IDLE + below(work, IDLE);
    default:
        return IDLE;
    }
}

static void *work_new(uint32_t count, int operation, int kind, uint64_t start, uint64_t window) {
    struct work *work = calloc(1, sizeof *work);
    *work = (struct work){.count = count, .operation = operation, .random = 88172645463325252ull, .start = start, .window = window};
    work->loop = loop_new(kind);
    work->timers = calloc(count + 1, sizeof *work->timers);
    work->extra = work->timers + count;
    work->order = calloc(count, sizeof *work->order);
    for (uint32_t i = 0; i <= count; i++) timer_init(work->loop, &work->timers[i], work);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t other = below(work, i + 1);
        work->order[i] = work->order[other];
        work->order[other] = i;
    }
    loop_turn(work->loop);
    for (uint32_t i = 0; i < count; i++) timer_arm(work->loop, &work->timers[i], first_delay(work));
    return work;
}

static inline void fired(struct work *work, struct timer *timer) {
    work->fired++;
    timer_arm(work->loop, timer, some_delay(work));
}

static void fire(struct work *work, uint64_t ops) {
    for (work->fired = 0; work->fired < ops;) {
        uint64_t until = work->fired + work->count, wait = work->start + work->window + 5000000;
        struct timespec time = {wait / SECOND, wait % SECOND};
        nanosleep(&time, NULL);
        while (work->fired < until) loop_turn(work->loop);
    }
}

static void work_run(void *of, uint64_t ops) {
    struct work *work = of;
    struct loop *loop = work->loop;
    if (work->operation == FIRE) {
        fire(work, ops);
        return;
    }
    for (uint64_t i = 0; i < ops; i++) {
        if (work->operation == ADD_CANCEL) {
            timer_arm(loop, work->extra, IDLE + below(work, IDLE));
            timer_cancel(loop, work->extra);
        } else {
            uint32_t which;
            if (work->operation == PUSH_OUT_RANDOM) {
                which = below(work, work->count);
            } else {
                which = work->order[work->cursor];
                if (++work->cursor == work->count) work->cursor = 0;
            }
            timer_push_out(loop, &work->timers[which], IDLE);
        }
        if (++work->done % 64 == 0) loop_turn(loop);
    }
}
