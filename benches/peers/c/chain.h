/* A chain of links: what arrives at from[i] is forwarded to to[i], which is the other end of from[i + 1], or the same eventfd. */
#ifndef CHAIN_H
#define CHAIN_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHAIN_BUFFER 64

struct chain_link {
	int from, to;
};

static inline void chain_die(const char *what)
{
	perror(what);
	abort();
}

static inline void chain_forward(int to, const char *buf, ssize_t n)
{
	if (write(to, buf, n) != n)
		chain_die("write");
}
#endif
