/*
 * columnar.c: columns that grow by a value a record, up to a number of rows for which there is room from the start;
 * only texts take room as they come. Nobody outside can choose texts that collide in a dictionary: its hash is keyed.
 */
#include "columnar.h"

#include <sodium.h>

enum {
  ROOM = 32 << 20,       /* bytes of all values, about: large rows come in smaller batches */
  FIRST_BYTES = 1 << 12, /* of a dictionary */
  FIRST_SLOTS = 1 << 6   /* the same: most columns have few texts, which stay in the caches */
};

/* ---- dictionaries ---- */

static bool dictionary_start(struct nf_dictionary *d, uint32_t capacity) {
  d->slots_mask = FIRST_SLOTS - 1;
  d->slots = calloc(FIRST_SLOTS, sizeof *d->slots);
  d->offsets = calloc((size_t)capacity + 1, sizeof *d->offsets);
  d->bytes = malloc(d->bytes_room = FIRST_BYTES);
  return d->slots && d->offsets && d->bytes;
}

static void dictionary_free(struct nf_dictionary *d) {
  free(d->slots);
  free(d->offsets);
  free(d->bytes);
}

static void dictionary_clear(struct nf_dictionary *d) {
  if (!d->count) return;
  memset(d->slots, 0, ((size_t)d->slots_mask + 1) * sizeof *d->slots);
  d->count = 0;
}

static bool dictionary_has(const struct nf_dictionary *d, uint32_t number, const char *text, uint32_t size) {
  const uint32_t start = d->offsets[number];
  return d->offsets[number + 1] - start == size && memcmp(d->bytes + start, text, size) == 0;
}

/* Room for so many more bytes; false where there is none. */
static bool dictionary_grow(struct nf_dictionary *d, uint32_t size) {
  size_t room = d->bytes_room, needed = (size_t)d->offsets[d->count] + size;
  if (needed <= room) return true;
  if (needed > INT32_MAX) return false;
  while (room < needed) room *= 2;
  char *larger = realloc(d->bytes, room);
  if (!larger) return false;
  d->bytes = larger;
  d->bytes_room = room;
  return true;
}

static uint32_t first_slot(const struct nf_dictionary *d, const uint8_t *seed, const char *text, uint32_t size) {
  uint64_t hash;
  (void)crypto_shorthash((uint8_t *)&hash, (const uint8_t *)text, size, seed);
  return (uint32_t)hash & d->slots_mask;
}

/* Twice the slots, for the texts that there are. */
static bool dictionary_spread(struct nf_dictionary *d, const uint8_t *seed) {
  const uint32_t slots = 2 * (d->slots_mask + 1);
  uint32_t *larger = calloc(slots, sizeof *larger);
  if (!larger) return false;
  free(d->slots);
  d->slots = larger;
  d->slots_mask = slots - 1;
  for (uint32_t i = 0; i < d->count; i++) {
    uint32_t slot = first_slot(d, seed, d->bytes + d->offsets[i], d->offsets[i + 1] - d->offsets[i]);
    while (larger[slot]) slot = (slot + 1) & d->slots_mask;
    larger[slot] = i + 1;
  }
  return true;
}

/* Sets *number to that of a text, which is new or not. */
static bool dictionary_put(struct nf_dictionary *d, const uint8_t *seed, const char *text, uint32_t size,
                           uint32_t *number) {
  if (2 * d->count > d->slots_mask && !dictionary_spread(d, seed)) return false;
  uint32_t slot = first_slot(d, seed, text, size);
  for (; d->slots[slot]; slot = (slot + 1) & d->slots_mask) {
    *number = d->slots[slot] - 1;
    if (dictionary_has(d, *number, text, size)) return true;
  }
  if (!dictionary_grow(d, size)) return false;
  memcpy(d->bytes + d->offsets[d->count], text, size);
  *number = d->count++;
  d->offsets[d->count] = d->offsets[*number] + size;
  d->slots[slot] = d->count;
  return true;
}

/* ---- columns ---- */

static void describe(struct nf_columnar_column *c, const struct nf_column *column) {
  const uint32_t number = nf_number_size(column->type);
  c->column = column;
  c->is_text = column->is_anonymized || !number;
  c->width = c->is_text ? sizeof(uint32_t) : number;
  c->elements = !c->is_text && column->is_array ? column->length : 1;
  c->may_be_none = !column->is_anonymized && (column->type == NF_TYPE_TEXT || (column->has_none && !column->is_array));
}

static bool make_room(struct nf_columnar_column *c, uint32_t capacity) {
  c->values = calloc(capacity, (size_t)c->elements * c->width);
  if (c->may_be_none) c->present = calloc((capacity + 7) / 8, 1);
  return c->values && (c->present || !c->may_be_none) && (!c->is_text || dictionary_start(&c->texts, capacity));
}

bool nf_columnar_start(struct nf_columnar *b, const struct nf_column *columns, uint32_t count, const uint8_t *key,
                       uint32_t rows, char *error) {
  size_t row_size = 0, text_bound = 1;
  *b = (struct nf_columnar){.columns = calloc(count, sizeof *b->columns), .count = count, .key = key};
  bool has_room = b->columns != NULL;
  for (uint32_t i = 0; has_room && i < count; i++) {
    struct nf_columnar_column *c = &b->columns[i];
    describe(c, &columns[i]);
    row_size += (size_t)c->elements * c->width;
    if (c->is_text && nf_cell_bound(&columns[i]) > text_bound) text_bound = nf_cell_bound(&columns[i]);
  }
  b->capacity = rows;
  if (row_size > ROOM / rows) b->capacity = row_size < ROOM ? (uint32_t)(ROOM / row_size) : 1;
  if (has_room) has_room = (b->scratch = malloc(text_bound)) != NULL;
  for (uint32_t i = 0; has_room && i < count; i++) has_room = make_room(&b->columns[i], b->capacity);
  nf_start_hashing();
  randombytes_buf(b->seed, sizeof b->seed);
  if (!has_room) nf_fail(error, "out of memory for an output's rows");
  return has_room;
}

void nf_columnar_free(struct nf_columnar *b) {
  for (uint32_t i = 0; b->columns && i < b->count; i++) {
    free(b->columns[i].values);
    free(b->columns[i].present);
    dictionary_free(&b->columns[i].texts);
  }
  free(b->columns);
  free(b->scratch);
}

/* ---- values ---- */

/* The integer that a column's value is. */
static int64_t integer_of(int type, const char *value) {
  uint64_t bits = 0;
  const uint32_t size = nf_number_size(type);
  memcpy(&bits, value, size);
  const bool is_signed = type >= NF_TYPE_INT8 && type <= NF_TYPE_INT64;
  const uint32_t shift = 64 - 8 * size;
  return is_signed ? (int64_t)(bits << shift) >> shift : (int64_t)bits;
}

static bool is_none(const struct nf_column *column, const char *value) {
  return column->type == NF_TYPE_TEXT ? *value == '\0' : integer_of(column->type, value) == column->none;
}

static bool put_text(struct nf_columnar *b, struct nf_columnar_column *c, const struct nf_flow *record) {
  char *end = c->column->is_anonymized ? nf_put_hash(b->scratch, c->column, record, b->key)
                                       : nf_put_plain(b->scratch, c->column, record);
  return dictionary_put(&c->texts, b->seed, b->scratch, (uint32_t)(end - b->scratch), (uint32_t *)c->values + b->rows);
}

/* The usual sizes without a call. */
static void copy_value(uint8_t *to, const char *value, size_t size) {
  switch (size) {
  case 1: memcpy(to, value, 1); break;
  case 2: memcpy(to, value, 2); break;
  case 4: memcpy(to, value, 4); break;
  case 8: memcpy(to, value, 8); break;
  default: memcpy(to, value, size); break;
  }
}

static bool put_value(struct nf_columnar *b, struct nf_columnar_column *c, const struct nf_flow *record) {
  const char *value = nf_cell_value(c->column, record);
  const size_t size = (size_t)c->elements * c->width;
  if (c->may_be_none) {
    const uint8_t bit = (uint8_t)(1u << b->rows % 8);
    if (is_none(c->column, value)) {
      c->present[b->rows / 8] &= (uint8_t)~bit;
      memset(c->values + b->rows * size, 0, size);
      return true;
    }
    c->present[b->rows / 8] |= bit;
  }
  if (c->is_text) return put_text(b, c, record);
  copy_value(c->values + b->rows * size, value, size);
  return true;
}

bool nf_columnar_add(struct nf_columnar *b, const struct nf_flow *record) {
  for (uint32_t i = 0; i < b->count; i++) {
    if (!put_value(b, &b->columns[i], record)) return false;
  }
  b->rows++;
  return true;
}

uint32_t nf_columnar_present(const struct nf_columnar *b, const struct nf_columnar_column *c) {
  if (!c->may_be_none) return b->rows;
  uint32_t present = 0;
  for (uint32_t i = 0; i < b->rows; i++) present += c->present[i / 8] >> i % 8 & 1;
  return present;
}

void nf_columnar_clear(struct nf_columnar *b) {
  for (uint32_t i = 0; i < b->count; i++) dictionary_clear(&b->columns[i].texts);
  b->rows = 0;
}
