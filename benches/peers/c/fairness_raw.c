/* Bare epoll: edge-triggered and read until EAGAIN; the same until a read is short; level-triggered, one read for each event. */
#include <stdbool.h>
#include <sys/epoll.h>

#include "fairness.h"

enum until { UNTIL_EAGAIN, UNTIL_SHORT, ONCE };

static void serve(struct fairness *counters, const int *fds, int floods, enum until until) {
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int at = 0; at <= floods; at++) {
        struct epoll_event event = {.events = EPOLLIN | (until == ONCE ? 0 : EPOLLET), .data.u32 = at};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[at], &event)) fairness_die("epoll_ctl");
    }
    while (!atomic_load_explicit(&counters->stop, memory_order_acquire)) {
        struct epoll_event events[128];
        int ready = epoll_wait(epoll, events, 128, -1);
        for (int at = 0; at < ready; at++) {
            int which = events[at].data.u32;
            if (which == floods) {
                fairness_read_quiet(counters, fds[which]);
                continue;
            }
            ssize_t least = until == UNTIL_SHORT ? FLOOD_BYTES : 1;
            while (fairness_read(counters, fds[which]) >= least && until != ONCE) {}
        }
    }
    close(epoll);
}

void fairness_raw_drain(struct fairness *counters, const int *fds, int floods) { serve(counters, fds, floods, UNTIL_EAGAIN); }
void fairness_raw_short(struct fairness *counters, const int *fds, int floods) { serve(counters, fds, floods, UNTIL_SHORT); }
void fairness_raw_level(struct fairness *counters, const int *fds, int floods) { serve(counters, fds, floods, ONCE); }
