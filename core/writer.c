/*
 * writer.c: an output file. Owns the descriptor, the buffer and what went wrong; knows no column and no syntax. Rows
 * are put together in a buffer that always has room for the largest one, and go to the system many at a time. After
 * the first failed write nothing more is written, and a row of which only a part got out is taken back.
 */
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  CHUNK = 1 << 16,     /* bytes that are written together */
  ROW_LIMIT = 1 << 30, /* no row may need more */
  NAME_SIZE = 400      /* of the output in error texts, which leaves room for the reason */
};

struct nf_writer {
  const struct nf_syntax *syntax;
  struct nf_row row;
  char *leads;
  char *buffer;
  size_t used, header; /* bytes in it; and of those the header line's, with which it begins */
  uint64_t buffered;   /* rows in it */
  uint64_t rows;       /* that the system has got whole */
  int descriptor;
  char *path;  /* of a file that the writer opened itself; NULL for a descriptor that is another's */
  int failure; /* errno of the write that failed, 0 while all is well */
  char name[NAME_SIZE];
};

static bool check_column(const struct nf_column *column, const uint8_t *key, char *error) {
  if (column->type < NF_TYPE_BOOL || column->type > NF_TYPE_END_REASON) {
    nf_fail(error, "column \"%.100s\": unknown type %d, expected one of enum nf_type", column->name, column->type);
  } else if (column->is_array && !nf_number_size(column->type)) {
    nf_fail(error, "column \"%.100s\": an array of type %d, expected numbers", column->name, column->type);
  } else if (column->is_anonymized && !key) {
    nf_fail(error, "column \"%.100s\": anonymised without a key, expected one of %d bytes", column->name, NF_KEY_SIZE);
  } else {
    return true;
  }
  return false;
}

/* Room for what stands before a value, in whole blocks. */
static size_t lead_bound(const struct nf_column *column) {
  return (strlen(column->name) * 6 + 8) / NF_LEAD_BLOCK * NF_LEAD_BLOCK + NF_LEAD_BLOCK;
}

/* Prepares the columns; sets *row_bound to the most bytes that a row or the header may take. */
static bool prepare(struct nf_writer *w, const struct nf_column *columns, const uint8_t *key, size_t *row_bound,
                    char *error) {
  size_t leads_size = 0;
  *row_bound = (size_t)2 * NF_LEAD_BLOCK;
  for (uint32_t i = 0; i < w->row.count; i++) {
    if (!check_column(&columns[i], key, error)) return false;
    leads_size += lead_bound(&columns[i]);
    *row_bound += lead_bound(&columns[i]) + nf_cell_bound(&columns[i]);
    if (*row_bound > ROW_LIMIT) {
      nf_fail(error, "column \"%.100s\": rows would need more than %d bytes", columns[i].name, ROW_LIMIT);
      return false;
    }
  }
  w->row.cells = calloc(w->row.count, sizeof *w->row.cells);
  w->leads = calloc(1, leads_size);
  if (!w->row.cells || !w->leads) {
    nf_fail(error, "out of memory");
    return false;
  }
  char *lead = w->leads;
  for (uint32_t i = 0; i < w->row.count; i++) {
    uint32_t size = (uint32_t)(w->syntax->put_lead(lead, columns[i].name, i) - lead);
    w->row.cells[i] = (struct nf_cell){.column = columns[i], .lead = lead, .lead_size = size};
    lead += lead_bound(&columns[i]);
  }
  return true;
}

static void free_writer(struct nf_writer *w) {
  if (w->path && w->descriptor >= 0) close(w->descriptor);
  explicit_bzero(w->row.key, sizeof w->row.key);
  free(w->row.cells);
  free(w->leads);
  free(w->buffer);
  free(w->path);
  free(w);
}

static void begin_with_header(struct nf_writer *w) {
  w->header = w->used = (size_t)(w->syntax->put_header(w->buffer, &w->row) - w->buffer);
}

static struct nf_writer *new_writer(int format, const struct nf_column *columns, uint32_t count, const uint8_t *key,
                                    char *error) {
  if (format != NF_FORMAT_CSV && format != NF_FORMAT_JSONL) {
    nf_fail(error, "unknown output format %d, expected one of enum nf_format", format);
    return NULL;
  }
  if (count == 0) {
    nf_fail(error, "an output without columns, expected at least one");
    return NULL;
  }
  struct nf_writer *w = calloc(1, sizeof *w);
  if (!w) goto out_of_memory;
  size_t row_bound;
  w->descriptor = -1;
  w->syntax = format == NF_FORMAT_CSV ? &nf_csv : &nf_jsonl;
  w->row.count = count;
  if (!prepare(w, columns, key, &row_bound, error)) goto failed;
  w->buffer = malloc(CHUNK + row_bound);
  if (!w->buffer) goto out_of_memory;
  begin_with_header(w);
  if (key) {
    nf_start_hashing();
    memcpy(w->row.key, key, NF_KEY_SIZE);
  }
  return w;

out_of_memory:
  nf_fail(error, "out of memory for an output's buffer");
failed:
  if (w) free_writer(w);
  return NULL;
}

static void tell(const struct nf_writer *w, int failure, char *error) {
  nf_fail(error, "cannot write %s: %s", w->name, strerror(failure));
}

static void use_descriptor(struct nf_writer *w, int descriptor) {
  w->descriptor = descriptor;
  if (descriptor == STDOUT_FILENO) snprintf(w->name, sizeof w->name, "standard output");
  else snprintf(w->name, sizeof w->name, "descriptor %d", descriptor);
}

struct nf_writer *nf_writer_attach(int descriptor, int format, const struct nf_column *columns, uint32_t count,
                                   const uint8_t *key, char *error) {
  struct nf_writer *w = new_writer(format, columns, count, key, error);
  if (w) use_descriptor(w, descriptor);
  return w;
}

/* A writer of the file at a path, which it has not opened. */
static struct nf_writer *new_file_writer(const char *path, int format, const struct nf_column *columns, uint32_t count,
                                         const uint8_t *key, char *error) {
  struct nf_writer *w = new_writer(format, columns, count, key, error);
  if (!w) return NULL;
  snprintf(w->name, sizeof w->name, "\"%.*s\"", NAME_SIZE - 3, path);
  w->path = strdup(path);
  if (w->path) return w;
  tell(w, errno, error);
  free_writer(w);
  return NULL;
}

struct nf_writer *nf_writer_open(const char *path, int format, const struct nf_column *columns, uint32_t count,
                                 const uint8_t *key, char *error) {
  if (strcmp(path, "-") == 0) return nf_writer_attach(STDOUT_FILENO, format, columns, count, key, error);
  struct nf_writer *w = new_file_writer(path, format, columns, count, key, error);
  if (!w) return NULL;
  w->descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (w->descriptor >= 0) return w;
  tell(w, errno, error);
  free_writer(w);
  return NULL;
}

int nf_writer_reserve(const char *path, char *error) {
  int descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) nf_fail(error, "cannot write \"%.*s\": %s", NAME_SIZE - 3, path, strerror(errno));
  return descriptor;
}

struct nf_writer *nf_writer_adopt(int descriptor, const char *path, int format, const struct nf_column *columns,
                                  uint32_t count, const uint8_t *key, char *error) {
  struct nf_writer *w = new_file_writer(path, format, columns, count, key, error);
  if (!w) return NULL;
  w->descriptor = descriptor;
  /* Pipes and devices have nothing that could be cut off. */
  if (ftruncate(descriptor, 0) == 0 || errno == EINVAL) return w;
  tell(w, errno, error);
  free_writer(w);
  return NULL;
}

/* Whether a write that failed can go on: at once, or, where the descriptor does not block, once there is room. */
static bool may_retry(const struct nf_writer *w) {
  if (errno == EAGAIN) {
    struct pollfd wait = {.fd = w->descriptor, .events = POLLOUT};
    return poll(&wait, 1, -1) > 0 || errno == EINTR;
  }
  return errno == EINTR;
}

/*
 * Half a row at the end of a file would be taken for a whole one with other values. Where the output is a file and our
 * bytes are its last, they are cut off again.
 */
static void take_back(const struct nf_writer *w, off_t partial) {
  off_t end = lseek(w->descriptor, 0, SEEK_CUR);
  struct stat file;
  if (partial == 0 || end < partial || fstat(w->descriptor, &file) < 0) return;
  if (!S_ISREG(file.st_mode) || file.st_size != end) return;
  if (ftruncate(w->descriptor, end - partial) == 0) (void)lseek(w->descriptor, end - partial, SEEK_SET);
}

/* Of the buffer, so many bytes got out: the whole rows among them stay. */
static void keep_whole_rows(struct nf_writer *w, size_t written) {
  size_t whole = 0;
  if (written >= w->header) {
    whole = w->header + w->syntax->measure_rows(w->buffer + w->header, written - w->header, &w->rows);
  }
  take_back(w, (off_t)(written - whole));
}

int nf_writer_flush(struct nf_writer *w) {
  size_t written = 0;
  while (!w->failure && written < w->used) {
    ssize_t n = write(w->descriptor, w->buffer + written, w->used - written);
    if (n >= 0) written += (size_t)n;
    else if (!may_retry(w)) w->failure = errno;
  }
  if (!w->failure) w->rows += w->buffered;
  else keep_whole_rows(w, written);
  w->used = w->header = 0;
  w->buffered = 0;
  return w->failure ? NF_ERR_OUTPUT : NF_OK;
}

int nf_writer_write(struct nf_writer *w, const struct nf_flow *record) {
  if (NF_UNLIKELY(w->failure)) return NF_ERR_OUTPUT;
  w->used = (size_t)(w->syntax->put_row(w->buffer + w->used, &w->row, record) - w->buffer);
  w->buffered++;
  return w->used < CHUNK ? NF_OK : nf_writer_flush(w);
}

/* Whether the path still names the file that is open. */
static bool is_in_place(const struct nf_writer *w) {
  struct stat here, there;
  return fstat(w->descriptor, &here) == 0 && stat(w->path, &there) == 0 && here.st_dev == there.st_dev &&
         here.st_ino == there.st_ino;
}

/*
 * Opens what the path names now and puts it in the old file's place. That may be another program's file as well: what
 * is in it stays, and rows go to its end, wherever that is by then.
 */
static int replace_file(struct nf_writer *w, char *error) {
  struct stat file;
  int descriptor = open(w->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor < 0 || fstat(descriptor, &file) < 0) {
    tell(w, errno, error);
    if (descriptor >= 0) close(descriptor);
    return NF_ERR_OUTPUT;
  }
  int closed = close(w->descriptor) < 0 && errno != EINTR ? errno : 0;
  w->descriptor = descriptor;
  if (file.st_size == 0) begin_with_header(w);
  if (!closed) return NF_OK;
  tell(w, closed, error);
  return NF_ERR_OUTPUT;
}

int nf_writer_reopen(struct nf_writer *w, char *error) {
  if (nf_writer_flush(w) != NF_OK) {
    tell(w, w->failure, error);
    return NF_ERR_OUTPUT;
  }
  return !w->path || is_in_place(w) ? NF_OK : replace_file(w, error);
}

int nf_writer_close(struct nf_writer *w, char *error) {
  if (!w) return NF_OK;
  nf_writer_flush(w);
  /* Some file systems tell only now that there was no room. Interrupted or not, the descriptor is gone. */
  if (w->path && close(w->descriptor) < 0 && !w->failure && errno != EINTR) w->failure = errno;
  w->descriptor = -1;
  int status = w->failure ? NF_ERR_OUTPUT : NF_OK;
  if (w->failure) tell(w, w->failure, error);
  free_writer(w);
  return status;
}

bool nf_writer_is_broken_pipe(const struct nf_writer *w) { return w->failure == EPIPE; }
uint64_t nf_writer_rows(const struct nf_writer *w) { return w->rows; }
