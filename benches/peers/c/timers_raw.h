/* The floor: timers on bare epoll. HEAP: four children to a node. WHEEL: hierarchical, of 1 ms. LAZY: the heap, in which a later deadline
 * is only written down. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

#define NOT_ARMED UINT32_MAX
#define TICK 1000000ull
#define LEVELS 5
#define SLOTS 64

struct work;
struct list {
    struct list *next, *previous;
};
struct timer {
    struct list list; /* of the wheel; first */
    uint64_t at;
    uint32_t place; /* in the heap */
    void (*fire)(struct work *, struct timer *);
    struct work *work;
};
struct entry {
    uint64_t at;
    struct timer *timer;
};
struct loop {
    int epoll;
    uint64_t now;
    uint32_t len, capacity;
    struct entry *heap;
    uint64_t tick;
    struct list slots[LEVELS][SLOTS];
};

static uint64_t read_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static inline void put(struct loop *loop, uint32_t place, struct entry entry) {
    loop->heap[place] = entry;
    entry.timer->place = place;
}

static inline void up(struct loop *loop, uint32_t hole, struct entry entry) {
    while (hole > 0) {
        uint32_t parent = (hole - 1) / 4;
        if (loop->heap[parent].at <= entry.at) break;
        put(loop, hole, loop->heap[parent]);
        hole = parent;
    }
    put(loop, hole, entry);
}

static inline void down(struct loop *loop, uint32_t hole, struct entry entry) {
    struct entry *heap = loop->heap;
    for (;;) {
        uint32_t child = hole * 4 + 1, least = child;
        if (child + 3 < loop->len) {
            if (heap[child + 1].at < heap[least].at) least = child + 1;
            if (heap[child + 2].at < heap[least].at) least = child + 2;
            if (heap[child + 3].at < heap[least].at) least = child + 3;
        } else if (child < loop->len) {
            for (uint32_t i = child + 1; i < loop->len; i++)
                if (heap[i].at < heap[least].at) least = i;
        } else {
            break;
        }
        if (heap[least].at >= entry.at) break;
        put(loop, hole, heap[least]);
        hole = least;
    }
    put(loop, hole, entry);
}

static inline void heap_insert(struct loop *loop, struct timer *timer) {
    if (loop->len == loop->capacity) {
        loop->capacity = loop->capacity ? loop->capacity * 2 : 64;
        loop->heap = realloc(loop->heap, loop->capacity * sizeof *loop->heap);
    }
    up(loop, loop->len++, (struct entry){timer->at, timer});
}

static inline void heap_remove(struct loop *loop, struct timer *timer) {
    uint32_t hole = timer->place;
    timer->place = NOT_ARMED;
    struct entry last = loop->heap[--loop->len];
    if (hole == loop->len) return;
    if (hole > 0 && last.at < loop->heap[(hole - 1) / 4].at)
        up(loop, hole, last);
    else
        down(loop, hole, last);
}

static inline void turn(struct loop *loop) {
    struct epoll_event events[64];
    epoll_wait(loop->epoll, events, 64, 0);
    loop->now = read_clock();
}

static struct loop *new_loop(void) {
    struct loop *loop = calloc(1, sizeof *loop);
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->now = read_clock();
    loop->tick = loop->now / TICK;
    for (int i = 0; i < LEVELS * SLOTS; i++) {
        struct list *slot = &loop->slots[0][0] + i;
        slot->next = slot->previous = slot;
    }
    return loop;
}

static inline void new_timer(struct timer *timer, struct work *work) {
    timer->place = NOT_ARMED;
    timer->work = work;
}

#if defined(HEAP) || defined(LAZY)
static struct loop *loop_new(int kind) {
    (void)kind;
    return new_loop();
}

static void loop_turn(struct loop *loop) {
    turn(loop);
    while (loop->len > 0 && loop->heap[0].at <= loop->now) {
        struct timer *timer = loop->heap[0].timer;
#ifdef LAZY
        if (timer->at > loop->now) {
            down(loop, 0, (struct entry){timer->at, timer});
            continue;
        }
#endif
        heap_remove(loop, timer);
        timer->fire(timer->work, timer);
    }
}

static inline void timer_arm(struct loop *loop, struct timer *timer, uint64_t delay) {
    timer->at = loop->now + delay;
    heap_insert(loop, timer);
}

static inline void timer_cancel(struct loop *loop, struct timer *timer) { heap_remove(loop, timer); }

static inline void timer_push_out(struct loop *loop, struct timer *timer, uint64_t delay) {
    timer->at = loop->now + delay;
#ifdef HEAP
    down(loop, timer->place, (struct entry){timer->at, timer});
#endif
}
#endif

#ifdef WHEEL
static inline void unlink_timer(struct list *list) {
    list->next->previous = list->previous;
    list->previous->next = list->next;
}

/* Never early: the tick in which the moment lies must be over. */
static inline void wheel_insert(struct loop *loop, struct timer *timer) {
    uint64_t tick = timer->at / TICK + 1, ahead = tick > loop->tick ? tick - loop->tick : 0;
    unsigned level = 0;
    if (ahead == 0) tick = loop->tick;
    while (level < LEVELS - 1 && ahead >= 1ull << (6 * (level + 1))) level++;
    struct list *slot = &loop->slots[level][(tick >> (6 * level)) % SLOTS];
    timer->list.next = slot;
    timer->list.previous = slot->previous;
    slot->previous->next = &timer->list;
    slot->previous = &timer->list;
}

/* All of a slot at once, so that a timer that is armed anew is not met again. */
static inline struct list *take_slot(struct list *slot, struct list *taken) {
    if (slot->next == slot) {
        taken->next = taken->previous = taken;
    } else {
        *taken = *slot;
        taken->next->previous = taken->previous->next = taken;
        slot->next = slot->previous = slot;
    }
    return taken;
}

static struct loop *loop_new(int kind) {
    (void)kind;
    return new_loop();
}

static void loop_turn(struct loop *loop) {
    struct list taken;
    turn(loop);
    for (uint64_t now = loop->now / TICK; loop->tick <= now; loop->tick++) {
        for (unsigned level = 1; level < LEVELS && loop->tick % (1ull << (6 * level)) == 0; level++) {
            take_slot(&loop->slots[level][(loop->tick >> (6 * level)) % SLOTS], &taken);
            while (taken.next != &taken) {
                struct timer *timer = (struct timer *)taken.next;
                unlink_timer(&timer->list);
                wheel_insert(loop, timer);
            }
        }
        take_slot(&loop->slots[0][loop->tick % SLOTS], &taken);
        while (taken.next != &taken) {
            struct timer *timer = (struct timer *)taken.next;
            unlink_timer(&timer->list);
            timer->fire(timer->work, timer);
        }
    }
}

static inline void timer_arm(struct loop *loop, struct timer *timer, uint64_t delay) {
    timer->at = loop->now + delay;
    wheel_insert(loop, timer);
}

static inline void timer_cancel(struct loop *loop, struct timer *timer) {
    (void)loop;
    unlink_timer(&timer->list);
}

static inline void timer_push_out(struct loop *loop, struct timer *timer, uint64_t delay) {
    unlink_timer(&timer->list);
    timer_arm(loop, timer, delay);
}
#endif

#include "timers.h"

static inline void timer_init(struct loop *loop, struct timer *timer, struct work *work) {
    (void)loop;
    new_timer(timer, work);
    timer->fire = fired;
}

void *EXPORT(new)(uint32_t count, int operation, uint64_t start, uint64_t window) { return work_new(count, operation, 0, start, window); }
void EXPORT(run)(void *work, uint64_t ops) { work_run(work, ops); }
