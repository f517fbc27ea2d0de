#include <sys/epoll.h>
#include "open_close.h"

static int epoll, descriptor, turns;

static void add(int fd)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.fd = fd };
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		open_close_die("epoll_ctl");
}

static void turn(void)
{
	struct epoll_event events[256];
	if (epoll_wait(epoll, events, 256, 0) != 0)
		open_close_die("epoll_wait");
}

void *open_close_raw_start(int fd, int other, int with_turns)
{
	epoll = epoll_create1(EPOLL_CLOEXEC);
	descriptor = fd;
	turns = with_turns;
	add(other);
	return &epoll;
}

void open_close_raw_run(void *state, uint64_t ops)
{
	(void)state;
	while (ops--) {
		add(descriptor);
		if (turns)
			turn();
		if (epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, NULL))
			open_close_die("epoll_ctl");
		if (turns)
			turn();
	}
}
