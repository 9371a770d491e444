/*
 * write_ipfix.c: records as IPFIX messages (RFC 7011), to a collector or one behind the other in a file (RFC 5655).
 * Which element a column is, its destination says; flows go out as one record each, both directions in it (RFC 5103).
 * Arrays are lists (RFC 6313).
 *
 * Records have one of four templates: over IPv4 or IPv6, with packets one way or both. What a reader has to know before
 * the first record, templates and what elements of our own are (RFC 5610), is encoded once, in messages of its own; it
 * is told to each new reader, and by UDP again and again.
 */
#include "writer.h"

#include "clock.h"

enum {
  VERSION = 10,
  HEADER_SIZE = 16,
  SET_HEADER_SIZE = 4,
  LARGEST = 65507, /* message: what a UDP datagram over IPv4 has room for */
  VARIABLE = 65535,
  TEMPLATE_SET = 2,
  OPTIONS_SET = 3,
  FIRST_TEMPLATE = 256, /* + OVER_IPV6 + ONE_WAY */
  OVER_IPV6 = 1,
  ONE_WAY = 2,
  TEMPLATES = 4,
  DESCRIPTION_TEMPLATE = FIRST_TEMPLATE + TEMPLATES,
  OF_ENTERPRISE = 0x8000, /* among the bits of an element's number */
  REVERSE = 29305,        /* the enterprise of what goes back (RFC 5103) */
  NAME_MAX_SIZE = 254,    /* bytes of a described name: its size takes one */
  SHORT_MAX = 254         /* bytes of a text whose size takes one byte */
};

/* IANA's elements that are not of some column, and abstract data types. */
enum {
  BASIC_LIST = 291,
  INFORMATION_ELEMENT_ID = 303,
  INFORMATION_ELEMENT_DATA_TYPE = 339,
  INFORMATION_ELEMENT_NAME = 341,
  INFORMATION_ELEMENT_SEMANTICS = 344,
  INFORMATION_ELEMENT_UNITS = 345,
  PRIVATE_ENTERPRISE_NUMBER = 346
};
enum data_type {
  UNSIGNED_8 = 1,
  SIGNED_8 = 5,
  FLOAT_32 = 9,
  FLOAT_64 = 10,
  BOOLEAN = 11,
  MAC_ADDRESS = 12,
  STRING = 13,
  DATE_TIME_MILLISECONDS = 15, /* and micro, and nano */
  IPV4_ADDRESS = 18
};

/* ---- encoding ---- */

/* What becomes of a value. */
enum encoding {
  COPY, /* `size` bytes */
  SWAP_2,
  SWAP_4,
  SWAP_8,
  TRUTH,
  NTP_MICROSECONDS,
  NTP_NANOSECONDS,
  ADDRESS,
  TEXT,
  WORD, /* a name, as text */
  LIST,
  END_REASON,
  TCP_FLAGS,
  BIFLOW_DIRECTION
};

struct field {
  const struct nf_column *column;
  const struct nf_element *element;
  enum encoding encoding;
  uint16_t size; /* in a record; VARIABLE where each says, for addresses that of IPv4 */
};

static uint8_t *put_u8(uint8_t *out, uint8_t value) {
  *out = value;
  return out + 1;
}

static uint8_t *put_u16(uint8_t *out, uint16_t value) {
  value = __builtin_bswap16(value);
  memcpy(out, &value, sizeof value);
  return out + sizeof value;
}

static uint8_t *put_u32(uint8_t *out, uint32_t value) {
  value = __builtin_bswap32(value);
  memcpy(out, &value, sizeof value);
  return out + sizeof value;
}

/* Swaps what is in the record, of such a size. */
static uint8_t *put_swapped(uint8_t *out, const char *value, uint32_t size) {
  uint64_t bits = 0;
  memcpy(&bits, value, size);
  bits = __builtin_bswap64(bits << (64 - 8 * size));
  memcpy(out, &bits, size);
  return out + size;
}

/*
 * A moment as NTP has it (RFC 7011, 6.1.9 and 6.1.10): seconds since 1900, and 2^-32ths. These are rounded up, so that
 * whoever cuts them off again gets the ticks there were. Microseconds leave the lowest 11 bits 0.
 */
static uint8_t *put_ntp(uint8_t *out, const char *value, uint64_t ticks_per_second) {
  enum { UNUSED_BITS = 11 };
  const uint64_t since_1900 = 2208988800; /* seconds until 1970 */
  uint64_t ticks;
  memcpy(&ticks, value, sizeof ticks);
  const uint64_t rest = ticks % ticks_per_second;
  uint64_t fraction = ((rest << 32) + ticks_per_second - 1) / ticks_per_second;
  if (ticks_per_second == 1000000) fraction = (fraction + (1 << UNUSED_BITS) - 1) >> UNUSED_BITS << UNUSED_BITS;
  out = put_u32(out, (uint32_t)(ticks / ticks_per_second + since_1900));
  return put_u32(out, (uint32_t)fraction);
}

/* A text that stands one byte behind `out`, where its size goes; a long one has to move. */
static uint8_t *put_size(uint8_t *out, size_t size) {
  if (size <= SHORT_MAX) {
    *out = (uint8_t)size;
    return out + 1 + size;
  }
  memmove(out + 3, out + 1, size);
  *out = UINT8_MAX;
  (void)put_u16(out + 1, (uint16_t)size);
  return out + 3 + size;
}

/* Bytes of a column's texts at most: only what was no UTF-8 could make them longer, and is cut then. */
static size_t text_limit(const struct nf_column *column) {
  return column->length < VARIABLE ? column->length : VARIABLE;
}

static uint8_t *put_text(uint8_t *out, const struct nf_column *column, const struct nf_flow *record) {
  if (*nf_cell_value(column, record) == '\0') return put_u8(out, 0);
  char *text = (char *)out + 1;
  size_t size = (size_t)(nf_put_plain(text, column, record) - text);
  if (size > text_limit(column)) {
    size = text_limit(column);
    while (size > 0 && (text[size] & 0xc0) == 0x80) size--;
  }
  return put_size(out, size);
}

static uint8_t *put_word(uint8_t *out, const struct nf_column *column, const struct nf_flow *record) {
  return put_size(out, (size_t)(nf_put_word((char *)out + 1, column, record) - (char *)out - 1));
}

static uint8_t *put_truth(uint8_t *out, const char *value) {
  enum { TRUE = 1, FALSE = 2 };
  return put_u8(out, *value ? TRUE : FALSE);
}

static uint8_t *put_specifier(uint8_t *out, uint16_t number, uint16_t size, uint32_t enterprise) {
  out = put_u16(out, enterprise ? OF_ENTERPRISE | number : number);
  out = put_u16(out, size);
  return enterprise ? put_u32(out, enterprise) : out;
}

/* RFC 6313, 4.5.1. */
static uint8_t *put_list(uint8_t *out, const struct field *f, const char *value) {
  enum { ORDERED = 4 };
  const uint32_t size = nf_number_size(f->column->type), count = f->column->length;
  uint8_t *start = out + 3;
  out = put_u8(start, ORDERED);
  out = put_specifier(out, f->element->number, (uint16_t)size, f->element->enterprise);
  for (uint32_t i = 0; i < count; i++, value += size) {
    out = f->column->type == NF_TYPE_BOOL ? put_truth(out, value) : put_swapped(out, value, size);
  }
  (void)put_u16(put_u8(start - 3, UINT8_MAX), (uint16_t)(out - start));
  return out;
}

/* IANA's registry of flowEndReason. */
static uint8_t end_reason_of(const struct nf_flow *record, uint8_t end_reason) {
  enum { IDLE_TIMEOUT = 1, ACTIVE_TIMEOUT, END_DETECTED, FORCED_END, LACK_OF_RESOURCES };
  if (record->is_closing) return END_DETECTED;
  switch (end_reason) {
  case NF_END_IDLE: return IDLE_TIMEOUT;
  case NF_END_ACTIVE: return ACTIVE_TIMEOUT;
  case NF_END_FORCED: return END_DETECTED;
  case NF_END_FULL: return LACK_OF_RESOURCES;
  default: return FORCED_END;
  }
}

static uint16_t flags_of(const char *counts) {
  uint16_t flags = 0;
  for (int bit = 0; bit < 8; bit++) {
    uint32_t count;
    memcpy(&count, counts + bit * sizeof count, sizeof count);
    flags |= (uint16_t)((count > 0) << bit);
  }
  return flags;
}

static uint8_t *put_address(uint8_t *out, const char *value, int ip_version) {
  const size_t size = ip_version == 6 ? 16 : 4;
  memcpy(out, value, size);
  return out + size;
}

static uint8_t *put_field(uint8_t *out, const struct field *f, const struct nf_flow *record) {
  const char *value = nf_cell_value(f->column, record);
  switch (f->encoding) {
  case COPY: memcpy(out, value, f->size); return out + f->size;
  case SWAP_2: return put_swapped(out, value, 2);
  case SWAP_4: return put_swapped(out, value, 4);
  case SWAP_8: return put_swapped(out, value, 8);
  case TRUTH: return put_truth(out, value);
  case NTP_MICROSECONDS: return put_ntp(out, value, 1000000);
  case NTP_NANOSECONDS: return put_ntp(out, value, 1000000000);
  case ADDRESS: return put_address(out, value, record->ip_version);
  case TEXT: return put_text(out, f->column, record);
  case WORD: return put_word(out, f->column, record);
  case LIST: return put_list(out, f, value);
  case END_REASON: return put_u8(out, end_reason_of(record, *(const uint8_t *)value));
  case TCP_FLAGS: return put_u16(out, flags_of(value));
  default: return put_u8(out, 1);
  }
}

/* ---- fields ---- */

static enum encoding encoding_of_number(const struct nf_column *column) {
  static const enum encoding by_size[] = {[1] = COPY, [2] = SWAP_2, [4] = SWAP_4, [8] = SWAP_8};
  if (column->type == NF_TYPE_BOOL) return TRUTH;
  if (column->type == NF_TYPE_UINT64 && column->moment == NF_MOMENT_US) return NTP_MICROSECONDS;
  if (column->type == NF_TYPE_UINT64 && column->moment == NF_MOMENT_NS) return NTP_NANOSECONDS;
  return by_size[nf_number_size(column->type)];
}

static enum encoding encoding_of(const struct nf_column *column, const struct nf_element *element) {
  if (element->form == NF_FORM_BIFLOW) return BIFLOW_DIRECTION;
  if (element->form == NF_FORM_TCP_FLAGS && column->type == NF_TYPE_UINT32 && column->length == 8) return TCP_FLAGS;
  if (element->form == NF_FORM_END_REASON && column->type == NF_TYPE_END_REASON) return END_REASON;
  if (column->is_array) return LIST;
  if (nf_number_size(column->type)) return encoding_of_number(column);
  switch (column->type) {
  case NF_TYPE_TEXT: return TEXT;
  case NF_TYPE_IP: return ADDRESS;
  case NF_TYPE_MAC: return COPY;
  default: return WORD;
  }
}

static uint16_t size_of(const struct nf_column *column, enum encoding encoding) {
  switch (encoding) {
  case TEXT:
  case WORD:
  case LIST: return VARIABLE;
  case ADDRESS: return 4;
  case END_REASON:
  case BIFLOW_DIRECTION: return 1;
  case TCP_FLAGS: return 2;
  default: return column->type == NF_TYPE_MAC ? 6 : (uint16_t)nf_number_size(column->type);
  }
}

/* Bytes of a field in a record at most. */
static size_t field_bound(const struct field *f) {
  enum { SIZE_SIZE = 3, LONGEST_WORD = 48, LIST_HEADER_SIZE = 9 };
  switch (f->encoding) {
  case TEXT: return SIZE_SIZE + text_limit(f->column);
  case WORD: return SIZE_SIZE + LONGEST_WORD;
  case LIST: return SIZE_SIZE + LIST_HEADER_SIZE + (size_t)f->column->length * nf_number_size(f->column->type);
  case ADDRESS: return 16;
  default: return f->size;
  }
}

/* IANA's number of the abstract data type of a value, or of a list's values. */
static uint8_t data_type_of(const struct field *f) {
  if (f->encoding == TEXT || f->encoding == WORD) return STRING;
  if (f->column->moment) return (uint8_t)(DATE_TIME_MILLISECONDS + f->column->moment - NF_MOMENT_MS);
  switch (f->column->type) {
  case NF_TYPE_BOOL: return BOOLEAN;
  case NF_TYPE_FLOAT: return FLOAT_32;
  case NF_TYPE_DOUBLE: return FLOAT_64;
  case NF_TYPE_MAC: return MAC_ADDRESS;
  case NF_TYPE_IP: return IPV4_ADDRESS;
  case NF_TYPE_END_REASON: return UNSIGNED_8;
  default:
    return f->column->type < NF_TYPE_UINT8 ? (uint8_t)(SIGNED_8 + f->column->type - NF_TYPE_INT8)
                                           : (uint8_t)(UNSIGNED_8 + f->column->type - NF_TYPE_UINT8);
  }
}

/* ---- messages ---- */

/* A message that is put together: its header is written when it is sent. */
struct message {
  uint8_t *bytes;
  size_t size;      /* so far, with the header */
  size_t set;       /* where its last set begins, 0 for none */
  uint16_t set_id;  /* what that is of */
  uint32_t records; /* of data, those that describe elements among them */
};

static void begin_message(struct message *m, uint8_t *bytes) {
  *m = (struct message){.size = HEADER_SIZE};
  m->bytes = bytes;
}

/* Where an item of this set would stand: behind the others, or behind the header of a new set. */
static uint8_t *item_at(const struct message *m, uint16_t set_id) {
  const bool goes_on = m->set && m->set_id == set_id;
  return m->bytes + m->size + (goes_on ? 0 : SET_HEADER_SIZE);
}

/* Takes the item that stands there, up to `end`. */
static void take_item(struct message *m, uint16_t set_id, const uint8_t *end) {
  if (!m->set || m->set_id != set_id) {
    m->set = m->size;
    m->set_id = set_id;
    (void)put_u16(m->bytes + m->set, set_id);
  }
  m->size = (size_t)(end - m->bytes);
  (void)put_u16(m->bytes + m->set + 2, (uint16_t)(m->size - m->set));
}

/* Moves an item that another message has no room for to where it would stand in this one. Returns its end there. */
static uint8_t *move_item(const struct message *m, uint16_t set_id, const uint8_t *start, const uint8_t *end) {
  const size_t size = (size_t)(end - start);
  uint8_t *at = item_at(m, set_id);
  memmove(at, start, size);
  return at + size;
}

struct ipfix {
  struct nf_writer writer;
  struct nf_ipfix given; /* without its elements */
  struct nf_element *elements;
  struct field *fields;
  struct message data;     /* with room for one record more than goes out */
  struct message *preface; /* what has to be known before the first record */
  uint8_t *preface_bytes;
  uint32_t preface_count;
  uint32_t sequence; /* data records that went out in this session, modulo 2^32 */
  uint64_t latest;   /* tick of the latest packet of all records */
  /* When the preface was told last. */
  bool was_told;
  uint32_t told_session;
  uint64_t told_refused;  /* so many datagrams had come back */
  uint32_t told_messages; /* so many messages have followed */
  int64_t told_at_ms;
};

static struct ipfix *ipfix_of(struct nf_writer *writer) { return (struct ipfix *)writer; }

/* Seconds since 1970: by the clock where a message is sent; in files by the packets, so that files of the same packets
   are the same. */
static uint32_t export_time(const struct ipfix *x) {
  static const uint64_t ticks[] = {
      [NF_MILLISECONDS] = 1000, [NF_MICROSECONDS] = 1000000, [NF_NANOSECONDS] = 1000000000};
  if (nf_output_session(x->writer.output)) return (uint32_t)(nf_clock_ms(CLOCK_REALTIME) / 1000);
  return (uint32_t)(x->latest / ticks[x->given.time_unit]);
}

/* Gives a message to the output. False when it did not get out. */
static bool put_message(struct ipfix *x, const struct message *m) {
  uint8_t *out = put_u16(m->bytes, VERSION);
  out = put_u16(out, (uint16_t)m->size);
  out = put_u32(out, export_time(x));
  out = put_u32(out, x->sequence);
  (void)put_u32(out, x->given.domain);
  return nf_output_put_whole(x->writer.output, m->bytes, m->size);
}

static bool is_new_session(const struct ipfix *x) {
  return !x->was_told || x->told_session != nf_output_session(x->writer.output);
}

/* Whether who reads may not know what came before the first record. */
static bool is_due(const struct ipfix *x) {
  if (is_new_session(x) || x->told_refused != nf_output_refused(x->writer.output)) return true;
  if (x->given.refresh_messages && x->told_messages >= x->given.refresh_messages) return true;
  return x->given.refresh_s && nf_clock_ms(CLOCK_MONOTONIC) - x->told_at_ms >= (int64_t)x->given.refresh_s * 1000;
}

/* Tells it. False when a session has ended over it, or all is over; a datagram that is lost comes again in time. */
static bool tell(struct ipfix *x) {
  if (is_new_session(x)) x->sequence = 0;
  x->was_told = true;
  x->told_session = nf_output_session(x->writer.output);
  for (uint32_t i = 0; i < x->preface_count; i++) {
    if (!put_message(x, &x->preface[i]) && (nf_output_failure(x->writer.output) || is_new_session(x))) return false;
    x->sequence += x->preface[i].records;
  }
  x->told_refused = nf_output_refused(x->writer.output);
  x->told_messages = 0;
  x->told_at_ms = nf_clock_ms(CLOCK_MONOTONIC);
  return true;
}

/* Sends the records that there are, in a new session if there has to be one. */
static void send_data(struct ipfix *x) {
  bool is_out = false, is_over = x->data.records == 0;
  while (!is_out && !is_over) {
    if (is_due(x) && !tell(x)) {
      is_over = nf_output_failure(x->writer.output);
      continue;
    }
    is_out = put_message(x, &x->data);
    is_over = nf_output_failure(x->writer.output) || !is_new_session(x);
  }
  x->told_messages++;
  x->sequence += x->data.records;
  if (is_out) x->writer.rows += x->data.records;
  begin_message(&x->data, x->data.bytes);
}

/* ---- what has to be known first ---- */

static bool is_our_own(const struct ipfix *x, const struct field *f) {
  return f->element->enterprise && f->element->enterprise == x->given.enterprise;
}

static bool is_left_out(const struct field *f, int template) { return (template & ONE_WAY) && f->element->is_biflow; }

static uint16_t number_of(const struct field *f, int template) {
  return f->encoding == ADDRESS && (template & OVER_IPV6) ? f->element->number_v6 : f->element->number;
}

static uint8_t *put_field_specifier(uint8_t *out, const struct field *f, int template) {
  if (f->encoding == LIST) return put_specifier(out, BASIC_LIST, VARIABLE, 0);
  const uint16_t size = f->encoding == ADDRESS && (template & OVER_IPV6) ? 16 : f->size;
  return put_specifier(out, number_of(f, template), size, f->element->enterprise);
}

static uint8_t *put_template(uint8_t *out, const struct ipfix *x, int template) {
  uint16_t count = 0;
  uint8_t *start = out;
  out += 4;
  for (uint32_t i = 0; i < x->writer.count; i++) {
    if (is_left_out(&x->fields[i], template)) continue;
    out = put_field_specifier(out, &x->fields[i], template);
    count++;
  }
  (void)put_u16(put_u16(start, (uint16_t)(FIRST_TEMPLATE + template)), count);
  return out;
}

/* Type information (RFC 5610, 3.9): of which element, and what it is. */
static uint8_t *put_description_template(uint8_t *out) {
  static const uint16_t specifiers[][2] = {{PRIVATE_ENTERPRISE_NUMBER, 4},     {INFORMATION_ELEMENT_ID, 2},
                                           {INFORMATION_ELEMENT_DATA_TYPE, 1}, {INFORMATION_ELEMENT_SEMANTICS, 1},
                                           {INFORMATION_ELEMENT_UNITS, 2},     {INFORMATION_ELEMENT_NAME, VARIABLE}};
  enum { COUNT = sizeof specifiers / sizeof specifiers[0], OF_SCOPE = 2 };
  out = put_u16(out, DESCRIPTION_TEMPLATE);
  out = put_u16(out, COUNT);
  out = put_u16(out, OF_SCOPE);
  for (int i = 0; i < COUNT; i++) out = put_specifier(out, specifiers[i][0], specifiers[i][1], 0);
  return out;
}

static uint8_t *put_description(uint8_t *out, const struct field *f) {
  enum { DEFAULT = 0, QUANTITY = 1 };
  const size_t size = strnlen(f->column->name, NAME_MAX_SIZE);
  out = put_u32(out, f->element->enterprise);
  out = put_u16(out, f->element->number);
  out = put_u8(out, data_type_of(f));
  out = put_u8(out, f->element->unit ? QUANTITY : DEFAULT);
  out = put_u16(out, f->element->unit);
  out = put_u8(out, (uint8_t)size);
  memcpy(out, f->column->name, size);
  return out + size;
}

/* Takes the item that was put at item_at, into a message of its own if there is no room for it in this one. */
static void take_preface_item(struct ipfix *x, uint16_t set_id, uint8_t *end, bool is_record) {
  struct message *m = &x->preface[x->preface_count - 1];
  const uint8_t *start = item_at(m, set_id);
  if ((size_t)(end - m->bytes) > x->given.message_size && m->set) {
    struct message *next = &x->preface[x->preface_count++];
    begin_message(next, m->bytes + m->size);
    end = move_item(next, set_id, start, end);
    m = next;
  }
  take_item(m, set_id, end);
  m->records += is_record;
}

static uint8_t *preface_item(const struct ipfix *x, uint16_t set_id) {
  return item_at(&x->preface[x->preface_count - 1], set_id);
}

static void put_descriptions(struct ipfix *x) {
  bool is_first = true;
  for (uint32_t i = 0; i < x->writer.count; i++) {
    if (!is_our_own(x, &x->fields[i])) continue;
    if (is_first) take_preface_item(x, OPTIONS_SET, put_description_template(preface_item(x, OPTIONS_SET)), false);
    is_first = false;
    uint8_t *end = put_description(preface_item(x, DESCRIPTION_TEMPLATE), &x->fields[i]);
    take_preface_item(x, DESCRIPTION_TEMPLATE, end, true);
  }
}

static bool start_preface(struct ipfix *x) {
  const size_t count = x->writer.count, items = TEMPLATES + 1 + count, specifier = 8, description = 11 + NAME_MAX_SIZE;
  const size_t around = (size_t)2 * (HEADER_SIZE + SET_HEADER_SIZE) +
                        6 * (specifier + 1); /* any item but for its columns */
  const size_t size = items * around + count * (TEMPLATES * specifier + description);
  x->preface = calloc(items, sizeof *x->preface);
  x->preface_bytes = malloc(size);
  if (!x->preface || !x->preface_bytes) return false;
  begin_message(&x->preface[x->preface_count++], x->preface_bytes);
  for (int i = 0; i < TEMPLATES; i++) {
    take_preface_item(x, TEMPLATE_SET, put_template(preface_item(x, TEMPLATE_SET), x, i), false);
  }
  put_descriptions(x);
  return true;
}

/* ---- the format ---- */

/* Sets the most bytes of a record, and of what is laid down on the way to one. */
static bool measure(const struct ipfix *x, size_t *room, char *error) {
  enum { ROOM = LARGEST - HEADER_SIZE - SET_HEADER_SIZE, MOST_COLUMNS = 4000 };
  size_t record = 0;
  *room = 0;
  for (uint32_t i = 0; i < x->writer.count; i++) {
    const struct field *f = &x->fields[i];
    const size_t bound = field_bound(f), cell = nf_cell_bound(f->column);
    record += bound;
    *room += (bound > cell ? bound : cell) + 8;
    if (record <= ROOM && i < MOST_COLUMNS) continue;
    nf_fail(error,
            "column \"%.100s\": records would need more than IPFIX messages have room for, expected at most %d "
            "bytes and %d columns",
            f->column->name, ROOM, MOST_COLUMNS);
    return false;
  }
  return true;
}

static bool describe_fields(struct ipfix *x, const struct nf_ipfix *given) {
  struct nf_writer *w = &x->writer;
  x->given = *given;
  x->given.elements = NULL;
  if (x->given.message_size > LARGEST) x->given.message_size = LARGEST;
  x->elements = calloc(w->count, sizeof *x->elements);
  x->fields = calloc(w->count, sizeof *x->fields);
  if (!x->elements || !x->fields) return false;
  memcpy(x->elements, given->elements, w->count * sizeof *x->elements);
  bool has_others = false;
  for (uint32_t i = 0; i < w->count; i++) has_others |= !x->elements[i].is_biflow;
  for (uint32_t i = 0; i < w->count; i++) {
    x->elements[i].is_biflow &= has_others; /* a template has to have some element */
    const enum encoding encoding = encoding_of(&w->columns[i], &x->elements[i]);
    x->fields[i] = (struct field){&w->columns[i], &x->elements[i], encoding, size_of(&w->columns[i], encoding)};
  }
  return true;
}

static bool start(struct nf_writer *writer, char *error) {
  struct ipfix *x = ipfix_of(writer);
  size_t room;
  if (!writer->ipfix) {
    nf_fail(error, "IPFIX without elements, expected one a column");
    return false;
  }
  bool has_room = describe_fields(x, writer->ipfix);
  if (has_room && !measure(x, &room, error)) return false;
  if (has_room) has_room = start_preface(x);
  uint8_t *bytes = has_room ? malloc(x->given.message_size + HEADER_SIZE + SET_HEADER_SIZE + room) : NULL;
  begin_message(&x->data, bytes);
  if (!bytes) nf_fail(error, "out of memory for an output's messages");
  return bytes;
}

static void free_all(struct nf_writer *writer) {
  struct ipfix *x = ipfix_of(writer);
  free(x->elements);
  free(x->fields);
  free(x->data.bytes);
  free(x->preface);
  free(x->preface_bytes);
}

static bool write_record(struct nf_writer *writer, const struct nf_flow *record) {
  struct ipfix *x = ipfix_of(writer);
  if (NF_UNLIKELY(nf_output_failure(writer->output))) return false;
  const int template = (record->ip_version == 6 ? OVER_IPV6 : 0) | (record->scope[NF_DST2SRC].packets ? 0 : ONE_WAY);
  const uint16_t set_id = (uint16_t)(FIRST_TEMPLATE + template);
  uint8_t *const start = item_at(&x->data, set_id), *end = start;
  for (uint32_t i = 0; i < writer->count; i++) {
    if (!is_left_out(&x->fields[i], template)) end = put_field(end, &x->fields[i], record);
  }
  if ((size_t)(end - x->data.bytes) > x->given.message_size && x->data.records) {
    send_data(x);
    end = move_item(&x->data, set_id, start, end);
  }
  take_item(&x->data, set_id, end);
  x->data.records++;
  const uint64_t seen = record->scope[NF_BIDIRECTIONAL].last_seen;
  if (seen > x->latest) x->latest = seen;
  if (x->data.size >= x->given.message_size) send_data(x); /* there is room behind a message that is not full */
  return !nf_output_failure(writer->output);
}

static void flush(struct nf_writer *writer) { send_data(ipfix_of(writer)); }

/* Who reads learns what records would have been like where there are none. */
static void finish(struct nf_writer *writer) {
  struct ipfix *x = ipfix_of(writer);
  send_data(x);
  while (!nf_output_failure(writer->output) && is_new_session(x)) (void)tell(x);
}

/* Another file is another session. */
static void move(struct nf_writer *writer, bool is_empty) {
  if (is_empty) ipfix_of(writer)->was_told = false;
}

static size_t waiting(const struct nf_writer *writer) {
  const struct ipfix *x = (const struct ipfix *)writer;
  size_t size = x->data.records ? x->data.size : 0;
  for (uint32_t i = 0; size && is_due(x) && i < x->preface_count; i++) size += x->preface[i].size;
  return size;
}

const struct nf_encoding nf_ipfix = {
    .size = sizeof(struct ipfix),
    .start = start,
    .free = free_all,
    .write = write_record,
    .flush = flush,
    .finish = finish,
    .move = move,
    .waiting = waiting,
};
