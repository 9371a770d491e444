/* warnings.c: a list of texts under a lock. */
#include "warnings.h"

#include <stdarg.h>

struct nf_warning {
  struct nf_warning *next;
  char *text;
};

void nf_warnings_init(struct nf_warnings *warnings) {
  *warnings = (struct nf_warnings){.last = &warnings->first};
  (void)pthread_mutex_init(&warnings->lock, NULL);
}

static void free_one(struct nf_warning *warning) {
  if (!warning) return;
  free(warning->text);
  free(warning);
}

void nf_warnings_clear(struct nf_warnings *warnings) {
  while (warnings->fetched || warnings->first) (void)nf_warnings_next(warnings);
  (void)pthread_mutex_destroy(&warnings->lock);
}

static struct nf_warning *new_warning(const char *format, va_list arguments) {
  struct nf_warning *warning = calloc(1, sizeof *warning);
  if (warning && vasprintf(&warning->text, format, arguments) >= 0) return warning;
  free(warning);
  return NULL;
}

void nf_warnings_add(struct nf_warnings *warnings, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  struct nf_warning *warning = new_warning(format, arguments);
  va_end(arguments);
  /* File names may hold anything; a warning is one line of text. */
  for (char *c = warning ? warning->text : NULL; c && *c; c++) {
    if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
  }
  (void)pthread_mutex_lock(&warnings->lock);
  if (warning) {
    *warnings->last = warning;
    warnings->last = &warning->next;
  } else {
    warnings->has_lost = true;
  }
  (void)pthread_mutex_unlock(&warnings->lock);
}

const char *nf_warnings_next(struct nf_warnings *warnings) {
  (void)pthread_mutex_lock(&warnings->lock);
  free_one(warnings->fetched);
  struct nf_warning *warning = warnings->fetched = warnings->first;
  if (warning) warnings->first = warning->next;
  if (!warnings->first) warnings->last = &warnings->first;
  bool has_lost = !warning && warnings->has_lost;
  if (has_lost) warnings->has_lost = false;
  (void)pthread_mutex_unlock(&warnings->lock);
  return warning ? warning->text : has_lost ? "out of memory: what was to be warned of is lost" : NULL;
}
