/*
 * files.c: several capture files, one after another, as one capture. Owns the list of files, the filter, the counters
 * and the warnings. Reading files is capfile's. It must not know what a frame holds.
 */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capfile.h"
#include "filter.h"
#include "warnings.h"

enum { LINK_ETHERNET = 1 };

struct input {
  char *path;
  bool is_named; /* by the user, not found in a folder */
  uint64_t packets;
};

/* A filter is compiled anew for every link type: where the IP header is differs. NULL accepts nothing. */
struct program {
  uint32_t link_type;
  struct nf_filter *filter;
};

struct nf_files {
  struct input *inputs;
  uint32_t count, next;    /* next: the first not yet opened */
  bool has_pipe;           /* so how much there is to read is not known */
  struct nf_capfile *file; /* being read, or NULL */

  char *filter; /* NULL accepts everything */
  struct program *programs;
  uint32_t program_count;
  uint32_t program; /* the one used last */

  struct nf_files_counters counters;
  uint64_t finished_read; /* input bytes of the files done with */
  bool comments;
  bool is_damaged;
  int status; /* a final error */
  char error[NF_ERROR_SIZE];
  struct nf_warnings warnings;
};

static const char *name_of(const struct input *input) {
  return strcmp(input->path, "-") == 0 ? "standard input" : input->path;
}

static void warn(struct nf_files *files, const struct input *input, const char *what) {
  nf_warnings_add(&files->warnings, "%s: %s", name_of(input), what);
}

const char *nf_files_warning(struct nf_files *files) { return nf_warnings_next(&files->warnings); }

static bool add_input(struct nf_files *files, const char *path, bool is_named, const struct stat *status) {
  struct input *larger = realloc(files->inputs, (files->count + 1) * sizeof *larger);
  if (!larger) return false;
  files->inputs = larger;
  larger[files->count] = (struct input){.path = strdup(path), .is_named = is_named};
  if (!larger[files->count].path) return false;
  files->count++;
  if (S_ISREG(status->st_mode)) files->counters.input_size += (uint64_t)status->st_size;
  else files->has_pipe = true;
  return true;
}

static bool add_entry(struct nf_files *files, const char *folder, const char *name) {
  char *path;
  struct stat status;
  const char *separator = folder[strlen(folder) - 1] == '/' ? "" : "/";
  if (asprintf(&path, "%s%s%s", folder, separator, name) < 0) return false;
  bool is_regular = stat(path, &status) == 0 && S_ISREG(status.st_mode);
  bool is_done = !is_regular || add_input(files, path, false, &status);
  free(path);
  return is_done;
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static int by_bytes(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* A folder's files in the order of their names' bytes, the same in every locale. */
static bool add_folder(struct nf_files *files, const char *folder, char *error) {
  struct dirent **entries;
  int count = scandir(folder, &entries, is_visible, by_bytes);
  if (count < 0) {
    nf_fail(error, "\"%s\": %s, expected a folder of capture files", folder, strerror(errno));
    return false;
  }
  uint32_t before = files->count;
  bool is_done = true;
  for (int i = 0; i < count; i++) {
    is_done = is_done && add_entry(files, folder, entries[i]->d_name);
    free(entries[i]);
  }
  free(entries);
  if (!is_done) {
    nf_fail(error, "out of memory");
  } else if (files->count == before) {
    nf_fail(error, "\"%s\": a folder without files, expected capture files in it", folder);
  }
  return is_done && files->count > before;
}

static bool add_path(struct nf_files *files, const char *path, char *error) {
  struct stat status;
  bool is_stdin = strcmp(path, "-") == 0;
  int result = is_stdin ? fstat(STDIN_FILENO, &status) : stat(path, &status);
  if (result == 0 && S_ISDIR(status.st_mode) && !is_stdin) return add_folder(files, path, error);
  if (result != 0 || (!is_stdin && access(path, R_OK) != 0)) {
    nf_fail(error, "\"%s\": %s, expected a capture file, a folder of them or a network interface", path,
            strerror(errno));
    return false;
  }
  if (add_input(files, path, true, &status)) return true;
  nf_fail(error, "out of memory");
  return false;
}

/* Ends the current file, which gave `status` instead of frames. */
static void finish_file(struct nf_files *files, int status) {
  const struct input *input = &files->inputs[files->next - 1];
  if (status != NF_CAPFILE_END) warn(files, input, nf_capfile_problem(files->file));
  /* A folder may hold other files; whoever names one means it to be a capture. */
  if (status == NF_CAPFILE_DAMAGED || (status == NF_CAPFILE_FOREIGN && input->is_named)) files->is_damaged = true;
  files->finished_read += nf_capfile_input_read(files->file);
  nf_capfile_close(files->file);
  files->file = NULL;
}

/* Opens the next file that can be opened. NF_OK, NF_END or NF_ERR_NOMEM. */
static int open_next(struct nf_files *files) {
  while (files->next < files->count) {
    const struct input *input = &files->inputs[files->next];
    files->file = nf_capfile_open(input->path);
    if (!files->file && errno == ENOMEM) return NF_ERR_NOMEM;
    files->next++;
    if (files->file && files->comments) nf_capfile_want_comments(files->file);
    if (files->file) return NF_OK;
    char what[128];
    snprintf(what, sizeof what, "cannot be opened: %s", strerror(errno));
    warn(files, input, what);
    files->is_damaged = true;
  }
  return NF_END;
}

/* Compiles the filter for a link type. NF_ERR_SOURCE with a reason in `error`, else NF_OK. */
static int compile_filter(struct nf_files *files, uint32_t link_type, char *error) {
  struct program *larger = realloc(files->programs, (files->program_count + 1) * sizeof *larger);
  if (!larger) return NF_ERR_NOMEM;
  files->programs = larger;
  struct program *program = &larger[files->program_count];
  *program = (struct program){.link_type = link_type};
  char reason[NF_FILTER_REASON_SIZE];
  int status = nf_filter_compile(&program->filter, files->filter, link_type, reason);
  if (status == NF_ERR_SOURCE) nf_fail(error, "bpf_filter \"%s\": %s", files->filter, reason);
  if (status == NF_OK) files->program_count++;
  return status;
}

/* Makes the program for a link type the current one. Where the filter makes no sense for the link type, no frame of it
   can be meant: they are all refused, with a warning. */
static int choose_program(struct nf_files *files, uint32_t link_type) {
  for (uint32_t i = 0; i < files->program_count; i++) {
    if (files->programs[i].link_type == link_type) {
      files->program = i;
      return NF_OK;
    }
  }
  char reason[NF_ERROR_SIZE];
  int status = compile_filter(files, link_type, reason);
  if (status == NF_ERR_NOMEM) return status;
  if (status == NF_ERR_SOURCE) {
    warn(files, &files->inputs[files->next - 1], reason);
    files->program_count++;
  }
  files->program = files->program_count - 1;
  return NF_OK;
}

/* A mistake in the filter shows before the run: it has to compile for the first capture's link type or for Ethernet. */
static int check_filter(struct nf_files *files, char *error) {
  int status;
  uint32_t link_type = LINK_ETHERNET;
  while ((status = open_next(files)) == NF_OK) {
    int known = nf_capfile_link_type(files->file, &link_type);
    if (known == 1) break;
    if (known == 0) return NF_OK; /* a pipe with nothing in it yet */
    if (known == NF_CAPFILE_NOMEM) return NF_ERR_NOMEM;
    finish_file(files, known);
  }
  if (status == NF_ERR_NOMEM) return status;
  status = compile_filter(files, link_type, error);
  char ignored[NF_ERROR_SIZE];
  if (status == NF_ERR_SOURCE && link_type != LINK_ETHERNET) status = compile_filter(files, LINK_ETHERNET, ignored);
  return status;
}

struct nf_files *nf_files_open(const char *const *paths, uint32_t count, const char *filter, char *error) {
  struct nf_files *files = calloc(1, sizeof *files);
  if (!files) goto no_memory;
  nf_warnings_init(&files->warnings);
  if (count == 0) {
    nf_fail(error, "no source, expected at least one capture file");
    goto fail;
  }
  for (uint32_t i = 0; i < count; i++) {
    if (!add_path(files, paths[i], error)) goto fail;
  }
  if (files->has_pipe) files->counters.input_size = 0;
  if (filter && *filter) {
    files->filter = strdup(filter);
    if (!files->filter) goto no_memory;
    int status = check_filter(files, error);
    if (status == NF_ERR_NOMEM) goto no_memory;
    if (status != NF_OK) goto fail;
  }
  return files;

no_memory:
  nf_fail(error, "out of memory");
fail:
  nf_files_close(files);
  return NULL;
}

void nf_files_close(struct nf_files *files) {
  if (!files) return;
  nf_capfile_close(files->file);
  for (uint32_t i = 0; i < files->count; i++) free(files->inputs[i].path);
  free(files->inputs);
  for (uint32_t i = 0; i < files->program_count; i++) nf_filter_free(files->programs[i].filter);
  free(files->programs);
  free(files->filter);
  nf_warnings_clear(&files->warnings);
  free(files);
}

void nf_files_want_comments(struct nf_files *files) {
  files->comments = true;
  if (files->file) nf_capfile_want_comments(files->file); /* it was opened for its link type */
}

static void count_frame(struct nf_files *files, const struct nf_frame *frame) {
  files->counters.packets++;
  files->counters.bytes += frame->size;
}

/* Counts what was read and moves the frames that the filter accepts together. */
static int filter_frames(struct nf_files *files, struct nf_frame *frames, int count) {
  int accepted = 0;
  for (int i = 0; i < count; i++) {
    const struct nf_frame *frame = &frames[i];
    if (files->program >= files->program_count || files->programs[files->program].link_type != frame->link_type) {
      files->status = choose_program(files, frame->link_type);
      if (files->status != NF_OK) break; /* told when asked next, after the frames before it */
    }
    count_frame(files, frame);
    const struct nf_filter *filter = files->programs[files->program].filter;
    if (filter && nf_filter_accepts(filter, frame->data, frame->size, frame->captured)) {
      frames[accepted++] = *frame;
    } else {
      files->counters.filtered++;
      files->counters.filtered_bytes += frame->size;
    }
  }
  return accepted;
}

static int accept_frames(struct nf_files *files, struct nf_frame *frames, int count) {
  if (files->filter) return filter_frames(files, frames, count);
  for (int i = 0; i < count; i++) count_frame(files, &frames[i]);
  return count;
}

int nf_files_read(struct nf_files *files, struct nf_frame *frames, int max) {
  while (files->status == NF_OK) {
    if (!files->file) {
      files->status = open_next(files);
      if (files->status != NF_OK) break;
    }
    int count = nf_capfile_read(files->file, frames, max, files->counters.packets + 1);
    files->counters.input_read = files->finished_read + nf_capfile_input_read(files->file);
    if (count >= 0) {
      uint64_t before = files->counters.packets;
      count = accept_frames(files, frames, count);
      files->inputs[files->next - 1].packets += files->counters.packets - before;
      return count;
    }
    if (count == NF_CAPFILE_NOMEM) return files->status = NF_ERR_NOMEM;
    finish_file(files, count);
  }
  return files->status;
}

bool nf_files_may_wait(const struct nf_files *files) { return files->has_pipe; }

bool nf_files_reads(const struct nf_files *files, const char *path) {
  struct stat wanted, input;
  if (stat(path, &wanted) != 0 || !S_ISREG(wanted.st_mode)) return false;
  for (uint32_t i = 0; i < files->count; i++) {
    const char *name = files->inputs[i].path;
    int result = strcmp(name, "-") == 0 ? fstat(STDIN_FILENO, &input) : stat(name, &input);
    if (result == 0 && input.st_dev == wanted.st_dev && input.st_ino == wanted.st_ino) return true;
  }
  return false;
}

struct nf_input nf_files_input(const struct nf_files *files, uint32_t index) {
  if (index >= files->count) return (struct nf_input){0};
  return (struct nf_input){files->inputs[index].path, files->inputs[index].packets};
}

bool nf_files_is_damaged(const struct nf_files *files) { return files->is_damaged; }

const char *nf_files_error(const struct nf_files *files) {
  return files->status == NF_ERR_NOMEM ? "out of memory" : files->error;
}

const struct nf_files_counters *nf_files_counters(const struct nf_files *files) { return &files->counters; }
