/* W2 on libev. */
#include <ev.h>
#include <stdint.h>

struct work;
struct loop {
    struct ev_loop *ev;
};
struct timer {
    ev_timer ev;
    struct work *work;
};

static void on_timer(struct ev_loop *ev, ev_timer *timer, int events);

#include "timers.h"

static void on_timer(struct ev_loop *ev, ev_timer *ev_timer, int events) {
    struct timer *timer = (struct timer *)ev_timer;
    (void)ev, (void)events;
    fired(timer->work, timer);
}

static struct loop *loop_new(int kind) {
    struct loop *loop = malloc(sizeof *loop);
    (void)kind;
    loop->ev = ev_loop_new(EVBACKEND_EPOLL);
    return loop;
}

static void loop_turn(struct loop *loop) { ev_run(loop->ev, EVRUN_NOWAIT); }

static void timer_init(struct loop *loop, struct timer *timer, struct work *work) {
    (void)loop;
    timer->work = work;
    ev_timer_init(&timer->ev, on_timer, 0., 0.);
}

static void timer_arm(struct loop *loop, struct timer *timer, uint64_t delay) {
    ev_timer_set(&timer->ev, delay * 1e-9, 0.);
    ev_timer_start(loop->ev, &timer->ev);
}

static void timer_cancel(struct loop *loop, struct timer *timer) { ev_timer_stop(loop->ev, &timer->ev); }

static void timer_push_out(struct loop *loop, struct timer *timer, uint64_t delay) {
    timer->ev.repeat = delay * 1e-9;
    ev_timer_again(loop->ev, &timer->ev);
}

void *timers_ev_new(uint32_t count, int operation, uint64_t start, uint64_t window) { return work_new(count, operation, 0, start, window); }
void timers_ev_run(void *work, uint64_t ops) { work_run(work, ops); }
