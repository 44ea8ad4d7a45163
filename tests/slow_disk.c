/* A disk that is slow, or fails, where we say so: preloaded into a broker (LD_PRELOAD), for tests.
 *
 * The file that $SLOW_DISK names holds lines `<part of a path> <ms of a write> <ms of an fsync>`, and is read at each call: a
 * write to (or an fsync of) a file whose path has that part takes so much longer. A negative number is an I/O error at once. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int wait_as_told(int fd, int is_sync) {
    const char *control = getenv("SLOW_DISK");
    FILE *file = control ? fopen(control, "r") : NULL;
    if (!file) return 0;
    char link[64], path[4096] = "", part[1024];
    int write_ms, sync_ms, wait_ms = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    while (fscanf(file, "%1023s %d %d", part, &write_ms, &sync_ms) == 3)
        if (strstr(path, part)) wait_ms = is_sync ? sync_ms : write_ms;
    fclose(file);
    if (wait_ms < 0) {
        errno = EIO;
        return -1;
    }
    struct timespec time = {wait_ms / 1000, wait_ms % 1000 * 1000000L};
    if (wait_ms) nanosleep(&time, NULL);
    return 0;
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return wait_as_told(fd, 1) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return wait_as_told(fd, 1) ? -1 : REAL(fdatasync)(fd); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return wait_as_told(fd, 0) ? -1 : REAL(pwrite)(fd, data, size, at); }
ssize_t pwritev(int fd, const struct iovec *data, int count, off_t at) {
    return wait_as_told(fd, 0) ? -1 : REAL(pwritev)(fd, data, count, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return wait_as_told(fd, 0) ? -1 : REAL(pwrite64)(fd, data, size, at); }
ssize_t pwritev64(int fd, const struct iovec *data, int count, off64_t at) {
    return wait_as_told(fd, 0) ? -1 : REAL(pwritev64)(fd, data, count, at);
}
ssize_t pwritev2(int fd, const struct iovec *data, int count, off_t at, int flags) {
    return wait_as_told(fd, 0) ? -1 : REAL(pwritev2)(fd, data, count, at, flags);
}
ssize_t pwritev64v2(int fd, const struct iovec *data, int count, off64_t at, int flags) {
    return wait_as_told(fd, 0) ? -1 : REAL(pwritev64v2)(fd, data, count, at, flags);
}
