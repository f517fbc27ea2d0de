/* W2 on libevent; with `kind` 1, time-outs of 60 s are announced as common ones, which it keeps in a list. */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdint.h>

struct work;
struct loop {
    struct event_base *base;
    const struct timeval *common;
};
struct timer {
    struct event event;
    struct work *work;
};

#include "timers.h"

static void on_timer(evutil_socket_t fd, short what, void *of) {
    struct timer *timer = of;
    (void)fd, (void)what;
    fired(timer->work, timer);
}

static struct loop *loop_new(int kind) {
    struct loop *loop = calloc(1, sizeof *loop);
    struct event_config *config = event_config_new();
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    loop->base = event_base_new_with_config(config);
    event_config_free(config);
    struct timeval idle = {IDLE / SECOND, 0};
    if (kind == 1) loop->common = event_base_init_common_timeout(loop->base, &idle);
    return loop;
}

/* Keeps the time for what follows, as it is kept for callbacks. */
static void loop_turn(struct loop *loop) {
    event_base_loop(loop->base, EVLOOP_NONBLOCK);
    event_base_update_cache_time(loop->base);
}

static void timer_init(struct loop *loop, struct timer *timer, struct work *work) {
    timer->work = work;
    evtimer_assign(&timer->event, loop->base, on_timer, timer);
}

static void timer_arm(struct loop *loop, struct timer *timer, uint64_t delay) {
    struct timeval after = {delay / SECOND, delay % SECOND / 1000};
    evtimer_add(&timer->event, delay == IDLE && loop->common ? loop->common : &after);
}

static void timer_cancel(struct loop *loop, struct timer *timer) {
    (void)loop;
    evtimer_del(&timer->event);
}

static void timer_push_out(struct loop *loop, struct timer *timer, uint64_t delay) { timer_arm(loop, timer, delay); }

static void *new(uint32_t count, int operation, int kind, uint64_t start, uint64_t window) {
    return work_new(count, operation, kind, start, window);
}

void *timers_event_new(uint32_t count, int operation, uint64_t start, uint64_t window) { return new(count, operation, 0, start, window); }
void *timers_event_common_new(uint32_t count, int operation, uint64_t start, uint64_t window) {
    return new(count, operation, 1, start, window);
}
void timers_event_run(void *work, uint64_t ops) { work_run(work, ops); }
