/*
 * capfile.c: capture formats. Owns a stream and what the file has said of itself (byte order, link types, units of
 * time). Frames point into the stream's block; nothing is copied and nothing allocated per frame. It must not know
 * where frames go, what filters are, or what lies in a frame.
 *
 * Formats: draft-ietf-opsawg-pcap (and the older dialects that libpcap reads) and draft-ietf-opsawg-pcapng. Where a
 * reader has a choice it does as libpcap, except that pcapng files may mix link types, snap lengths and byte orders.
 */
#include "capfile.h"

#include "interrupt.h"
#include "stream.h"

#include <stdarg.h>

enum {
  FRAME_LIMIT = 262144,                       /* what capture programs write at most, libpcap's MAXIMUM_SNAPLEN, ... */
  FRAME_LIMIT_MAX = 16 * 1024 * 1024,         /* ... unless the file announces larger frames, as with D-Bus or USB */
  BLOCK_LIMIT = FRAME_LIMIT_MAX + 256 * 1024, /* a pcapng block: such a frame and its options */
  INTERFACE_LIMIT = 65536                     /* in a section */
};

static const uint32_t MAGIC_PCAP = 0xa1b2c3d4;
static const uint32_t MAGIC_PCAP_NS = 0xa1b23c4d;
/* Alexey Kuznetsov's dialect: interface, protocol and direction in each record header. */
static const uint32_t MAGIC_PCAP_MODIFIED = 0xa1b2cd34;

enum { PCAP_HEADER = 24, PCAP_RECORD = 16, PCAP_RECORD_MODIFIED = 24 };

enum {
  BLOCK_SECTION = 0x0a0d0d0a,
  BLOCK_INTERFACE = 1,
  BLOCK_PACKET = 2, /* obsolete */
  BLOCK_SIMPLE_PACKET = 3,
  BLOCK_ENHANCED_PACKET = 6,
  ORDER_MARK = 0x1a2b3c4d,
  BLOCK_FRAME = 12, /* type and length before the body, length again behind it */
  SECTION_MIN = 28,
  OPTION_END = 0,
  OPTION_COMMENT = 1,
  OPTION_TIME_RESOLUTION = 9,
  OPTION_TIME_OFFSET = 14
};

enum format { UNIDENTIFIED, PCAP, PCAPNG };

/* Whether a record has the wire length before the captured one: up to version 2.2 it has, in 2.3 some writers' do. */
enum lengths { LENGTHS_NOW, LENGTHS_EITHER, LENGTHS_OLD };

/* ns = ticks * multiply >> shift / divide + offset_s * 10^9 */
struct time_unit {
  uint64_t multiply, divide;
  int64_t offset_s;
  uint8_t shift;
};

struct interface {
  struct time_unit time;
  uint32_t link_type;
  uint32_t snap_length;
  uint32_t frame_limit;
};

struct nf_capfile {
  struct nf_stream *stream;
  enum format format;
  bool is_swapped;  /* the file's byte order is not the machine's */
  bool comments;    /* frames come with theirs */
  int status;       /* enum nf_capfile_status once it is final */
  uint64_t packets; /* given out */
  uint32_t wanted;  /* bytes that the next record takes, as far as known; 0 when it is all there */

  uint32_t link_type; /* pcap's only one */
  uint32_t frame_limit;
  uint32_t record_header;
  uint32_t fraction_ns;
  enum lengths lengths;

  struct interface *interfaces; /* of the current section of a pcapng file */
  uint32_t interface_count, interface_room;

  char what[160];    /* is wrong with the next record; "" while nothing is */
  char problem[256]; /* the same with its place */
};

struct block {
  uint32_t type;
  uint32_t size; /* all of it */
  const uint8_t *body;
  uint32_t body_size;
};

struct nf_capfile *nf_capfile_open(const char *path) {
  struct nf_capfile *file = calloc(1, sizeof *file);
  if (!file) return NULL;
  file->stream = nf_stream_open(path);
  if (!file->stream) {
    free(file);
    return NULL;
  }
  return file;
}

void nf_capfile_close(struct nf_capfile *file) {
  if (!file) return;
  nf_stream_close(file->stream);
  free(file->interfaces);
  free(file);
}

void nf_capfile_want_comments(struct nf_capfile *file) { file->comments = true; }

static inline uint16_t u16(const struct nf_capfile *file, const uint8_t *at) {
  uint16_t v;
  memcpy(&v, at, sizeof v);
  return file->is_swapped ? __builtin_bswap16(v) : v;
}

static inline uint32_t u32(const struct nf_capfile *file, const uint8_t *at) {
  uint32_t v;
  memcpy(&v, at, sizeof v);
  return file->is_swapped ? __builtin_bswap32(v) : v;
}

static inline uint64_t u64(const struct nf_capfile *file, const uint8_t *at) {
  uint64_t v;
  memcpy(&v, at, sizeof v);
  return file->is_swapped ? __builtin_bswap64(v) : v;
}

/* Notes what is wrong with the next record. Returns false for the caller to pass on. */
NF_PRINTF(2, 3) static bool wrong(struct nf_capfile *file, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(file->what, sizeof file->what, format, arguments);
  va_end(arguments);
  return false;
}

/* Notes that the next record takes `count` bytes, which are not all there. */
static bool want(struct nf_capfile *file, uint32_t count) {
  file->wanted = count;
  return false;
}

/* How large a frame may claim to be. A file's own snap length may raise the limit, never lower it: some writers
   understate it. */
static uint32_t frame_limit(uint32_t snap_length) {
  if (snap_length < FRAME_LIMIT) return FRAME_LIMIT;
  return snap_length < FRAME_LIMIT_MAX ? snap_length : FRAME_LIMIT_MAX;
}

static bool read_pcap_header(struct nf_capfile *file, struct nf_bytes bytes, uint32_t magic) {
  if (bytes.size < PCAP_HEADER) return want(file, PCAP_HEADER);
  uint16_t major = u16(file, bytes.data + 4), minor = u16(file, bytes.data + 6);
  /* 543.0 is what tcpdump on DG/UX wrote. */
  if (!(major == 2 && minor <= 4) && !(major == 543 && minor == 0)) {
    return wrong(file, "pcap version %u.%u, expected 2.0 to 2.4", major, minor);
  }
  file->lengths = major == 543 || minor < 3 ? LENGTHS_OLD : minor == 3 ? LENGTHS_EITHER : LENGTHS_NOW;
  file->frame_limit = frame_limit(u32(file, bytes.data + 16));
  file->link_type = u32(file, bytes.data + 20) & 0x03ffffff; /* above: the length of frame check sequences */
  file->fraction_ns = magic == MAGIC_PCAP_NS ? 1 : 1000;
  file->record_header = magic == MAGIC_PCAP_MODIFIED ? PCAP_RECORD_MODIFIED : PCAP_RECORD;
  file->format = PCAP;
  nf_stream_advance(file->stream, PCAP_HEADER);
  return true;
}

static inline bool read_record(struct nf_capfile *file, struct nf_bytes bytes, uint32_t *at, struct nf_frame *frame) {
  if (NF_UNLIKELY(!nf_has(bytes, *at, file->record_header))) return want(file, file->record_header);
  const uint8_t *header = bytes.data + *at;
  uint32_t captured = u32(file, header + 8), size = u32(file, header + 12);
  if (NF_UNLIKELY(file->lengths == LENGTHS_OLD || (file->lengths == LENGTHS_EITHER && captured > size))) {
    uint32_t other = captured;
    captured = size;
    size = other;
  }
  if (NF_UNLIKELY(captured > file->frame_limit)) {
    return wrong(file, "captured length %u, expected at most %u", captured, file->frame_limit);
  }
  if (NF_UNLIKELY(!nf_has(bytes, *at, file->record_header + captured))) {
    return want(file, file->record_header + captured);
  }
  frame->data = header + file->record_header;
  frame->captured = captured;
  frame->size = size;
  /* A fraction beyond a second simply adds. */
  frame->time_ns = u32(file, header) * UINT64_C(1000000000) + u32(file, header + 4) * (uint64_t)file->fraction_ns;
  frame->link_type = file->link_type;
  frame->comment = NULL;
  *at += file->record_header + captured;
  return true;
}

static int read_pcap(struct nf_capfile *file, struct nf_frame *frames, int max, uint64_t number) {
  struct nf_bytes bytes = nf_stream_bytes(file->stream);
  uint32_t at = 0;
  int count = 0;
  while (count < max && read_record(file, bytes, &at, &frames[count])) {
    frames[count].number = number + (uint64_t)count;
    count++;
  }
  nf_stream_advance(file->stream, at);
  return count;
}

__extension__ typedef __int128 wide;

static uint64_t time_ns(const struct time_unit *unit, uint64_t ticks) {
  wide ns = (wide)ticks * unit->multiply >> unit->shift;
  if (unit->divide > 1) ns = (wide)((uint64_t)ns / unit->divide); /* multiply is 1 or 0 then */
  ns += (wide)unit->offset_s * 1000000000;
  return ns < 0 ? 0 : ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

static uint64_t power_of_ten(uint32_t exponent) {
  uint64_t power = 1;
  while (exponent-- > 0) power *= 10;
  return power;
}

/* if_tsresol: units of 10^-n seconds, or of 2^-n with the highest bit set. */
static void set_time_unit(struct time_unit *unit, uint8_t resolution) {
  uint8_t n = resolution & 0x7f;
  unit->multiply = unit->divide = 1;
  unit->shift = 0;
  if (resolution & 0x80) {
    unit->multiply = 1000000000;
    unit->shift = n;
  } else if (n <= 9) {
    unit->multiply = power_of_ten(9u - n);
  } else if (n <= 28) {
    unit->divide = power_of_ten(n - 9u);
  } else {
    unit->multiply = 0; /* 2^64 units are less than a nanosecond */
  }
}

static bool read_interface_options(struct nf_capfile *file, struct interface *interface, struct nf_bytes options) {
  uint32_t at = 0;
  while (nf_has(options, at, 4)) {
    uint16_t code = u16(file, options.data + at), length = u16(file, options.data + at + 2);
    const uint8_t *value = options.data + at + 4;
    at += 4;
    if (code == OPTION_END) return true;
    uint32_t padded = (length + 3u) & ~3u;
    if (!nf_has(options, at, padded)) {
      return wrong(file, "interface option %u of %u bytes, expected at most %u", code, length, options.size - at);
    }
    if (code == OPTION_TIME_RESOLUTION) {
      if (length != 1) return wrong(file, "if_tsresol of %u bytes, expected 1", length);
      set_time_unit(&interface->time, *value);
    } else if (code == OPTION_TIME_OFFSET) {
      if (length != 8) return wrong(file, "if_tsoffset of %u bytes, expected 8", length);
      interface->time.offset_s = (int64_t)u64(file, value);
    }
    at += padded;
  }
  return true;
}

static bool read_interface(struct nf_capfile *file, const struct block *block) {
  if (block->body_size < 8) return wrong(file, "interface block of %u bytes, expected at least 20", block->size);
  if (file->interface_count == INTERFACE_LIMIT) {
    return wrong(file, "interface %d of a section, expected at most %d", INTERFACE_LIMIT + 1, INTERFACE_LIMIT);
  }
  if (file->interface_count == file->interface_room) {
    uint32_t room = file->interface_room ? file->interface_room * 2 : 4;
    struct interface *larger = realloc(file->interfaces, room * sizeof *larger);
    if (!larger) {
      file->status = NF_CAPFILE_NOMEM;
      return false;
    }
    file->interfaces = larger;
    file->interface_room = room;
  }
  struct interface *interface = &file->interfaces[file->interface_count];
  interface->link_type = u16(file, block->body);
  interface->snap_length = u32(file, block->body + 4);
  interface->frame_limit = frame_limit(interface->snap_length);
  interface->time.offset_s = 0;
  set_time_unit(&interface->time, 6);
  struct nf_bytes options = {block->body + 8, block->body_size - 8};
  if (!read_interface_options(file, interface, options)) return false;
  file->interface_count++;
  return true;
}

/* A section's length is not needed: its blocks are read until the next section begins. */
static bool read_section(struct nf_capfile *file, const struct block *block) {
  uint16_t major = u16(file, block->body + 4), minor = u16(file, block->body + 6);
  if (major != 1) return wrong(file, "pcapng version %u.%u, expected 1.x", major, minor);
  file->interface_count = 0;
  return true;
}

/* The first comment among a packet's options. Where their lengths lie it has none, though it is sound itself. */
static void find_comment(const struct nf_capfile *file, struct nf_bytes options, struct nf_frame *frame) {
  uint32_t at = 0;
  while (nf_has(options, at, 4)) {
    uint16_t code = u16(file, options.data + at), length = u16(file, options.data + at + 2);
    at += 4;
    if (code == OPTION_END || !nf_has(options, at, length)) return;
    if (code == OPTION_COMMENT) {
      frame->comment = (const char *)options.data + at;
      frame->comment_size = length;
      return;
    }
    at += (length + 3u) & ~3u;
  }
}

static bool read_packet(struct nf_capfile *file, const struct block *block, struct nf_frame *frame) {
  bool is_simple = block->type == BLOCK_SIMPLE_PACKET;
  const uint8_t *body = block->body;
  uint32_t fixed = is_simple ? 4 : 20;
  if (NF_UNLIKELY(block->body_size < fixed)) {
    return wrong(file, "packet block of %u bytes, expected at least %u", block->size, fixed + BLOCK_FRAME);
  }
  uint32_t id = is_simple ? 0 : block->type == BLOCK_PACKET ? u16(file, body) : u32(file, body);
  if (NF_UNLIKELY(id >= file->interface_count)) {
    return wrong(file, "interface number %u, expected less than %u, the number described", id, file->interface_count);
  }
  const struct interface *interface = &file->interfaces[id];
  uint32_t captured, size;
  if (is_simple) {
    captured = size = u32(file, body);
    if (interface->snap_length > 0 && captured > interface->snap_length) captured = interface->snap_length;
    frame->time_ns = 0;
  } else {
    captured = u32(file, body + 12);
    size = u32(file, body + 16);
    frame->time_ns = time_ns(&interface->time, (uint64_t)u32(file, body + 4) << 32 | u32(file, body + 8));
  }
  uint32_t room = block->body_size - fixed;
  uint32_t most = room < interface->frame_limit ? room : interface->frame_limit;
  if (NF_UNLIKELY(captured > most)) return wrong(file, "captured length %u, expected at most %u", captured, most);
  frame->data = body + fixed;
  frame->captured = captured;
  frame->size = size;
  frame->link_type = interface->link_type;
  frame->comment = NULL;
  uint32_t padded = (captured + 3u) & ~3u;
  if (NF_UNLIKELY(file->comments && room > padded && !is_simple)) {
    find_comment(file, (struct nf_bytes){body + fixed + padded, room - padded}, frame);
  }
  return true;
}

/* A section's first bytes tell the byte order of its own length already. */
static bool read_byte_order(struct nf_capfile *file, struct nf_bytes bytes, uint32_t at) {
  if (!nf_has(bytes, at, 12)) return want(file, 12);
  const uint8_t *m = bytes.data + at + 8;
  uint32_t mark;
  memcpy(&mark, m, sizeof mark);
  if (mark != ORDER_MARK && mark != __builtin_bswap32(ORDER_MARK)) {
    return wrong(file, "byte-order mark %02x %02x %02x %02x, expected 1a 2b 3c 4d or its reverse", m[0], m[1], m[2],
                 m[3]);
  }
  file->is_swapped = mark != ORDER_MARK;
  return true;
}

static inline bool find_block(struct nf_capfile *file, struct nf_bytes bytes, uint32_t at, struct block *block) {
  if (NF_UNLIKELY(!nf_has(bytes, at, 8))) return want(file, 8);
  block->type = u32(file, bytes.data + at);
  uint32_t least = BLOCK_FRAME;
  if (NF_UNLIKELY(block->type == BLOCK_SECTION)) { /* the same in both byte orders */
    if (!read_byte_order(file, bytes, at)) return false;
    least = SECTION_MIN;
  }
  block->size = u32(file, bytes.data + at + 4);
  if (NF_UNLIKELY(block->size < least || block->size > BLOCK_LIMIT || block->size % 4 != 0)) {
    return wrong(file, "block length %u, expected a multiple of 4 from %u to %d", block->size, least, BLOCK_LIMIT);
  }
  if (NF_UNLIKELY(!nf_has(bytes, at, block->size))) return want(file, block->size);
  uint32_t again = u32(file, bytes.data + at + block->size - 4);
  if (NF_UNLIKELY(again != block->size)) {
    return wrong(file, "block length %u at its end, expected %u as at its start", again, block->size);
  }
  block->body = bytes.data + at + 8;
  block->body_size = block->size - BLOCK_FRAME;
  return true;
}

static bool read_other(struct nf_capfile *file, const struct block *block) {
  if (block->type == BLOCK_SECTION) return read_section(file, block);
  if (block->type == BLOCK_INTERFACE) return read_interface(file, block);
  return true; /* names, statistics, secrets, custom blocks: not packets */
}

static inline bool is_packet(uint32_t type) {
  return type == BLOCK_ENHANCED_PACKET || type == BLOCK_SIMPLE_PACKET || type == BLOCK_PACKET;
}

static int read_pcapng(struct nf_capfile *file, struct nf_frame *frames, int max, uint64_t number) {
  struct nf_bytes bytes = nf_stream_bytes(file->stream);
  uint32_t at = 0;
  int count = 0;
  struct block block = {0};
  while (find_block(file, bytes, at, &block)) {
    if (NF_LIKELY(is_packet(block.type))) {
      if (count == max || !read_packet(file, &block, &frames[count])) break;
      frames[count].number = number + (uint64_t)count;
      count++;
    } else if (!read_other(file, &block)) {
      break;
    }
    at += block.size;
  }
  nf_stream_advance(file->stream, at);
  return count;
}

static int foreign(struct nf_capfile *file, struct nf_bytes bytes) {
  const char *verb = bytes.size == 0 ? "empty" : nf_stream_is_packed(file->stream) ? "unpacks to" : "starts with";
  char hex[3 * 4 + 1] = "";
  for (size_t i = 0; i < bytes.size && i < 4; i++) sprintf(hex + 3 * i, " %02x", bytes.data[i]);
  snprintf(file->problem, sizeof file->problem, "not a capture: %s%s, expected pcap or pcapng", verb, hex);
  return file->status = NF_CAPFILE_FOREIGN;
}

/* Tells the format by the first four bytes. */
static void identify(struct nf_capfile *file) {
  struct nf_bytes bytes = nf_stream_bytes(file->stream);
  if (bytes.size < 4) {
    want(file, 4);
    return;
  }
  uint32_t magic;
  memcpy(&magic, bytes.data, sizeof magic);
  if (magic == BLOCK_SECTION) {
    file->format = PCAPNG;
    return;
  }
  for (int swapped = 0; swapped < 2; swapped++, magic = __builtin_bswap32(magic)) {
    if (magic == MAGIC_PCAP || magic == MAGIC_PCAP_NS || magic == MAGIC_PCAP_MODIFIED) {
      file->is_swapped = swapped;
      read_pcap_header(file, bytes, magic);
      return;
    }
  }
  foreign(file, bytes);
}

static int read_there(struct nf_capfile *file, struct nf_frame *frames, int max, uint64_t number) {
  if (file->format == UNIDENTIFIED) identify(file);
  if (file->format == PCAP) return read_pcap(file, frames, max, number);
  if (file->format == PCAPNG) return read_pcapng(file, frames, max, number);
  return 0;
}

static int damaged(struct nf_capfile *file, const char *what) {
  snprintf(file->problem, sizeof file->problem, "damaged after packet %llu at byte %llu: %s",
           (unsigned long long)file->packets, (unsigned long long)nf_stream_offset(file->stream), what);
  return file->status = NF_CAPFILE_DAMAGED;
}

/* The input ended: between two records, or within one. */
static int ended(struct nf_capfile *file) {
  struct nf_bytes rest = nf_stream_bytes(file->stream);
  if (file->format == UNIDENTIFIED && rest.size < 4) return foreign(file, rest);
  if (rest.size == 0) return file->status = NF_CAPFILE_END;
  const char *what = file->format == PCAPNG            ? "a block"
                     : file->format == UNIDENTIFIED    ? "the file header"
                     : rest.size < file->record_header ? "a record header"
                                                       : "a record";
  wrong(file, "the file ends within %s (%u of %u bytes)", what, rest.size, file->wanted);
  return damaged(file, file->what);
}

static int fetch(struct nf_capfile *file) {
  switch (nf_stream_need(file->stream, file->wanted)) {
  case NF_STREAM_READY: return 1;
  case NF_STREAM_AGAIN: return 0;
  case NF_STREAM_END: return ended(file);
  case NF_STREAM_BROKEN: return damaged(file, nf_stream_problem(file->stream));
  default: return file->status = NF_CAPFILE_NOMEM;
  }
}

int nf_capfile_read(struct nf_capfile *file, struct nf_frame *frames, int max, uint64_t number) {
  uint64_t start = nf_stream_offset(file->stream);
  while (file->status == 0) {
    file->wanted = 0;
    file->what[0] = '\0';
    int count = read_there(file, frames, max, number);
    file->packets += (uint64_t)count;
    if (count > 0) return count;
    if (file->what[0]) return damaged(file, file->what);
    /* Blocks without packets were passed, or no frames are wanted: let the caller look round. */
    if (file->status == 0 && (file->wanted == 0 || nf_stream_offset(file->stream) != start)) return 0;
    if (file->status == 0) {
      int fetched = fetch(file);
      if (fetched <= 0) return fetched;
    }
  }
  return file->status;
}

int nf_capfile_link_type(struct nf_capfile *file, uint32_t *link_type) {
  for (;;) {
    if (file->format == PCAP || file->interface_count > 0) {
      *link_type = file->format == PCAP ? file->link_type : file->interfaces[0].link_type;
      return 1;
    }
    uint64_t before = nf_stream_offset(file->stream);
    int status = nf_capfile_read(file, NULL, 0, 0);
    bool is_waiting = file->wanted > 0 && !nf_interrupted();
    if (status < 0 || (nf_stream_offset(file->stream) == before && !is_waiting)) return status;
  }
}

uint64_t nf_capfile_input_read(const struct nf_capfile *file) { return nf_stream_input_read(file->stream); }

const char *nf_capfile_problem(const struct nf_capfile *file) { return file->problem; }
