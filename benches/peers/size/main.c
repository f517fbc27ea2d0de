/* The echo server of one peer in C: -DSERVE=echo_raw. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

void SERVE(int listener, size_t size, uint64_t idle_ms);

int main(void) {
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&addr, len) || listen(listener, 4096) || getsockname(listener, (struct sockaddr *)&addr, &len))
        return 1;
    printf("listening on 127.0.0.1:%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    SERVE(listener, 4096, 0);
    return 1;
}
