/* What the echo servers in C share: a connection's step, from readiness to readiness. Each reads into one buffer of the loop; what the kernel
 * does not take at once is kept by the connection, which reads no more until that is gone. */
#ifndef ECHO_H
#define ECHO_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* When a step stops reading: edge-triggered loops must know that nothing is left, level-triggered ones are told again. */
enum until { NOTHING_LEFT, SHORT_READ, ONE_READ };
enum outcome { WANTS_READ, WANTS_WRITE, GONE };

struct echo {
    int fd;
    unsigned sent, len;
    char *pending;
};

static __attribute__((noinline, unused)) enum outcome echo_flush(struct echo *echo) {
    while (echo->sent < echo->len) {
        ssize_t n = send(echo->fd, echo->pending + echo->sent, echo->len - echo->sent, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? WANTS_WRITE : GONE;
        echo->sent += (unsigned)n;
    }
    free(echo->pending);
    echo->pending = NULL;
    echo->sent = echo->len = 0;
    return WANTS_READ;
}

/* Keeps a copy of what was not sent. */
static __attribute__((noinline, unused)) enum outcome echo_keep(struct echo *echo, const char *rest, size_t len) {
    echo->pending = malloc(len);
    if (!echo->pending)
        return GONE;
    memcpy(echo->pending, rest, len);
    echo->len = (unsigned)len;
    return echo_flush(echo);
}

static inline __attribute__((always_inline, unused)) enum outcome echo_step(struct echo *echo, char *buf, size_t size, enum until until) {
    if (echo->len) {
        enum outcome outcome = echo_flush(echo);
        if (outcome != WANTS_READ)
            return outcome;
    }
    for (;;) {
        ssize_t n = read(echo->fd, buf, size);
        if (n <= 0)
            return n < 0 && errno == EAGAIN ? WANTS_READ : GONE;
        ssize_t sent = send(echo->fd, buf, (size_t)n, MSG_NOSIGNAL);
        if (sent != n) {
            if (sent < 0 && errno != EAGAIN)
                return GONE;
            if (sent < 0)
                sent = 0;
            enum outcome outcome = echo_keep(echo, buf + sent, (size_t)(n - sent));
            if (outcome != WANTS_READ)
                return outcome;
        }
        if (until == ONE_READ || (until == SHORT_READ && (size_t)n < size))
            return WANTS_READ;
    }
}

#endif
