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

void nf_warnings_add(struct nf_warnings *warnings, const char *format, ...) {
  struct nf_warning *warning = calloc(1, sizeof *warning);
  if (!warning) return;
  va_list arguments;
  va_start(arguments, format);
  if (vasprintf(&warning->text, format, arguments) < 0) warning->text = NULL;
  va_end(arguments);
  if (!warning->text) {
    free(warning);
    return;
  }
  /* File names may hold anything; a warning is one line of text. */
  for (char *c = warning->text; *c; c++) {
    if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
  }
  (void)pthread_mutex_lock(&warnings->lock);
  *warnings->last = warning;
  warnings->last = &warning->next;
  (void)pthread_mutex_unlock(&warnings->lock);
}

const char *nf_warnings_next(struct nf_warnings *warnings) {
  (void)pthread_mutex_lock(&warnings->lock);
  free_one(warnings->fetched);
  struct nf_warning *warning = warnings->fetched = warnings->first;
  if (warning) warnings->first = warning->next;
  if (!warnings->first) warnings->last = &warnings->first;
  (void)pthread_mutex_unlock(&warnings->lock);
  return warning ? warning->text : NULL;
}
