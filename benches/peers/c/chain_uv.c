/* libuv: a poll handle for each link, level-triggered. */
#include <uv.h>
#include "chain.h"

struct handle {
	uv_poll_t poll;
	int from, to;
};

static uint64_t events, target;

static void on_readable(uv_poll_t *poll, int status, int revents)
{
	struct handle *handle = (struct handle *)poll;
	char buf[CHAIN_BUFFER];
	ssize_t got = read(handle->from, buf, sizeof buf);
	(void)status, (void)revents;
	if (got <= 0)
		return;
	chain_forward(handle->to, buf, got);
	if (++events == target)
		uv_stop(poll->loop);
}

void *chain_uv_start(const struct chain_link *links, uint32_t n)
{
	uv_loop_t *loop = malloc(sizeof *loop);
	struct handle *handles = calloc(n, sizeof *handles);
	uv_loop_init(loop);
	for (uint32_t i = 0; i < n; i++) {
		handles[i].from = links[i].from;
		handles[i].to = links[i].to;
		if (uv_poll_init(loop, &handles[i].poll, links[i].from) || uv_poll_start(&handles[i].poll, UV_READABLE, on_readable))
			chain_die("uv_poll");
	}
	return loop;
}

void chain_uv_run(void *state, uint64_t ops)
{
	target += ops;
	if (events < target)
		uv_run(state, UV_RUN_DEFAULT);
}
