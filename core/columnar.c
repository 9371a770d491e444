/*
 * columnar.c: columns that grow up to a number of rows for which there is room from the start; only texts take room as
 * they come. Records are copied first, and some at a time taken apart by column: a value of each of a hundred columns
 * would be a hundred places in memory a record, more than processors keep at hand. Nobody outside can choose texts that
 * collide in a dictionary: its hash is keyed.
 */
#include "columnar.h"
#include "key.h"

#include <sodium.h>
#include <stdalign.h>

enum {
  ADDRESS_SIZE = 16,
  STAGED = 32,           /* records */
  ROOM = 32 << 20,       /* bytes of all values, about: large rows come in smaller batches */
  TEXTS = 64 << 20,      /* bytes of texts, about, that fill a batch */
  FIRST_BYTES = 1 << 12, /* of a dictionary */
  FIRST_SLOTS = 1 << 6   /* the same: most columns have few texts, which stay in the caches */
};

/* ---- texts ---- */

static bool texts_start(struct nf_texts *d, uint32_t capacity) {
  d->slots_mask = FIRST_SLOTS - 1;
  d->slots = calloc(FIRST_SLOTS, sizeof *d->slots);
  d->offsets = calloc((size_t)capacity + 1, sizeof *d->offsets);
  d->bytes = malloc(d->bytes_room = FIRST_BYTES);
  return d->slots && d->offsets && d->bytes;
}

static void texts_free(struct nf_texts *d) {
  free(d->slots);
  free(d->offsets);
  free(d->bytes);
}

static void texts_clear(struct nf_texts *d) {
  if (!d->count) return;
  memset(d->slots, 0, ((size_t)d->slots_mask + 1) * sizeof *d->slots);
  d->count = 0;
}

static bool dictionary_has(const struct nf_texts *d, uint32_t number, const char *text, uint32_t size) {
  return nf_text_size(d, number) == size && memcmp(d->bytes + d->offsets[number], text, size) == 0;
}

/* Room for so many more bytes; false where there is none. */
static bool texts_grow(struct nf_texts *d, uint32_t size) {
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

static uint32_t hash_of(const uint8_t *seed, const char *text, uint32_t size) {
  uint64_t hash;
  (void)crypto_shorthash((uint8_t *)&hash, (const uint8_t *)text, size, seed);
  return (uint32_t)hash;
}

/* Twice the slots, for the texts that there are. */
static bool dictionary_spread(struct nf_texts *d, const uint8_t *seed) {
  const uint32_t slots = 2 * (d->slots_mask + 1);
  uint32_t *larger = calloc(slots, sizeof *larger);
  if (!larger) return false;
  free(d->slots);
  d->slots = larger;
  d->slots_mask = slots - 1;
  for (uint32_t i = 0; i < d->count; i++) {
    uint32_t slot = hash_of(seed, d->bytes + d->offsets[i], nf_text_size(d, i)) & d->slots_mask;
    while (larger[slot]) slot = (slot + 1) & d->slots_mask;
    larger[slot] = i + 1;
  }
  return true;
}

/* Sets *number to that of a text with this hash, which is new or not. */
static bool dictionary_put(struct nf_texts *d, const uint8_t *seed, uint32_t hash, const char *text, uint32_t size,
                           uint32_t *number) {
  if (2 * d->count > d->slots_mask && !dictionary_spread(d, seed)) return false;
  uint32_t slot = hash & d->slots_mask;
  for (; d->slots[slot]; slot = (slot + 1) & d->slots_mask) {
    *number = d->slots[slot] - 1;
    if (dictionary_has(d, *number, text, size)) return true;
  }
  if (!texts_grow(d, size)) return false;
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
  c->is_address = column->type == NF_TYPE_IP && column->is_binary;
  c->is_text = !number && !c->is_address;
  c->width = c->is_text ? sizeof(uint32_t) : c->is_address ? ADDRESS_SIZE : number;
  c->elements = !c->is_text && column->is_array ? column->length : 1;
  c->may_be_none = nf_cell_may_be_none(column);
}

static bool make_room(struct nf_columnar_column *c, uint32_t capacity) {
  c->values = calloc(capacity, (size_t)c->elements * c->width);
  if (c->may_be_none) c->present = calloc((capacity + 7) / 8, 1);
  return c->values && (c->present || !c->may_be_none) && (!c->is_text || texts_start(&c->texts, capacity));
}

bool nf_columnar_start(struct nf_columnar *b, struct nf_writer *writer, uint32_t rows, bool has_dictionaries,
                       void (*emit)(struct nf_writer *writer), char *error) {
  const struct nf_column *columns = writer->columns;
  const uint32_t count = writer->count;
  size_t row_size = 0, text_bound = 1;
  *b = (struct nf_columnar){.writer = writer,
                            .emit = emit,
                            .columns = calloc(count, sizeof *b->columns),
                            .count = count,
                            .has_dictionaries = has_dictionaries,
                            .record_size = sizeof(struct nf_flow)}; /* an address's version stands there */
  bool has_room = b->columns != NULL;
  for (uint32_t i = 0; has_room && i < count; i++) {
    struct nf_columnar_column *c = &b->columns[i];
    describe(c, &columns[i]);
    row_size += (size_t)c->elements * c->width;
    if (c->is_text && nf_cell_bound(&columns[i]) > text_bound) text_bound = nf_cell_bound(&columns[i]);
    const size_t end = columns[i].offset + nf_cell_size(&columns[i]);
    if (end > b->record_size) b->record_size = end;
  }
  b->capacity = rows;
  if (row_size > ROOM / rows) b->capacity = row_size < ROOM ? (uint32_t)(ROOM / row_size) : 1;
  b->stride = (b->record_size + alignof(struct nf_flow) - 1) & ~(alignof(struct nf_flow) - 1);
  if (has_room) has_room = (b->staged = malloc(STAGED * b->stride)) && (b->texts = malloc(STAGED * text_bound));
  for (uint32_t i = 0; has_room && i < count; i++) has_room = make_room(&b->columns[i], b->capacity);
  nf_start_sodium();
  randombytes_buf(b->seed, sizeof b->seed);
  if (!has_room) nf_fail(error, "out of memory for an output's rows");
  return has_room;
}

void nf_columnar_free(struct nf_columnar *b) {
  for (uint32_t i = 0; b->columns && i < b->count; i++) {
    free(b->columns[i].values);
    free(b->columns[i].present);
    texts_free(&b->columns[i].texts);
  }
  free(b->columns);
  free(b->staged);
  free(b->texts);
}

/* ---- values ---- */

static const struct nf_flow *staged_record(const struct nf_columnar *b, uint32_t i) {
  return (const struct nf_flow *)(const void *)(b->staged + i * b->stride);
}

static bool is_staged_present(const struct nf_columnar *b, const struct nf_columnar_column *c, uint32_t i) {
  return !c->may_be_none || !nf_cell_is_none(c->column, nf_cell_value(c->column, staged_record(b, i)));
}

/* Puts the texts of the staged records' values one behind the other, and where each begins; absent ones are empty. */
static void print_texts(struct nf_columnar *b, const struct nf_columnar_column *c, uint32_t *starts) {
  starts[0] = 0;
  for (uint32_t i = 0; i < b->staged_count; i++) {
    char *text = b->texts + starts[i], *end = text;
    if (is_staged_present(b, c, i)) end = nf_put_plain(text, c->column, staged_record(b, i));
    starts[i + 1] = (uint32_t)(end - b->texts);
  }
  b->text_size += starts[b->staged_count];
}

/* Makes numbers of a dictionary of them, in two rounds, so that waiting for one slot is waiting for all. */
static bool number_texts(struct nf_columnar *b, struct nf_columnar_column *c, const uint32_t *starts) {
  uint32_t hashes[STAGED], *numbers = (uint32_t *)c->values + b->rows;
  for (uint32_t i = 0; i < b->staged_count; i++) {
    hashes[i] = hash_of(b->seed, b->texts + starts[i], starts[i + 1] - starts[i]);
    __builtin_prefetch(&c->texts.slots[hashes[i] & c->texts.slots_mask]);
  }
  for (uint32_t i = 0; i < b->staged_count; i++) {
    const uint32_t size = starts[i + 1] - starts[i];
    numbers[i] = 0;
    if (c->may_be_none && !size) continue;
    if (!dictionary_put(&c->texts, b->seed, hashes[i], b->texts + starts[i], size, &numbers[i])) return false;
  }
  return true;
}

/* Keeps them as they are, behind those of the rows that there are. */
static bool keep_texts(struct nf_columnar *b, struct nf_columnar_column *c, const uint32_t *starts) {
  struct nf_texts *texts = &c->texts;
  const uint32_t size = starts[b->staged_count];
  texts->count = b->rows; /* there may be more of a time for which there was no memory */
  if (!texts_grow(texts, size)) return false;
  const uint32_t begin = texts->offsets[b->rows];
  memcpy(texts->bytes + begin, b->texts, size);
  for (uint32_t i = 1; i <= b->staged_count; i++) texts->offsets[b->rows + i] = begin + starts[i];
  texts->count += b->staged_count;
  return true;
}

static bool put_texts(struct nf_columnar *b, struct nf_columnar_column *c) {
  uint32_t starts[STAGED + 1];
  print_texts(b, c, starts);
  return b->has_dictionaries ? number_texts(b, c, starts) : keep_texts(b, c, starts);
}

/* The values of one column, which lie `stride` apart. */
static void gather(uint8_t *to, const char *from, size_t stride, uint32_t count, size_t size) {
  const uint8_t *const end = to + count * size;
  switch (size) { /* the usual sizes without a call */
  case 1:
    for (; to < end; to += 1, from += stride) memcpy(to, from, 1);
    break;
  case 2:
    for (; to < end; to += 2, from += stride) memcpy(to, from, 2);
    break;
  case 4:
    for (; to < end; to += 4, from += stride) memcpy(to, from, 4);
    break;
  case 8:
    for (; to < end; to += 8, from += stride) memcpy(to, from, 8);
    break;
  default:
    for (; to < end; to += size, from += stride) memcpy(to, from, size);
  }
}

/* Addresses as IPv6 has them, those of IPv4 as mapped ones. */
static void put_addresses(struct nf_columnar *b, struct nf_columnar_column *c) {
  static const uint8_t MAPPED[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  uint8_t *to = c->values + (size_t)b->rows * ADDRESS_SIZE;
  for (uint32_t i = 0; i < b->staged_count; i++, to += ADDRESS_SIZE) {
    const struct nf_flow *record = staged_record(b, i);
    const char *address = nf_cell_value(c->column, record);
    const size_t ahead = record->ip_version == 6 ? 0 : sizeof MAPPED;
    memcpy(to, MAPPED, ahead);
    memcpy(to + ahead, address, ADDRESS_SIZE - ahead);
  }
}

static void put_presence(struct nf_columnar *b, struct nf_columnar_column *c) {
  for (uint32_t i = 0, row = b->rows; i < b->staged_count; i++, row++) {
    const uint8_t bit = (uint8_t)(1u << row % 8);
    if (is_staged_present(b, c, i)) {
      c->present[row / 8] |= bit;
    } else {
      c->present[row / 8] &= (uint8_t)~bit;
      memset(c->values + (size_t)row * c->width, 0, c->width);
    }
  }
}

/* Makes rows of the staged records. False when there is no memory for their texts: then they stay staged. */
static bool make_rows(struct nf_columnar *b) {
  if (b->staged_count == 0) return true;
  for (uint32_t i = 0; i < b->count; i++) {
    struct nf_columnar_column *c = &b->columns[i];
    const size_t size = (size_t)c->elements * c->width;
    if (c->is_text) {
      if (!put_texts(b, c)) return false;
    } else if (c->is_address) {
      put_addresses(b, c);
    } else {
      gather(c->values + b->rows * size, nf_cell_value(c->column, staged_record(b, 0)), b->stride, b->staged_count,
             size);
    }
    if (c->may_be_none) put_presence(b, c);
  }
  b->rows += b->staged_count;
  b->staged_count = 0;
  return true;
}

static void settle(struct nf_columnar *b) {
  if (make_rows(b)) return;
  b->emit(b->writer); /* its texts take room */
  if (!make_rows(b)) nf_output_fail(b->writer->output);
}

static bool is_full(const struct nf_columnar *b) {
  return b->rows + b->staged_count == b->capacity || b->text_size >= TEXTS;
}

bool nf_columnar_write(struct nf_columnar *b, const struct nf_flow *record) {
  const struct nf_output *output = b->writer->output;
  if (NF_UNLIKELY(nf_output_failure(output))) return false;
  memcpy(b->staged + b->staged_count++ * b->stride, record, b->record_size);
  if (b->staged_count == STAGED || is_full(b)) settle(b);
  if (is_full(b)) b->emit(b->writer);
  return !nf_output_failure(output);
}

void nf_columnar_flush(struct nf_columnar *b) {
  if (!nf_output_failure(b->writer->output)) settle(b);
  if (!nf_output_failure(b->writer->output)) b->emit(b->writer);
}

uint32_t nf_columnar_present(const struct nf_columnar *b, const struct nf_columnar_column *c) {
  if (!c->may_be_none) return b->rows;
  uint32_t present = 0;
  for (uint32_t i = 0; i < b->rows; i++) present += c->present[i / 8] >> i % 8 & 1;
  return present;
}

void nf_columnar_clear(struct nf_columnar *b) {
  for (uint32_t i = 0; i < b->count; i++) texts_clear(&b->columns[i].texts);
  b->rows = 0;
  b->text_size = 0;
}
