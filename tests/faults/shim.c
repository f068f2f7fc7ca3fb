/* Faults at the n-th change that a process makes below one folder; preloaded, asleep until told.

   It stands between libc and Python: what it sees is what the kernel would be asked, and what it
   answers is what the kernel would answer. `fault_set` is called by the process itself, by ctypes,
   before the command begins. With a journal it also writes down every change, in order. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, KILL, KILL_AFTER, TEAR, STOP, REFUSE, REFUSE_ONCE };
enum { OPEN = 1, WRITE = 2, FSYNC = 4, RENAME = 8, LINK = 16, UNLINK = 32, MKDIR = 64, RMDIR = 128 };
enum { READ = 256 };
#define FDS 4096

static char folder[PATH_MAX], only[PATH_MAX]; /* `only`: what a path has in it, "": anything */
static size_t folder_length;
static int action, mask, number_of_error, journal = -1;
static long nth, count;
static char *paths[FDS]; /* of descriptors that were opened below the folder */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t really_write(int fd, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    return real(fd, data, size);
}

void fault_set(const char *below, const char *part, int what, int which, long n, int error,
               int journal_fd) {
    strncpy(folder, below, PATH_MAX - 1);
    strncpy(only, part, PATH_MAX - 1);
    folder_length = strlen(folder);
    action = what, mask = which, nth = n, number_of_error = error, journal = journal_fd, count = 0;
}

long fault_count(void) { return count; }

static const char *below(const char *path, char *whole) {
    if (!folder_length || !path) return NULL;
    if (path[0] != '/') {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return NULL;
        if (snprintf(whole, PATH_MAX, "%s/%s", here, path) >= PATH_MAX) return NULL;
        path = whole;
    }
    return strncmp(path, folder, folder_length) ? NULL : path;
}

static void note(int op, const char *path, const char *to, const void *data, size_t size) {
    char head[2 * PATH_MAX + 64];
    if (journal < 0) return;
    int length = snprintf(head, sizeof head, "%d\t%s\t%s\t%zu\n", op, path, to ? to : "", size);
    really_write(journal, head, length);
    if (size) really_write(journal, data, size);
}

/* Returns whether the call is refused; stops or kills the process where it has come so far. */
static int meets(int op, const char *path, int *kills_after, int *tears) {
    *kills_after = *tears = 0;
    if (!action || !(op & mask) || !strstr(path, only)) return 0;
    pthread_mutex_lock(&lock);
    long mine = ++count;
    pthread_mutex_unlock(&lock);
    if (mine < nth || (mine > nth && action != REFUSE)) return 0;
    switch (action) {
    case KILL: kill(getpid(), SIGKILL); pause();
    case KILL_AFTER: *kills_after = 1; return 0;
    case TEAR: *kills_after = *tears = 1; return 0;
    case STOP: kill(getpid(), SIGSTOP); return 0;
    default: errno = number_of_error; return 1;
    }
}

static void end(int kills_after) {
    if (kills_after) { kill(getpid(), SIGKILL); pause(); }
}

static void remember(int fd, const char *path) {
    if (fd < 0 || fd >= FDS) return;
    free(paths[fd]);
    paths[fd] = path ? strdup(path) : NULL;
}

static const char *of(int fd) { return fd >= 0 && fd < FDS ? paths[fd] : NULL; }

static int opened(const char *name, const char *path, int flags, mode_t mode) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    char whole[PATH_MAX];
    const char *mine = below(path, whole);
    if (!mine) return real(path, flags, mode);
    int changes = flags & (O_CREAT | O_TRUNC), after, tears;
    if (meets(changes ? OPEN : READ, mine, &after, &tears)) return -1;
    int fd = real(path, flags, mode);
    remember(fd, mine);
    if (changes && fd >= 0) note(OPEN, mine, NULL, NULL, 0);
    end(after);
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more);
    return opened("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more);
    return opened("open64", path, flags, mode);
}

int close(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "close");
    if (of(fd)) remember(fd, NULL);
    return real(fd);
}

ssize_t write(int fd, const void *data, size_t size) {
    const char *mine = of(fd);
    if (!mine) return really_write(fd, data, size);
    int after, tears;
    if (meets(WRITE, mine, &after, &tears)) return -1;
    ssize_t done = really_write(fd, data, tears ? size / 2 : size);
    if (done > 0) note(WRITE, mine, NULL, data, done);
    end(after);
    return done;
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    const char *mine = of(fd);
    if (!mine) return real(fd);
    int after, tears;
    if (meets(FSYNC, mine, &after, &tears)) return -1;
    note(FSYNC, mine, NULL, NULL, 0); /* and not done: the trials are many, the power stays on */
    end(after);
    return 0;
}

#define PAIR(name, op)                                                       \
    int name(const char *from, const char *to) {                             \
        int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, #name);   \
        char one[PATH_MAX], two[PATH_MAX];                                   \
        const char *mine = below(from, one), *other = below(to, two);        \
        if (!mine || !other) return real(from, to);                          \
        int after, tears;                                                    \
        if (meets(op, other, &after, &tears)) return -1;                     \
        int done = real(from, to);                                           \
        if (!done) note(op, mine, other, NULL, 0);                           \
        end(after);                                                          \
        return done;                                                         \
    }

#define SINGLE(name, op, more, argument)                                     \
    int name(const char *path more) {                                        \
        int (*real)(const char *more) = dlsym(RTLD_NEXT, #name);             \
        char one[PATH_MAX];                                                  \
        const char *mine = below(path, one);                                 \
        if (!mine) return real(path argument);                               \
        int after, tears;                                                    \
        if (meets(op, mine, &after, &tears)) return -1;                      \
        int done = real(path argument);                                      \
        if (!done) note(op, mine, NULL, NULL, 0);                            \
        end(after);                                                          \
        return done;                                                         \
    }
#define COMMA_MODE , mode_t mode
#define COMMA_ARGUMENT , mode

PAIR(rename, RENAME)
PAIR(link, LINK)
SINGLE(unlink, UNLINK, , )
SINGLE(rmdir, RMDIR, , )
SINGLE(mkdir, MKDIR, COMMA_MODE, COMMA_ARGUMENT)
