/*
 * faults.c: preloaded into a program (LD_PRELOAD), counts its calls of one kind and makes some of them fail, as SQLite's
 * tests do. What is asked for stands in the environment:
 *
 *   FAULT_KIND    alloc, write, read, open, close, mmap, mprotect or thread
 *   FAULT_AT      number of the first call that fails, from 1; without, none does
 *   FAULT_TIMES   how many fail from there on (1); all of them with 0
 *   FAULT_ERROR   why: an errno, as a number; or "short", for writes and reads of half the bytes asked for
 *   FAULT_SPARED  names of libraries, parted by blanks, whose own calls neither count nor fail ("libndpi")
 *   FAULT_COUNT   a file for the number of calls, written when main has returned
 *
 * Calls count while main runs, and those of the dynamic loader do not. The functions below are all there is to preload:
 * what the C library does inside itself (the stacks of threads, the system calls under stdio) goes through no name, so
 * stdio fails in its own functions, as it would tell of a failed system call; a system call made as one (syscall) is
 * out of reach. LuaJIT's heap and its machine code come from mmap and mprotect, by name.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { NONE, ALLOC, WRITE, READ, OPEN, CLOSE, MMAP, MPROTECT, THREAD, KINDS };
static const char *const kind_names[KINDS] = {"",      "alloc", "write",    "read",  "open",
                                              "close", "mmap",  "mprotect", "thread"};

enum { SPARED_MAX = 32 };

static struct {
  enum kind kind;
  uint64_t first, times;
  int error;
  bool is_short;
  struct {
    uintptr_t begin, end;
  } spared[SPARED_MAX]; /* code of libraries */
  int spared_count;
} plan;

static atomic_bool is_running; /* main */
static atomic_uint_least64_t calls;

/* Set while the C library does something for a library that is spared, so that what it allocates is spared, too. */
static _Thread_local bool is_sparing;

static bool is_spared(const void *caller) {
  if (is_sparing) return true;
  uintptr_t at = (uintptr_t)caller;
  for (int i = 0; i < plan.spared_count; i++)
    if (at >= plan.spared[i].begin && at < plan.spared[i].end) return true;
  return false;
}

static bool is_due_for(enum kind kind, const void *caller) {
  if (kind != plan.kind || !atomic_load(&is_running) || is_spared(caller)) return false;
  uint64_t number = atomic_fetch_add(&calls, 1) + 1;
  if (!plan.first || number < plan.first || (plan.times && number >= plan.first + plan.times)) return false;
  errno = plan.error;
  return true;
}

/* Whether this call of a function is one that has to fail. */
#define IS_DUE(kind) is_due_for(kind, __builtin_return_address(0))

/* Calls a function of the C library that allocates in its own name; gives back what it gives. */
#define SPARING(call)                                    \
  __extension__({                                        \
    bool before_ = is_sparing;                           \
    is_sparing = is_spared(__builtin_return_address(0)); \
    __typeof__(call) result_ = (call);                   \
    is_sparing = before_;                                \
    result_;                                             \
  })

/* The function that would have been called. */
#define NEXT(name) (__extension__(__typeof__(&(name))) dlsym(RTLD_NEXT, #name))

/* ---- memory: glibc's own names need no dlsym, which would allocate itself ---- */

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

void *malloc(size_t size) { return IS_DUE(ALLOC) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return IS_DUE(ALLOC) ? NULL : __libc_calloc(count, size); }
void *realloc(void *block, size_t size) { return IS_DUE(ALLOC) ? NULL : __libc_realloc(block, size); }
void *aligned_alloc(size_t alignment, size_t size) { return IS_DUE(ALLOC) ? NULL : __libc_memalign(alignment, size); }
void *memalign(size_t alignment, size_t size) { return IS_DUE(ALLOC) ? NULL : __libc_memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
  if (IS_DUE(ALLOC)) return ENOMEM;
  void *made = __libc_memalign(alignment, size);
  if (made) *block = made;
  return made ? 0 : ENOMEM;
}

char *strdup(const char *text) { return SPARING(NEXT(strdup)(text)); }

void *mmap(void *address, size_t size, int protection, int flags, int descriptor, off_t offset) {
  if (IS_DUE(MMAP)) return MAP_FAILED;
  /* NOLINTNEXTLINE(performance-no-int-to-ptr): that is how addresses come */
  return (void *)syscall(SYS_mmap, address, size, protection, flags, descriptor, offset);
}

void *mmap64(void *address, size_t size, int protection, int flags, int descriptor, off_t offset)
    __attribute__((alias("mmap")));

void *mremap(void *address, size_t size, size_t new_size, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  void *place = flags & MREMAP_FIXED ? va_arg(rest, void *) : NULL;
  va_end(rest);
  if (IS_DUE(MMAP)) return MAP_FAILED;
  /* NOLINTNEXTLINE(performance-no-int-to-ptr) */
  return (void *)syscall(SYS_mremap, address, size, new_size, flags, place);
}

int mprotect(void *address, size_t size, int protection) {
  return IS_DUE(MPROTECT) ? -1 : (int)syscall(SYS_mprotect, address, size, protection);
}

/* ---- threads ---- */

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*work)(void *), void *given) {
  return IS_DUE(THREAD) ? plan.error : NEXT(pthread_create)(thread, attributes, work, given);
}

/* ---- files ---- */

static size_t half(size_t size) { return (size + 1) / 2; }

ssize_t write(int descriptor, const void *bytes, size_t size) {
  bool is_due = IS_DUE(WRITE);
  if (is_due && !plan.is_short) return -1;
  return syscall(SYS_write, descriptor, bytes, is_due ? half(size) : size);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
  bool is_due = IS_DUE(WRITE);
  if (is_due && !plan.is_short) return -1;
  return syscall(SYS_writev, descriptor, parts, is_due ? (int)half((size_t)count) : count);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t offset) {
  bool is_due = IS_DUE(WRITE);
  if (is_due && !plan.is_short) return -1;
  return syscall(SYS_pwrite64, descriptor, bytes, is_due ? half(size) : size, offset);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off_t offset) __attribute__((alias("pwrite")));

ssize_t read(int descriptor, void *bytes, size_t size) {
  bool is_due = IS_DUE(READ);
  if (is_due && !plan.is_short) return -1;
  return syscall(SYS_read, descriptor, bytes, is_due ? half(size) : size);
}

static int open_it(int folder, const char *path, int flags, va_list rest) {
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  return (int)syscall(SYS_openat, folder, path, flags, mode);
}

int open(const char *path, int flags, ...) {
  if (IS_DUE(OPEN)) return -1;
  va_list rest;
  va_start(rest, flags);
  int descriptor = open_it(AT_FDCWD, path, flags, rest);
  va_end(rest);
  return descriptor;
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

int openat(int folder, const char *path, int flags, ...) {
  if (IS_DUE(OPEN)) return -1;
  va_list rest;
  va_start(rest, flags);
  int descriptor = open_it(folder, path, flags, rest);
  va_end(rest);
  return descriptor;
}

/* As on Linux, a descriptor whose close fails is gone all the same. */
int close(int descriptor) {
  bool is_due = IS_DUE(CLOSE);
  int result = (int)syscall(SYS_close, descriptor);
  if (!is_due) return result;
  errno = plan.error;
  return -1;
}

/* ---- stdio: whole calls, with the stream's mark of an error ---- */

static bool fails(FILE *file, bool is_due) {
  if (!is_due || plan.is_short) return false;
  file->_flags |= _IO_ERR_SEEN;
  return true;
}

size_t fwrite(const void *items, size_t size, size_t count, FILE *file) {
  return fails(file, IS_DUE(WRITE)) ? 0 : NEXT(fwrite)(items, size, count, file);
}

int fflush(FILE *file) {
  if (!file) return NEXT(fflush)(file);
  return fails(file, IS_DUE(WRITE)) ? EOF : NEXT(fflush)(file);
}

size_t fread(void *items, size_t size, size_t count, FILE *file) {
  return fails(file, IS_DUE(READ)) ? 0 : SPARING(NEXT(fread)(items, size, count, file));
}

char *fgets(char *line, int size, FILE *file) {
  return fails(file, IS_DUE(READ)) ? NULL : SPARING(NEXT(fgets)(line, size, file));
}

FILE *fopen(const char *path, const char *mode) { return IS_DUE(OPEN) ? NULL : SPARING(NEXT(fopen)(path, mode)); }
FILE *fopen64(const char *path, const char *mode) { return IS_DUE(OPEN) ? NULL : SPARING(NEXT(fopen64)(path, mode)); }

int fclose(FILE *file) {
  bool is_due = IS_DUE(CLOSE);
  int result = NEXT(fclose)(file);
  if (!is_due) return result;
  errno = plan.error;
  return EOF;
}

/* ---- main's beginning and end ---- */

static uint64_t number_in(const char *variable, uint64_t without) {
  const char *text = getenv(variable);
  return text ? strtoull(text, NULL, 10) : without;
}

static void make_plan(void) {
  const char *kind = getenv("FAULT_KIND"), *error = getenv("FAULT_ERROR");
  for (int i = 1; kind && i < KINDS; i++)
    if (strcmp(kind, kind_names[i]) == 0) plan.kind = (enum kind)i;
  plan.first = number_in("FAULT_AT", 0);
  plan.times = number_in("FAULT_TIMES", 1);
  plan.error = (int)number_in("FAULT_ERROR", ENOMEM);
  plan.is_short = error && strcmp(error, "short") == 0;
}

/* Whether a list has the name of a library's file: "libndpi" for libndpi.so.4.2, "libluajit" for libluajit-5.1.so.2. */
static bool is_named(const char *list, const char *file) {
  for (const char *word = list + strspn(list, " "); *word; word += strspn(word, " ")) {
    size_t size = strcspn(word, " ");
    if (strncmp(word, file, size) == 0 && (file[size] == '.' || file[size] == '-')) return true;
    word += size;
  }
  return false;
}

static int spare_if_named(struct dl_phdr_info *info, size_t size, void *list) {
  (void)size;
  const char *slash = strrchr(info->dlpi_name, '/'), *file = slash ? slash + 1 : info->dlpi_name;
  if (!is_named("ld", file) && !is_named(list, file)) return 0;
  for (int i = 0; i < info->dlpi_phnum && plan.spared_count < SPARED_MAX; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
    plan.spared[plan.spared_count].begin = info->dlpi_addr + part->p_vaddr;
    plan.spared[plan.spared_count++].end = info->dlpi_addr + part->p_vaddr + part->p_memsz;
  }
  return 0;
}

static void write_count(void) {
  const char *path = getenv("FAULT_COUNT");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (!file) return;
  fprintf(file, "%llu\n", (unsigned long long)atomic_load(&calls));
  fclose(file);
}

static int (*program_main)(int, char **, char **);

static int run_main(int argc, char **argv, char **environment) {
  char none[] = "", *spared = getenv("FAULT_SPARED");
  make_plan();
  dl_iterate_phdr(spare_if_named, spared ? spared : none);
  atomic_store(&is_running, true);
  int status = program_main(argc, argv, environment);
  atomic_store(&is_running, false);
  write_count();
  return status;
}

/* NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): glibc's name */
int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*begin)(void), void (*end)(void),
                      void (*loader_end)(void), void *stack);

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*begin)(void), void (*end)(void),
                      void (*loader_end)(void), void *stack) {
  program_main = main;
  return NEXT(__libc_start_main)(run_main, argc, argv, begin, end, loader_end, stack);
}
