/* A program's wall clock, moved by what a file says: nanoseconds, as eight bytes of this machine.

   Loaded before the C library. What asks how late it is gets the kernel's answer and the offset; what waits, and every
   other clock, is left alone. The file is mapped: a step is seen with the next question, and by all threads. Where the
   file is not there, nothing is moved.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)

typedef int (*ask_clock)(clockid_t, struct timespec *);

static _Atomic(ask_clock) kernel_clock;
static const _Atomic int64_t *offset_ns;

static ask_clock find_kernel_clock(void)
{
    ask_clock found = atomic_load_explicit(&kernel_clock, memory_order_relaxed);
    if (found == NULL) {
        found = (ask_clock)dlsym(RTLD_NEXT, "clock_gettime");
        atomic_store_explicit(&kernel_clock, found, memory_order_relaxed);
    }
    return found;
}

__attribute__((constructor)) static void map_offset(void)
{
    const char *name = getenv("SKERRY_WALL_CLOCK_FILE");
    int file = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED)
        offset_ns = mapped;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int refused = find_kernel_clock()(clock, at);
    if (refused || offset_ns == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return refused;
    int64_t now_ns = at->tv_sec * SECOND_NS + at->tv_nsec + atomic_load_explicit(offset_ns, memory_order_relaxed);
    at->tv_sec = now_ns / SECOND_NS;
    at->tv_nsec = now_ns % SECOND_NS;
    if (at->tv_nsec < 0) {
        at->tv_sec -= 1;
        at->tv_nsec += SECOND_NS;
    }
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at != NULL)
        *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base)
{
    if (base != TIME_UTC)
        return 0;
    clock_gettime(CLOCK_REALTIME, at);
    return base;
}
