/* Faults in system calls, for the torture: loaded with LD_PRELOAD into the whole tree of processes.
 *
 * The rules are in a file that is mapped when the program starts, before any jail closes, and shared by everything that
 * is forked from it; the torture writes it while the system runs (injection.py has the same layout). A rule says which
 * process, which calls, which error, every how many calls, and how often at most. Only regular files are touched:
 * sockets, pipes and event descriptors always work. The real-time clock can be shifted as a whole.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RULES 16

enum { WRITE = 1, FLUSH = 2, CREATE = 4, RENAME = 8, UNLINK = 16, TRUNCATE = 32, SYNCFS = 64 };
#define SHORT_WRITE (-1)

struct rule {
    int32_t pid;   /* 0: this rule is off; -1: everybody */
    int32_t calls; /* which of the above */
    int32_t error; /* errno, or SHORT_WRITE */
    int32_t every; /* 1: each call, n: one in n */
    int32_t left;  /* how often it may still strike */
    int32_t seen;
    int32_t fired;
    int32_t unused;
};

struct control {
    int64_t clock_offset_ns;
    struct rule rules[RULES];
};

static struct control *control;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("POSTHOUSE_TORTURE_CONTROL");
    if (path == NULL)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        control = map;
}

/* The error to answer with, SHORT_WRITE, or 0. */
static int strike(int call)
{
    if (control == NULL)
        return 0;
    int32_t own = 0;
    for (int i = 0; i < RULES; i++) {
        struct rule *rule = &control->rules[i];
        int32_t pid = __atomic_load_n(&rule->pid, __ATOMIC_RELAXED);
        if (pid == 0 || !(rule->calls & call))
            continue;
        if (own == 0)
            own = (int32_t)getpid();
        if (pid != -1 && pid != own)
            continue;
        if (__atomic_add_fetch(&rule->seen, 1, __ATOMIC_RELAXED) % rule->every != 0)
            continue;
        if (__atomic_sub_fetch(&rule->left, 1, __ATOMIC_RELAXED) < 0)
            continue;
        __atomic_add_fetch(&rule->fired, 1, __ATOMIC_RELAXED);
        return rule->error;
    }
    return 0;
}

static int is_file(int fd)
{
    struct stat facts;
    int saved = errno;
    int regular = fstat(fd, &facts) == 0 && (S_ISREG(facts.st_mode) || S_ISDIR(facts.st_mode));
    errno = saved;
    return regular;
}

static int on_file(int call, int fd)
{
    return control != NULL && is_file(fd) ? strike(call) : 0;
}

#define REAL(result, name, ...)                                  \
    static result (*real)(__VA_ARGS__);                          \
    if (real == NULL)                                            \
        real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define FAIL_IF(struck)                \
    do {                               \
        int struck_ = (struck);        \
        if (struck_ > 0) {             \
            errno = struck_;           \
            return -1;                 \
        }                              \
    } while (0)

static size_t half(size_t length)
{
    return length > 1 ? length / 2 : length;
}

ssize_t write(int fd, const void *data, size_t length)
{
    REAL(ssize_t, write, int, const void *, size_t);
    int fault = on_file(WRITE, fd);
    FAIL_IF(fault);
    return real(fd, data, fault == SHORT_WRITE ? half(length) : length);
}

#define PWRITE(name, offset_type)                                               \
    ssize_t name(int fd, const void *data, size_t length, offset_type offset)   \
    {                                                                           \
        REAL(ssize_t, name, int, const void *, size_t, offset_type);            \
        int fault = on_file(WRITE, fd);                                         \
        FAIL_IF(fault);                                                         \
        return real(fd, data, fault == SHORT_WRITE ? half(length) : length, offset); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

/* A vector cut in half: whole parts if there are several, else half of the one. */
static const struct iovec *cut(const struct iovec *parts, int *count, struct iovec *one)
{
    if (*count > 1) {
        *count /= 2;
        return parts;
    }
    *one = parts[0];
    one->iov_len = half(one->iov_len);
    return one;
}

#define WRITEV(name, declared, passed)                                          \
    ssize_t name declared                                                       \
    {                                                                           \
        static ssize_t (*real) declared;                                        \
        if (real == NULL)                                                       \
            real = (ssize_t (*) declared)dlsym(RTLD_NEXT, #name);               \
        int fault = on_file(WRITE, fd);                                         \
        FAIL_IF(fault);                                                         \
        struct iovec one;                                                       \
        if (fault == SHORT_WRITE && count > 0)                                  \
            parts = cut(parts, &count, &one);                                   \
        return real passed;                                                     \
    }
WRITEV(writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
WRITEV(pwritev, (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at))
WRITEV(pwritev64, (int fd, const struct iovec *parts, int count, off64_t at), (fd, parts, count, at))
WRITEV(pwritev2, (int fd, const struct iovec *parts, int count, off_t at, int flags), (fd, parts, count, at, flags))
WRITEV(pwritev64v2, (int fd, const struct iovec *parts, int count, off64_t at, int flags), (fd, parts, count, at, flags))

#define FLUSHES(name, call)            \
    int name(int fd)                   \
    {                                  \
        REAL(int, name, int);          \
        FAIL_IF(on_file(call, fd));    \
        return real(fd);               \
    }
FLUSHES(fsync, FLUSH)
FLUSHES(fdatasync, FLUSH)
FLUSHES(syncfs, SYNCFS)

/* Flushing by the kernel's workers (io_submit) is not a function of libc: it goes through syscall(2), and the error is
 * in the event that says that it is done. */
long syscall(long number, ...)
{
    REAL(long, syscall, long, ...);
    va_list rest;
    long a[6];
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    long result = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (number == SYS_io_getevents && control != NULL) {
        struct io_event *events = (struct io_event *)a[3];
        for (long i = 0; i < result; i++) {
            int fault = strike(FLUSH);
            if (fault > 0)
                events[i].res = -fault;
        }
    }
    return result;
}

int rename(const char *old, const char *new)
{
    REAL(int, rename, const char *, const char *);
    FAIL_IF(strike(RENAME));
    return real(old, new);
}

int renameat(int old_dir, const char *old, int new_dir, const char *new)
{
    REAL(int, renameat, int, const char *, int, const char *);
    FAIL_IF(strike(RENAME));
    return real(old_dir, old, new_dir, new);
}

int link(const char *old, const char *new)
{
    REAL(int, link, const char *, const char *);
    FAIL_IF(strike(CREATE));
    return real(old, new);
}

int linkat(int old_dir, const char *old, int new_dir, const char *new, int flags)
{
    REAL(int, linkat, int, const char *, int, const char *, int);
    FAIL_IF(strike(CREATE));
    return real(old_dir, old, new_dir, new, flags);
}

int mkdir(const char *path, mode_t mode)
{
    REAL(int, mkdir, const char *, mode_t);
    FAIL_IF(strike(CREATE));
    return real(path, mode);
}

int unlink(const char *path)
{
    REAL(int, unlink, const char *);
    FAIL_IF(strike(UNLINK));
    return real(path);
}

int unlinkat(int dir, const char *path, int flags)
{
    REAL(int, unlinkat, int, const char *, int);
    FAIL_IF(strike(UNLINK));
    return real(dir, path, flags);
}

#define TRUNCATES(name, length_type)               \
    int name(int fd, length_type length)           \
    {                                              \
        REAL(int, name, int, length_type);         \
        FAIL_IF(on_file(TRUNCATE, fd));            \
        return real(fd, length);                   \
    }
TRUNCATES(ftruncate, off_t)
TRUNCATES(ftruncate64, off64_t)

#define OPENS(name)                                                        \
    int name(const char *path, int flags, ...)                             \
    {                                                                      \
        REAL(int, name, const char *, int, ...);                           \
        mode_t mode = 0;                                                   \
        if (flags & (O_CREAT | __O_TMPFILE)) {                             \
            va_list rest;                                                  \
            va_start(rest, flags);                                         \
            mode = va_arg(rest, mode_t);                                   \
            va_end(rest);                                                  \
            FAIL_IF(strike(CREATE));                                       \
        }                                                                  \
        return real(path, flags, mode);                                    \
    }
OPENS(open)
OPENS(open64)

#define OPENATS(name)                                                      \
    int name(int dir, const char *path, int flags, ...)                    \
    {                                                                      \
        REAL(int, name, int, const char *, int, ...);                      \
        mode_t mode = 0;                                                   \
        if (flags & (O_CREAT | __O_TMPFILE)) {                             \
            va_list rest;                                                  \
            va_start(rest, flags);                                         \
            mode = va_arg(rest, mode_t);                                   \
            va_end(rest);                                                  \
            FAIL_IF(strike(CREATE));                                       \
        }                                                                  \
        return real(dir, path, flags, mode);                               \
    }
OPENATS(openat)
OPENATS(openat64)

int clock_gettime(clockid_t clock, struct timespec *now)
{
    REAL(int, clock_gettime, clockid_t, struct timespec *);
    int status = real(clock, now);
    if (status == 0 && control != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + control->clock_offset_ns;
        now->tv_sec = ns / 1000000000;
        now->tv_nsec = ns % 1000000000;
    }
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec precise;
    if (clock_gettime(CLOCK_REALTIME, &precise) != 0)
        return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec precise;
    if (clock_gettime(CLOCK_REALTIME, &precise) != 0)
        return (time_t)-1;
    if (result != NULL)
        *result = precise.tv_sec;
    return precise.tv_sec;
}
