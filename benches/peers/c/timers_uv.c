/* W2 on libuv, whose timers count milliseconds. */
#include <stdint.h>
#include <uv.h>

struct work;
struct loop {
    uv_loop_t uv;
};
struct timer {
    uv_timer_t uv;
    struct work *work;
};

#include "timers.h"

static void on_timer(uv_timer_t *uv) {
    struct timer *timer = (struct timer *)uv;
    fired(timer->work, timer);
}

static struct loop *loop_new(int kind) {
    struct loop *loop = malloc(sizeof *loop);
    (void)kind;
    uv_loop_init(&loop->uv);
    return loop;
}

static void loop_turn(struct loop *loop) { uv_run(&loop->uv, UV_RUN_NOWAIT); }

static void timer_init(struct loop *loop, struct timer *timer, struct work *work) {
    timer->work = work;
    uv_timer_init(&loop->uv, &timer->uv);
}

static void timer_arm(struct loop *loop, struct timer *timer, uint64_t delay) {
    (void)loop;
    uv_timer_start(&timer->uv, on_timer, (delay + 999999) / 1000000, 0);
}

static void timer_cancel(struct loop *loop, struct timer *timer) {
    (void)loop;
    uv_timer_stop(&timer->uv);
}

static void timer_push_out(struct loop *loop, struct timer *timer, uint64_t delay) { timer_arm(loop, timer, delay); }

void *timers_uv_new(uint32_t count, int operation, uint64_t start, uint64_t window) { return work_new(count, operation, 0, start, window); }
void timers_uv_run(void *work, uint64_t ops) { work_run(work, ops); }
