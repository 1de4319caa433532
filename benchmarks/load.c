/* The load generator of the proxy's benchmark: a server for the far side and clients for the near side.
 *
 *   load serve                            prints three ports: echo, sink, source; serves until killed
 *   load up HOST PORT BYTES FRAME         sends BYTES (whole MiB) in frames of FRAME, waits for the sink's answers: MB/s
 *   load down HOST PORT BYTES             reads BYTES from the source: MB/s
 *   load connect HOST PORT CLIENTS SECS   connects, echoes one byte, closes: connections per second
 *   load busy HOST PORT CONNS SECS        64 B echoes on CONNS connections: requests per second
 *   load rtt HOST PORT COUNT              64 B echoes on one connection: p50 and p99 in microseconds
 *   load hold HOST PORT CONNS             opens CONNS idle connections, prints "held", waits for end of input
 *   load stall HOST PORT CONNS            opens CONNS to the source and reads nothing, prints "held", waits
 *
 * Plain blocking sockets where there is one connection, epoll where there are many; no threads.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { ECHO, SINK, SOURCE, CHUNK = 1 << 18, MIB = 1 << 20, MOST = 65536 };
static char chunk[CHUNK];
static int kinds[MOST];
static long taken[MOST]; /* bytes of a sink since its last answer */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void nodelay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static struct sockaddr_in address(const char *host, const char *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    inet_pton(AF_INET, host, &a.sin_addr);
    return a;
}

static int dial(struct sockaddr_in a) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) die("connect");
    nodelay(fd);
    return fd;
}

static void whole(int fd, char *data, size_t size, int is_write) {
    for (size_t done = 0; done < size;) {
        ssize_t n = is_write ? write(fd, data + done, size - done) : read(fd, data + done, size - done);
        if (n <= 0) die(is_write ? "write" : "read");
        done += (size_t)n;
    }
}

/* -- the far side ------------------------------------------------------------------------------------------------ */

static int listener(void) {
    struct sockaddr_in a = address("127.0.0.1", "0");
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096)) die("listen");
    getsockname(fd, (struct sockaddr *)&a, &size);
    printf("%d ", ntohs(a.sin_port));
    return fd;
}

static void watch(int poll, int fd, int kind, unsigned events) {
    struct epoll_event e = {.events = events, .data.fd = fd};
    kinds[fd] = kind;
    taken[fd] = 0;
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e);
}

static void serve_one(int fd, unsigned events) {
    ssize_t n;
    if (kinds[fd] == SOURCE) {
        if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) close(fd);
        else while ((n = write(fd, chunk, CHUNK)) > 0);
        return;
    }
    while ((n = read(fd, chunk, kinds[fd] == ECHO ? 4096 : CHUNK)) > 0) {
        if (kinds[fd] == ECHO && write(fd, chunk, (size_t)n) != n) break;
        for (taken[fd] += n; kinds[fd] == SINK && taken[fd] >= MIB; taken[fd] -= MIB)
            if (write(fd, "!", 1) != 1) die("write");
    }
    if (n == 0 || (n < 0 && errno != EAGAIN)) close(fd);
}

static _Noreturn void serve(void) {
    int poll = epoll_create1(0), first = 0;
    for (int kind = ECHO; kind <= SOURCE; kind++) {
        int fd = listener();
        if (!first) first = fd;
        watch(poll, fd, kind, EPOLLIN);
    }
    printf("\n");
    fflush(stdout);
    struct epoll_event events[256];
    for (;;) {
        int count = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd > first + SOURCE) {
                serve_one(fd, events[i].events);
                continue;
            }
            int new = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
            if (new < 0) continue;
            nodelay(new);
            watch(poll, new, kinds[fd], kinds[fd] == SOURCE ? EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLIN);
        }
    }
}

/* -- the near side ----------------------------------------------------------------------------------------------- */

static int up(struct sockaddr_in a, long bytes, int frame) {
    if (frame < 8) frame = 8;
    char *data = calloc(1, (size_t)frame);
    unsigned length = htonl((unsigned)frame - 4);
    memcpy(data, &length, 4);
    int fd = dial(a);
    double start = now();
    long sent = 0;
    for (; sent < bytes; sent += frame) whole(fd, data, (size_t)frame, 1);
    for (long answers = sent / MIB; answers > 0; answers--) whole(fd, data, 1, 0);
    printf("%.4f\n", (double)sent / (now() - start) / 1e6);
    return 0;
}

static int down(struct sockaddr_in a, long bytes) {
    int fd = dial(a);
    double start = now();
    long got = 0;
    for (ssize_t n; got < bytes; got += n)
        if ((n = read(fd, chunk, CHUNK)) <= 0) die("read");
    printf("%.1f\n", (double)got / (now() - start) / 1e6);
    return 0;
}

static int start_dial(int poll, struct sockaddr_in a) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    nodelay(fd);
    if (fd < 0 || (connect(fd, (struct sockaddr *)&a, sizeof a) && errno != EINPROGRESS)) die("connect");
    watch(poll, fd, 0, EPOLLOUT);
    return fd;
}

static int connects(struct sockaddr_in a, int clients, double seconds) {
    int poll = epoll_create1(0);
    long done = 0;
    struct epoll_event events[256], in = {.events = EPOLLIN};
    struct linger reset = {1, 0};
    for (int i = 0; i < clients; i++) start_dial(poll, a);
    double start = now();
    while (now() - start < seconds) {
        int count = epoll_wait(poll, events, 256, 100);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (events[i].events & EPOLLOUT) {
                if (write(fd, "x", 1) != 1) die("write");
                in.data.fd = fd;
                epoll_ctl(poll, EPOLL_CTL_MOD, fd, &in);
            } else {
                char answer;
                if (read(fd, &answer, 1) != 1) die("read");
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
                close(fd);
                done++;
                start_dial(poll, a);
            }
        }
    }
    printf("%.1f\n", (double)done / (now() - start));
    return 0;
}

static int busy(struct sockaddr_in a, int conns, double seconds) {
    int poll = epoll_create1(0);
    char data[64] = {0};
    for (int i = 0; i < conns; i++) {
        int fd = dial(a);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        watch(poll, fd, 0, EPOLLIN);
        whole(fd, data, sizeof data, 1);
    }
    long done = 0;
    struct epoll_event events[256];
    double start = now();
    while (now() - start < seconds) {
        int count = epoll_wait(poll, events, 256, 100);
        for (int i = 0; i < count; i++) {
            whole(events[i].data.fd, data, sizeof data, 0);
            whole(events[i].data.fd, data, sizeof data, 1);
            done++;
        }
    }
    printf("%.1f\n", (double)done / (now() - start));
    return 0;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int rtt(struct sockaddr_in a, int count) {
    int fd = dial(a);
    char data[64] = {0};
    double *times = calloc((size_t)count, sizeof *times);
    for (int i = -count / 10 - 1; i < count; i++) {
        double start = now();
        whole(fd, data, sizeof data, 1);
        whole(fd, data, sizeof data, 0);
        if (i >= 0) times[i] = now() - start;
    }
    qsort(times, (size_t)count, sizeof *times, ascending);
    printf("%.2f %.2f\n", times[count / 2] * 1e6, times[count - 1 - count / 100] * 1e6);
    return 0;
}

static int hold(struct sockaddr_in a, int conns) {
    char end;
    for (int i = 0; i < conns; i++) dial(a);
    printf("held\n");
    fflush(stdout);
    return read(0, &end, 1) < 0;
}

int main(int argc, char **argv) {
    struct rlimit most;
    getrlimit(RLIMIT_NOFILE, &most);
    struct rlimit more = {MOST, MOST};
    most.rlim_cur = most.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &more)) setrlimit(RLIMIT_NOFILE, &most);
    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && !strcmp(argv[1], "serve")) serve();
    if (argc < 4) return 2;
    struct sockaddr_in a = address(argv[2], argv[3]);
    const char *what = argv[1];
    double first = argc > 4 ? atof(argv[4]) : 0, second = argc > 5 ? atof(argv[5]) : 0;
    if (!strcmp(what, "up")) return up(a, (long)first, (int)second);
    if (!strcmp(what, "down")) return down(a, (long)first);
    if (!strcmp(what, "connect")) return connects(a, (int)first, second);
    if (!strcmp(what, "busy")) return busy(a, (int)first, second);
    if (!strcmp(what, "rtt")) return rtt(a, (int)first);
    if (!strcmp(what, "hold") || !strcmp(what, "stall")) return hold(a, (int)first);
    return 2;
}
