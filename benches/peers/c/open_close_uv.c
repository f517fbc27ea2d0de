/* A closed handle's memory is free after the next turn: without turns there is one for every 64 handles. */
#include <uv.h>
#include "open_close.h"

enum { HANDLES = 64 };

static uv_loop_t loop;
static uv_poll_t stays, handles[HANDLES];
static int descriptor, turns;

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)poll, (void)status, (void)events;
	open_close_die("nothing is readable");
}

static void start(uv_poll_t *handle, int fd)
{
	if (uv_poll_init(&loop, handle, fd) || uv_poll_start(handle, UV_READABLE, on_readable))
		open_close_die("uv_poll");
}

void *open_close_uv_start(int fd, int other, int with_turns)
{
	uv_loop_init(&loop);
	start(&stays, other);
	uv_run(&loop, UV_RUN_NOWAIT);
	descriptor = fd;
	turns = with_turns;
	return &loop;
}

void open_close_uv_run(void *state, uint64_t ops)
{
	(void)state;
	for (uint64_t i = 0; i < ops; i++) {
		uv_poll_t *handle = &handles[i % HANDLES];
		start(handle, descriptor);
		if (turns)
			uv_run(&loop, UV_RUN_NOWAIT);
		uv_close((uv_handle_t *)handle, NULL);
		if (turns || i % HANDLES == HANDLES - 1)
			uv_run(&loop, UV_RUN_NOWAIT);
	}
	uv_run(&loop, UV_RUN_NOWAIT);
}

/* One handle, which is started and stopped: no descriptor is opened, but nothing is waited for in between either. */
void open_close_uv_run_stop(void *state, uint64_t ops)
{
	(void)state;
	uv_poll_t *handle = &handles[0];
	if (uv_poll_init(&loop, handle, descriptor))
		open_close_die("uv_poll_init");
	while (ops--) {
		if (uv_poll_start(handle, UV_READABLE, on_readable))
			open_close_die("uv_poll_start");
		if (turns)
			uv_run(&loop, UV_RUN_NOWAIT);
		if (uv_poll_stop(handle))
			open_close_die("uv_poll_stop");
		if (turns)
			uv_run(&loop, UV_RUN_NOWAIT);
	}
	uv_close((uv_handle_t *)handle, NULL);
	uv_run(&loop, UV_RUN_NOWAIT);
}
