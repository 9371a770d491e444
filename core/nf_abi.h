#pragma once
/*
 * nf_abi.h: the contract between the C core and Lua.
 *
 * This text is compiled as C and, unchanged, handed to LuaJIT's ffi.cdef, so it stays inside what LuaJIT's parser
 * takes: no other line may start with a number sign. There is no second copy of any struct or prototype.
 *
 * Units: a "tick" is one unit of the run's time_unit (ms, us or ns) since 1970; sizes are bytes; times in names carry
 * their unit. Addresses are in network order, IPv4 in the first four bytes with zeros behind. Ports are host order.
 */

enum {
  NF_ABI_VERSION = 1,
  NF_ERROR_SIZE = 512 /* bytes of every error text buffer */
};

/* What calls return: 0 or a count when all is well, else one of these. */
enum nf_status {
  NF_OK = 0,
  NF_END = -1, /* nothing more will come */
  NF_ERR_NOMEM = -3,
  NF_ERR_SOURCE = -4, /* a capture cannot be opened or read on */
  NF_ERR_OUTPUT = -5, /* the output cannot be written */
  NF_ERR_SYSTEM = -6, /* the system refused */
  NF_ERR_METER = -7   /* one of several meters failed */
};

enum nf_time_unit { NF_MILLISECONDS, NF_MICROSECONDS, NF_NANOSECONDS };

/* Which size of a packet counts as its bytes (NFStream's accounting_mode). */
enum nf_accounting { NF_SIZE_RAW, NF_SIZE_IP, NF_SIZE_TRANSPORT, NF_SIZE_PAYLOAD };

enum nf_tunnel { NF_TUNNEL_NONE, NF_TUNNEL_GTP, NF_TUNNEL_CAPWAP, NF_TUNNEL_TZSP };

/* Why a flow ended. expiration_id is NFStream's coarser code for the same. */
enum nf_end {
  NF_END_LIVE,   /* has not ended */
  NF_END_IDLE,   /* no packet for idle_timeout */
  NF_END_ACTIVE, /* lasted active_timeout */
  NF_END_FORCED, /* a plugin set expiration_id = -1 */
  NF_END_FULL,   /* least recently seen when the table was full */
  NF_END_INPUT,  /* the capture ended, or the run was interrupted */
  NF_END_COUNT
};

/* Why a packet reached no flow. */
enum nf_ignored {
  NF_IGNORED_NONE,
  NF_IGNORED_LINK_TYPE,  /* the capture's link type is not known */
  NF_IGNORED_NOT_IP,     /* another network protocol, or a link-layer control frame */
  NF_IGNORED_TRUNCATED,  /* the capture ends before the headers do */
  NF_IGNORED_BAD_HEADER, /* a header contradicts itself */
  NF_IGNORED_FRAGMENT,   /* a later IP fragment: the first, in which its ports are, was not seen or not asked for */
  NF_IGNORED_FILTERED,   /* bpf_filter refused it */
  NF_IGNORED_COUNT
};

enum nf_tcp_flag {
  NF_FIN = 1,
  NF_SYN = 2,
  NF_RST = 4,
  NF_PSH = 8,
  NF_ACK = 16,
  NF_URG = 32,
  NF_ECE = 64,
  NF_CWR = 128
};

/* Indices of a flow's scopes: both directions together, and each alone. */
enum nf_scope_index { NF_BIDIRECTIONAL, NF_SRC2DST, NF_DST2SRC, NF_SCOPES };

/* Who talks to whom, as one packet or the first packet of a flow says it. Compared and hashed as 40 plain bytes. */
struct nf_tuple {
  uint8_t src_address[16];
  uint8_t dst_address[16];
  uint16_t src_port; /* 0 for all but TCP and UDP */
  uint16_t dst_port;
  uint16_t vlan_id; /* innermost VLAN, 0 without */
  uint8_t protocol; /* IANA protocol number */
  uint8_t tunnel_id;
} __attribute__((aligned(8)));

/*
 * One decoded packet. Valid while its hook runs: frame and comment_data point into the capture's own block, or a copy
 * of these bytes. Offsets count from the frame's first byte and never exceed captured_size; what lies behind
 * captured_size does not exist. The fields under "for hooks" repeat others as Lua numbers, and are set only where a
 * hook will see the packet.
 *
 * A later IP fragment has the tuple of the first of its datagram, and no transport header: what it carries counts as
 * payload, but both offsets are captured_size, since without its beginning it cannot be read. One that came before the
 * first is dealt with right behind it, and has its position.
 */
struct nf_packet {
  union {
    struct nf_tuple tuple;
    struct { /* the same by name */
      uint8_t src_address[16];
      uint8_t dst_address[16];
      uint16_t src_port;
      uint16_t dst_port;
      uint16_t vlan_id;
      uint8_t protocol;
      uint8_t tunnel_id;
    };
  };
  const uint8_t *frame;
  struct nf_flow *flow;                           /* its flow, once found */
  uint64_t position;                              /* in the source, from 1, counting every packet read */
  uint64_t time_ns;                               /* as captured, ns since 1970 */
  uint64_t tick;                                  /* the run's clock: never goes backwards */
  uint64_t delta;                                 /* ticks since the flow's previous packet, 0 for its first */
  uint32_t captured_size;                         /* bytes of the frame that are there */
  uint32_t raw_size;                              /* bytes of the frame on the wire */
  uint32_t ip_size;                               /* innermost IP packet with its header */
  uint32_t transport_size;                        /* its payload: transport header and data */
  uint32_t payload_size;                          /* data behind the transport header */
  uint32_t accounted_size;                        /* the one of the four that accounting_mode chose */
  uint32_t ip_offset;                             /* innermost IP header */
  uint32_t transport_offset;                      /* transport header */
  uint32_t payload_offset;                        /* data */
  uint32_t link_type;                             /* LINKTYPE_ value of the frame */
  uint32_t comment_size;                          /* bytes of ... */
  const char *comment_data;                       /* ... the capture's first comment on it, or NULL */
  uint8_t ip_version;                             /* 4 or 6 */
  uint8_t tcp_flags;                              /* enum nf_tcp_flag, 0 for all but TCP */
  uint8_t fin, syn, rst, psh, ack, urg, ece, cwr; /* the same one by one, 0 or 1, lowest bit first */
  uint8_t direction;                              /* 0 source to destination, 1 back */
  uint8_t src_mac_address[6];
  uint8_t dst_mac_address[6];
  bool is_fragment;  /* a later IP fragment */
  bool has_comments; /* nf_options.comments: else there is no knowing */
  /* for hooks */
  double number, time, delta_time; /* position, tick, delta */
};

/* Counters of one scope of a flow. */
struct nf_scope {
  uint64_t first_seen; /* tick of its first packet */
  uint64_t last_seen;  /* tick of its latest packet */
  uint64_t duration;   /* last_seen - first_seen */
  uint64_t packets;
  uint64_t bytes;
};

/*
 * A flow, and once it has ended its record: flat memory, copied as it is. It lies at the head of a slot; behind it, at
 * the offsets of struct nf_layout, come the sections that the run asked for. A slot never moves. It belongs to the
 * meter and is valid until the end of the flow has been handled (the next call of nf_meter_next), a record of several
 * meters until the next call of nf_crew_next.
 */
struct nf_flow {
  struct nf_tuple tuple; /* orientation of the first packet */
  struct nf_scope scope[3];
  union {
    uint64_t record_id;   /* position among the records given out, from 0; set when it is given out */
    uint64_t absorbed_at; /* while it lives and is frozen: tick of the latest packet it absorbed */
  };
  uint64_t last_packet;  /* number of its latest packet: orders flows by when they were last seen */
  uint64_t ended_at;     /* number of the packet that ended it */
  uint32_t slot;         /* index in the table */
  int32_t expiration_id; /* 0 idle or end of input, 1 active timeout, -1 forced by a plugin */
  uint8_t src_mac_address[6];
  uint8_t dst_mac_address[6];
  uint8_t ip_version;
  uint8_t end_reason;  /* enum nf_end */
  uint16_t splt_count; /* packets recorded in the SPLT section so far */
  bool is_closing;     /* set by a hook: its connection is over; it takes late packets for linger_s, then ends */
  bool is_frozen;      /* set by a hook: later packets belong to it, but it counts them no more and no hook sees them */
  uint8_t queue;       /* which of the table's orders it stands in */
  int32_t watchers;    /* bits of those plugins that its packets are still told, see nf_options; 0: of none */
};

/*
 * Running statistics by Welford's recurrence (Welford 1962; Knuth, TAOCP 2, 4.2.2). spread is the sum of squared
 * deviations while the flow lives and the sample standard deviation once it has ended.
 */
struct nf_size_series {
  uint32_t min, max;
  double mean, spread;
};

struct nf_time_series {
  uint64_t min, max; /* ticks */
  double mean, spread;
};

/* Statistics of one scope; the section holds three, indexed by enum nf_scope_index. */
struct nf_statistics {
  struct nf_size_series ps;   /* packet sizes */
  struct nf_time_series piat; /* packet inter-arrival times */
  uint32_t flags[8];          /* packets with each TCP flag, by bit number of enum nf_tcp_flag; stays at 2^32-1 */
};

/* What nDPI says of a flow. Texts end in NUL and are valid UTF-8. */
struct nf_l7 {
  struct nf_dissection *dissection; /* nDPI's state until the verdict, then NULL; null in a record */
  uint8_t is_guessed;               /* the verdict came from ports or caches, not from content */
  uint8_t confidence;               /* nDPI 4.2's scale: 0 unknown, 1 port, 2 address, 3 cache, 4 DPI */
  char application_name[40];
  char application_category_name[24];
  char requested_server_name[80];
  char client_fingerprint[48];
  char server_fingerprint[48];
  char user_agent[256];
  char content_type[64];
};

/* L7 columns beyond NFStream's, present when l7_columns asks for any. */
struct nf_l7_extra {
  char tls_version[16];
  char tls_alpn[64]; /* the client's list */
  char ja3_client[40];
  char ja3_server[40];
  char hassh_client[40];
  char hassh_server[40];
  char dhcp_fingerprint[64];
  char http_url[256];
  char risk_names[256]; /* joined with ", " */
  uint64_t risk_mask;   /* bit = nDPI's risk number */
  uint16_t risk_score;
  uint16_t dns_query_type;
  int16_t dns_response_code; /* -1 where there was no response */
};

/* The process at the local end of a flow. */
struct nf_process {
  int32_t pid;   /* -1 where none was found */
  char name[60]; /* as `ps` shows it; ends in NUL, valid UTF-8 */
};

/* Where a run's sections begin in a slot, in bytes; 0 where a section is absent. All are multiples of 8. */
struct nf_layout {
  uint32_t statistics; /* struct nf_statistics[3] */
  uint32_t splt;       /* with n = splt_length: int64_t piat[n], int32_t ps[n], int8_t direction[n]; -1 = no packet */
  uint32_t splt_length;
  uint32_t l7;       /* struct nf_l7 */
  uint32_t l7_extra; /* struct nf_l7_extra */
  uint32_t process;  /* struct nf_process */
  uint32_t udps;     /* the plugins' columns and state, zeroed when a flow starts */
  uint32_t size;     /* of the whole slot */
};

enum nf_event_kind {
  NF_EVENT_INIT = 1,     /* a flow began with this packet */
  NF_EVENT_UPDATE = 2,   /* a flow got this packet */
  NF_EVENT_EXPIRE = 4,   /* a flow ended */
  NF_EVENT_PROGRESS = 8, /* about a second has passed, or a quarter on interfaces */
  NF_EVENT_STATUS = 16,  /* NF_REQUEST_STATUS came */
  NF_EVENT_REOPEN = 32,  /* NF_REQUEST_REOPEN came */
  NF_EVENT_REPORT = 64   /* performance_report_s have passed */
};

struct nf_event {
  struct nf_flow *flow;    /* of INIT, UPDATE and EXPIRE */
  struct nf_packet packet; /* of INIT and UPDATE; a copy in one place, so that compiled code knows its address */
};

/* A run's parameters. Strings and arrays are only read during nf_crew_new. */
struct nf_options {
  const char *const *sources; /* capture files, folders, or "-" for standard input; or network interfaces */
  uint32_t source_count;
  const char *bpf_filter; /* libpcap filter expression, or NULL */
  uint64_t idle_timeout_s;
  uint64_t active_timeout_s;
  uint64_t linger_s;             /* how long a flow that is_closing waits for late packets */
  uint64_t max_flows;            /* live flows at most, shared by the meters, one each at least; 0: no limit */
  uint64_t max_packets;          /* the input ends after so many; 0 for no limit */
  uint32_t duration_s;           /* the input ends after this long by the wall clock; 0 for no limit */
  uint32_t performance_report_s; /* REPORT events come this often; 0 for none */
  uint32_t n_meters;             /* threads that share the work; 0 chooses */
  uint32_t n_dissections;        /* packets of a flow given to nDPI, 0..255; 0: no L7 */
  uint32_t splt_analysis;        /* packets in the SPLT section, 0..65535; 0: none */
  uint32_t udps_size;            /* bytes of the plugins' section */
  uint32_t
      events; /* bits of INIT, UPDATE and PROGRESS that are wanted; others, and interfaces' PROGRESS, always come */
  int32_t watchers;            /* UPDATE: a bit for each plugin that wants it; a flow without any left tells no more */
  uint32_t snapshot_length;    /* interfaces: bytes kept of each packet */
  uint32_t socket_buffer_size; /* interfaces: bytes of the kernel's buffer; 0 for libpcap's default */
  uint32_t system_visibility_poll_ms;
  uint8_t time_unit;       /* enum nf_time_unit */
  uint8_t accounting_mode; /* enum nf_accounting */
  bool decode_tunnels;
  bool statistical_analysis;
  bool l7_extra;
  bool promiscuous_mode;  /* interfaces: see all packets of the network */
  bool reconnect;         /* interfaces: wait for one that went away to come back */
  bool system_visibility; /* interfaces: the process section is filled */
  bool dpi_cache;         /* nDPI's memory across flows is kept: what one flow teaches may name another */
  bool comments;          /* pcapng: packets come with their comments */
  bool defragment;        /* later IP fragments get the ports of the first, and so a flow; else they are ignored */
};

/* What a run has seen so far. packets = those of all flows, with those that frozen ones absorbed, + ignored. */
struct nf_counters {
  uint64_t packets;           /* read from the source and dealt with */
  uint64_t bytes;             /* their sizes on the wire */
  uint64_t ignored[7];        /* by enum nf_ignored; [0] stays 0 */
  uint64_t ended[6];          /* flows by enum nf_end; [0] counts live ones */
  uint64_t dropped_kernel;    /* interfaces: packets lost because the kernel's buffer was full */
  uint64_t dropped_interface; /* packets that the interface or its driver says it lost */
  uint64_t input_size;        /* bytes of all input files, 0 when not known */
  uint64_t input_read;        /* bytes of them read */
  uint64_t first_ns, last_ns; /* earliest and latest moment of a packet that has reached a flow; 0 without any */
};

/*
 * A run: its input and the meters that share it. With one meter everything happens in the thread that calls
 * nf_crew_next. With several, each has a thread of its own, started by nf_crew_start, and nf_crew_next gives their
 * records, those of files in the order in which one meter would.
 */
struct nf_crew;
/* One share of the traffic: flow table, nDPI module, clock. It belongs to its crew. */
struct nf_meter;

/*
 * Opens the sources and prepares a run. Returns NULL with a one-line reason in `error` (NF_ERROR_SIZE bytes), among
 * them: no such file, filter does not compile, out of memory. The caller frees it with nf_crew_free, which ends the
 * threads.
 */
struct nf_crew *nf_crew_new(const struct nf_options *options, char *error);
void nf_crew_free(struct nf_crew *crew);

/* Whether these sources are network interfaces. A file of the same name comes first. */
bool nf_source_is_live(const char *const *names, uint32_t count);

/* How many meters there are. */
uint32_t nf_crew_size(const struct nf_crew *crew);
struct nf_meter *nf_crew_meter(const struct nf_crew *crew, uint32_t index);
/* Whether the input is network interfaces. */
bool nf_crew_is_live(const struct nf_crew *crew);
/* Whether the input may be long in coming, from interfaces or what is no regular file, a pipe say. */
bool nf_crew_may_wait(const struct nf_crew *crew);

/* Offsets of the sections that these options ask for. */
struct nf_layout nf_layout_of(const struct nf_options *options);

/*
 * To be called before the first nf_crew_next: starts the threads that the run needs, with the rights that the process
 * has by now. With several meters that is one for each. Where there is a plan, each has a Lua state with these search
 * paths, which calls require("nfengine.worker").run(crew, index, plan); without, nobody's hooks wait. Returns once all
 * of them are ready to read, or an error with a one-line reason in `error`.
 */
int nf_crew_start(struct nf_crew *crew, const char *path, const char *cpath, const char *plan, size_t plan_size,
                  char *error);

/*
 * Goes on until there is something to tell, and returns its kind, the rest being at nf_crew_event; 0: call again;
 * NF_END when the source is used up and every flow has ended; or an error, with nf_crew_error saying which. What the
 * event points to is valid until the next call. With that call an INIT or UPDATE counts as handled: its flow
 * ends if its expiration_id is -1 by then. Several meters give EXPIRE alone: their hooks have run in their threads.
 */
int nf_crew_next(struct nf_crew *crew);
/* The event told last; the address stays for the crew's life. */
const struct nf_event *nf_crew_event(const struct nf_crew *crew);

/* The same for one meter of several, in its own thread; tells INIT, UPDATE and EXPIRE. */
int nf_meter_next(struct nf_meter *meter);
const struct nf_event *nf_meter_event(const struct nf_meter *meter);
const char *nf_meter_error(const struct nf_meter *meter);

/* What a meter's thread tells its crew. It is ready to read; false: the run is called off, or `failure` said why. */
bool nf_crew_ready(struct nf_crew *crew, const char *failure);
/* The flow of the EXPIRE told last becomes a record. Waits while many are not taken yet; false once none is wanted. */
bool nf_crew_give(struct nf_crew *crew, uint32_t index);
/* It has ended: well, with `state` for nf_crew_state, or with the one-line reason `failure`. Both are copied. */
void nf_crew_leave(struct nf_crew *crew, uint32_t index, const char *failure, const char *state, size_t state_size);

/* What a meter's thread left behind when it ended; NULL before. Belongs to the crew. */
const char *nf_crew_state(struct nf_crew *crew, uint32_t index, size_t *size);

/* Whether this path is one of the run's captures, by whatever name. */
bool nf_crew_reads(const struct nf_crew *crew, const char *path);

/* One of the run's captures in their order, folders replaced by their files. `path` is NULL behind the last one, and
   for interfaces. */
struct nf_input {
  const char *path; /* belongs to the crew */
  uint64_t packets; /* read from it, filtered ones included */
};
/* Not to be called while the run goes on. */
struct nf_input nf_crew_input(const struct nf_crew *crew, uint32_t index);

/* Ends the run early. One meter: the next calls bring the open flows' ends, then NF_END. Several: their threads end
   without giving any more records. */
void nf_crew_stop(struct nf_crew *crew);

/* What all meters have seen so far, and one of them. Valid until the next call. */
const struct nf_counters *nf_crew_counters(struct nf_crew *crew);
const struct nf_counters *nf_crew_counters_of(struct nf_crew *crew, uint32_t index);
const char *nf_crew_error(const struct nf_crew *crew);

/* Next warning not yet fetched (a damaged file, say), or NULL. Valid until the next call. */
const char *nf_crew_warning(struct nf_crew *crew);
/* Whether some of the input was damaged or of an unknown link type, so that the run should not be called a success. */
bool nf_crew_is_damaged(const struct nf_crew *crew);

/* Asks this of every run of the process; safe in a signal handler. 0 takes back what was asked. */
enum nf_request {
  NF_REQUEST_STATUS = 1, /* tell where the run stands */
  NF_REQUEST_REOPEN = 2, /* open the output anew: its file was moved away */
  NF_REQUEST_STOP = 4    /* end the run as if its input had ended; stays asked */
};
void nf_interrupt(int request);
/* Whether a stop has been asked for. */
bool nf_interrupted(void);

/* Column types as writers see them. */
enum nf_type {
  NF_TYPE_BOOL = 1,
  NF_TYPE_INT8,
  NF_TYPE_INT16,
  NF_TYPE_INT32,
  NF_TYPE_INT64,
  NF_TYPE_UINT8,
  NF_TYPE_UINT16,
  NF_TYPE_UINT32,
  NF_TYPE_UINT64,
  NF_TYPE_FLOAT,
  NF_TYPE_DOUBLE,
  NF_TYPE_TEXT,      /* char[length], ends in NUL or is full */
  NF_TYPE_IP,        /* uint8_t[16], version from the record */
  NF_TYPE_MAC,       /* uint8_t[6], as 00:1b:21:0f:01:02 */
  NF_TYPE_OUI,       /* the first three bytes of the same */
  NF_TYPE_END_REASON /* uint8_t, as its name */
};

/* Whether a column's integers are moments, and what they count since 1970. */
enum nf_moment { NF_MOMENT_NO, NF_MOMENT_MS, NF_MOMENT_US, NF_MOMENT_NS };

/* One column of an output. */
struct nf_column {
  const char *name; /* must outlive the writer */
  uint32_t offset;  /* in the record */
  uint32_t length;  /* elements of an array, bytes of a text, else 1 */
  uint8_t type;     /* enum nf_type */
  bool is_array;    /* written as NFStream prints lists: [0, 1, -1] */
  bool is_binary;   /* an IP address that Parquet and Arrow have as 16 bytes, of IPv4 as ::ffff:0:0/96 (RFC 4291) */
  uint8_t moment;   /* enum nf_moment */
  bool has_none;    /* an integer `none` stands for no value, of which typed formats know; so does an empty text */
  int64_t none;
  const char *unit, *doc; /* for formats that tell of columns; NULL or, like the name, to outlive the writer */
};

enum nf_format {
  NF_FORMAT_CSV,
  NF_FORMAT_JSONL,
  NF_FORMAT_PARQUET,
  NF_FORMAT_ARROW_STREAM,
  NF_FORMAT_ARROW_FILE,
  NF_FORMAT_IPFIX
};

/* Whether bytes are compressed, after each that has been flushed so that they can be unpacked. Parquet and Arrow files
   are none to be compressed as a whole: they say where in them things lie. */
enum nf_packing { NF_PACKING_NONE, NF_PACKING_GZIP, NF_PACKING_ZSTD };

/* How a column's value becomes that of its IPFIX element. */
enum nf_element_form {
  NF_FORM_VALUE,      /* as it is, in the element's encoding */
  NF_FORM_END_REASON, /* NF_TYPE_END_REASON as a number of flowEndReason */
  NF_FORM_TCP_FLAGS,  /* eight uint32 counts, by bit number: the bits of those above 0, as tcpControlBits has them */
  NF_FORM_BIFLOW      /* whatever it is: 1, biflowDirection's initiator */
};

/* The information element that a column is in IPFIX (RFC 7011). */
struct nf_element {
  uint32_t enterprise; /* whose number it is, 0 for IANA's */
  uint16_t number;     /* 1..32767 */
  uint16_t number_v6;  /* of NF_TYPE_IP in flows over IPv6 */
  uint16_t unit;       /* IANA's number of its unit, 0 for none */
  uint8_t form;        /* enum nf_element_form */
  bool is_biflow;      /* only in records of flows that had packets both ways */
};

/* What that format has to know beside columns. */
struct nf_ipfix {
  const struct nf_element *elements; /* one a column */
  uint32_t enterprise;               /* elements of this one are described to whoever reads (RFC 5610) */
  uint32_t domain;                   /* observation domain */
  uint32_t message_size;             /* bytes; a record that is larger has a message of its own */
  uint32_t refresh_s;                /* templates are told again after so many seconds, 0: never, ... */
  uint32_t refresh_messages;         /* ... or messages, 0: never */
  uint8_t time_unit;                 /* of the run, enum nf_time_unit */
};

/* Where an output goes. */
struct nf_destination {
  const char *path; /* of a file, to be made or replaced; "-": standard output; NULL: the descriptor, another's */
  int descriptor;   /* where there is a path: -1, or what nf_writer_reserve gave for it, then the writer's to close */
  uint8_t packing;  /* enum nf_packing */
  bool is_beside;   /* a regular file is called PATH.part until it is closed: nothing half done ever is called PATH */
  const char *collector; /* in place of all these: where messages are sent, "udp://HOST:PORT" or "tcp://HOST:PORT" */
  uint32_t patience_s;   /* how long a TCP collector that went away is waited for */
  uint32_t rate;         /* messages a second to a UDP collector at most, 0: no limit */
  const struct nf_ipfix *ipfix; /* of that format; else NULL */
};

/* A file that bytes go to as they are put. */
struct nf_output;
/* NULL with a one-line reason in `error`; then a descriptor of the destination stays the caller's. */
struct nf_output *nf_output_open(const struct nf_destination *to, char *error);
/*
 * Writes what stands at the end and tells what the bytes before it are. Also after a failure, of which the rest has
 * been taken back: a disk that is full may have room for it. Returns whether it got out.
 */
bool nf_output_put_end(struct nf_output *output, const void *bytes, size_t size);
/* Ends what is compressed, closes, gives the file its name, frees. NF_OK, or NF_ERR_OUTPUT with the reason in
   `error`. */
int nf_output_close(struct nf_output *output, char *error);

/* CRC-32 of bytes that follow those of which it was `before`, 0 of none: as zip files have it (ISO 3309). */
uint32_t nf_crc32(uint32_t before, const void *data, size_t size);

struct nf_writer;

/*
 * Opens an output for records with these columns, which it copies. Returns NULL with a one-line reason in `error`; a
 * descriptor is the caller's then.
 */
struct nf_writer *nf_writer_open(const struct nf_destination *to, int format, const struct nf_column *columns,
                                 uint32_t count, char *error);
/*
 * For who may open no file later on: opens one now, and makes it if need be, with what is in it kept until it becomes
 * a writer's. A descriptor, or -1 with a one-line reason in `error`.
 */
int nf_writer_reserve(const char *path, char *error);
/*
 * Says something of the records as a whole, to readers of formats that have a place for it: texts in UTF-8, which it
 * copies; the latest of a name counts. Parquet and Arrow files have what was said before nf_writer_finish, an Arrow
 * stream what was said before its first rows went out. NF_ERR_OUTPUT sticks here as well.
 */
int nf_writer_describe(struct nf_writer *writer, const char *name, const char *text);
/* Writes one record; NF_ERR_OUTPUT sticks and later calls do nothing. To a collector that has failed after a stop was
   asked for it is NF_OK all the same, so that nf_writer_close can tell how many of all records were not sent. */
int nf_writer_write(struct nf_writer *writer, const struct nf_flow *record);
/* Hands buffered rows to the system. */
int nf_writer_flush(struct nf_writer *writer);
/*
 * For log rotation: flushes, and where the path no longer names the open file goes on in the file that it names now,
 * which is made if need be and appended to; CSV gets its header line if it is empty. Descriptors of others and files
 * that get their name in the end are flushed only. NF_ERR_OUTPUT with the reason in `error` (may be NULL) when the new
 * file cannot be opened, then the old one stays in use; or when it is rows to the old one that did not get out.
 */
int nf_writer_reopen(struct nf_writer *writer, char *error);
/* Writes all there is, and what stands behind the last row. Nothing can be written after it. */
int nf_writer_finish(struct nf_writer *writer);
/* Finishes, closes, gives the file its name and frees; NF_OK, or NF_ERR_OUTPUT with the reason in `error` (may be
   NULL). */
int nf_writer_close(struct nf_writer *writer, char *error);
/* Whether there is something to be told of what was sent that is no failure, then as one line in `text`. */
bool nf_writer_warning(const struct nf_writer *writer, char *text);
/* Whether the reader of a pipe went away (EPIPE), which ends a run quietly. */
bool nf_writer_is_broken_pipe(const struct nf_writer *writer);
/* How many records the system has got as whole rows: once finished all that were written, unless that has failed. */
uint64_t nf_writer_rows(const struct nf_writer *writer);
/* Bytes that the system has got of the file; of rows of text that are not compressed, those too that wait. */
uint64_t nf_writer_size(const struct nf_writer *writer);

/* What a value is to a library that takes values one by one, as those of databases do. */
enum nf_value_kind {
  NF_VALUE_NONE,    /* there is none, see nf_column.has_none */
  NF_VALUE_INTEGER, /* moments too, in their unit; bools are 0 and 1 */
  NF_VALUE_REAL,
  NF_VALUE_TEXT /* as CSV has it; arrays as JSON */
};

struct nf_value {
  union {
    int64_t integer; /* of a uint64, its bits */
    double real;
    const char *text; /* valid UTF-8, no NUL in or behind it */
  };
  uint32_t size; /* of a text, in bytes */
  uint32_t kind; /* enum nf_value_kind */
};

/* Reads records value by value, with these columns, which it copies. NULL with a one-line reason in `error`. */
struct nf_values;
struct nf_values *nf_values_new(const struct nf_column *columns, uint32_t count, char *error);
void nf_values_free(struct nf_values *values);
/* A record's values, one for each column. They, and their texts, are valid until the next call. */
const struct nf_value *nf_values_of(struct nf_values *values, const struct nf_flow *record);

/* Records as text in memory, one at a time: what messages carry, and the keys they go by. */
enum nf_message_format {
  NF_MESSAGE_JSON, /* an object as in JSON lines, without the line end */
  NF_MESSAGE_CSV,  /* a row without the line end; there is no header */
  NF_MESSAGE_PLAIN /* the values without quotes or escapes, commas between them */
};
struct nf_message;
/* For records with these columns, which it copies, but for their names. NULL with a one-line reason in `error`. */
struct nf_message *nf_message_new(int format, const struct nf_column *columns, uint32_t count, char *error);
void nf_message_free(struct nf_message *message);
/* A record's text, without an end, and its size. Valid until the next call. */
const char *nf_message_encode(struct nf_message *message, const struct nf_flow *record, size_t *size);

/* ---- models ---- */

/* How a node of a tree compares a feature with its threshold; it is a leaf with none of these. */
enum nf_split {
  NF_SPLIT_LEAF,
  NF_SPLIT_LT,
  NF_SPLIT_LE,
  NF_SPLIT_GT,
  NF_SPLIT_GE,
  NF_SPLIT_EQ,
  NF_SPLIT_NE,
  NF_SPLIT_IN /* a category: whether its number is in a set */
};

/* What a node does with features that are absent (NaN). */
enum nf_absent {
  NF_ABSENT_YES = 1,     /* goes on to `yes` */
  NF_ABSENT_IS_ZERO = 2, /* takes them for 0 */
  NF_ZERO_IS_ABSENT = 4, /* takes 0 for absent: what is at most 1e-35 away from it */
};

/* Categories of a set: 32 * number + i for each bit i. What is large, and alone, takes no more than what is small. */
struct nf_categories {
  uint32_t number, bits;
};

/*
 * A node of a tree. Of a leaf `value` is added to the output `feature`, and so are the values of the `yes - 1` nodes
 * that stand behind it, leaves of outputs of their own, of which each counts those behind itself.
 */
struct nf_tree_node {
  union {
    double threshold; /* compared by split */
    double value;     /* of a leaf */
    struct {
      uint32_t set, words; /* IN: where its set begins in the model's, smallest number first, and of how many words */
    };
  };
  uint32_t feature;
  uint32_t yes, no; /* which nodes come next: both behind this one */
  uint8_t split;    /* enum nf_split */
  uint8_t absent;   /* enum nf_absent */
};

/* What becomes of a model's sums. */
enum nf_link {
  NF_LINK_NONE,
  NF_LINK_LOGISTIC,     /* 1 / (1 + exp(-slope * x)) */
  NF_LINK_SOFTMAX,      /* over all outputs */
  NF_LINK_SOFTMAX_ZERO, /* the same, outputs of 0 left as they are */
  NF_LINK_PROBIT,
  NF_LINK_EXP,
  NF_LINK_LOG1P_EXP,
  NF_LINK_SQUARE, /* with the sign of x */
  NF_LINK_HINGE,  /* 1 above 0, else 0 */
  NF_LINK_COUNT
};

/* What a model is made of. Arrays that are NULL have no part in it. */
struct nf_model_parts {
  uint32_t feature_count, output_count;
  const struct nf_tree_node *nodes;
  uint32_t node_count;
  const uint32_t *trees; /* the first node of each */
  uint32_t tree_count;
  const struct nf_categories *sets;
  uint32_t set_words;
  const double *fills, *offsets, *scales; /* by feature: what absent ones are; then (x - offset) * scale ... */
  const double *shifts;                   /* ... + shift */
  const double *weights;                  /* by output, then by feature */
  const double *base;                     /* by output: what sums begin with; what is added to means, see divisor */
  double divisor;                         /* of what trees add up to, by output; 1 for none */
  double slope;                           /* of the logistic link */
  uint8_t link;                           /* enum nf_link */
  bool is_single;                         /* features and sums are rounded to single precision */
  bool is_normalized;                     /* outputs are divided by the sum of their magnitudes, after the link */
  bool is_even;                           /* and where that is 0, they are 1 / output_count */
};

/* A model of trees, or a linear one, or both. Copies the parts. NULL with a one-line reason in `error` where they do
   not fit together. */
struct nf_model;
struct nf_model *nf_model_new(const struct nf_model_parts *parts, char *error);
void nf_model_free(struct nf_model *model);
/* The outputs of so many rows of features, row by row. Not from two threads at once. */
void nf_model_predict(struct nf_model *model, const double *rows, uint32_t count, double *outputs);

/*
 * Records as rows of numbers: integers and reals as they are, bools as 0 and 1, arrays element by element, NaN for what
 * is absent. Copies the columns. `statistics` is where that section begins (nf_layout), so that flows which still live
 * have deviations, too; 0 where there is none, or only records are read. NULL with a one-line reason in `error`, which
 * is also a column of another type.
 */
struct nf_vector;
struct nf_vector *nf_vector_new(const struct nf_column *columns, uint32_t count, uint32_t statistics, char *error);
void nf_vector_free(struct nf_vector *vector);
void nf_vector_read(const struct nf_vector *vector, const struct nf_flow *record, double *row);

/*
 * A filter for packets in hooks, in libpcap's language. It looks at the innermost IP packet alone (as LINKTYPE_RAW), so
 * that link types and tunnels make no difference: there is no "ether", "vlan" or "inbound" in it. NULL with a one-line
 * reason in `error`, which begins with the expression. Host names are resolved now.
 */
struct nf_filter;
struct nf_filter *nf_filter_new(const char *expression, char *error);
void nf_filter_free(struct nf_filter *filter);
/* Whether it accepts a packet, whose hook has to be running. Allocates nothing. */
bool nf_filter_matches(const struct nf_filter *filter, const struct nf_packet *packet);

/* Random bytes that nobody can foresee. */
void nf_random(void *bytes, size_t size);

/* The key of a mask. It is secret: to be wiped once it has been used. */
struct nf_key {
  uint8_t bytes[64];
  uint32_t size; /* 32 to 64 */
};
/* Reads a file of 32 to 64 bytes. False with a one-line reason in `error`, which is also that everybody may read it. */
bool nf_key_read(struct nf_key *key, const char *path, char *error);
void nf_key_wipe(struct nf_key *key);
/* A shift of times that the key makes: 1 to 2^38 ms (8.7 years). */
int64_t nf_key_shift_ms(const struct nf_key *key);

/* What a mask does with the value of a column. */
enum nf_masking {
  NF_MASK_HASH = 1, /* the keyed BLAKE2b hash of its bare text, in hexadecimal digits: a text behind the record */
  NF_MASK_NAME,     /* the same, but an empty text stays empty */
  NF_MASK_ADDRESS,  /* an IP address that shares as many leading bits with any other as before: Crypto-PAn */
  NF_MASK_MAC,      /* another MAC address, for each one its own; zeros and broadcast stay */
  NF_MASK_DEVICE,   /* the same of its last three bytes: the vendor stays */
  NF_MASK_MOMENT,   /* `shift` ticks later, but `none` stays; never before 1970 */
  NF_MASK_PORT,     /* 0 where it is 32768 or above, which systems choose by themselves */
  NF_MASK_NOTHING   /* zeros: of what no column of the masked record tells */
};

/* One value to mask. */
struct nf_mask_step {
  struct nf_column column; /* in the record */
  uint32_t to;             /* HASH, NAME: where the text and its NUL go, in the masked record */
  uint8_t masking;         /* enum nf_masking */
};

struct nf_mask_options {
  const struct nf_mask_step *steps;
  uint32_t count;
  uint32_t record_size; /* bytes of a record */
  uint32_t size;        /* of a masked one, in which these come first */
  uint32_t hash_size;   /* bytes of a hash, 16 to 64; as text twice as many */
  int64_t shift;        /* of moments, in ticks */
  struct nf_key key;
};

/*
 * Makes of each record a copy in which some values are masked: what a record is to whoever must not see the truth. All
 * is prepared once, from options that it copies, and nothing allocated a record. A mask serves one thread. NULL with a
 * one-line reason in `error`.
 */
struct nf_mask;
struct nf_mask *nf_mask_new(const struct nf_mask_options *options, char *error);
void nf_mask_free(struct nf_mask *mask);
/* Where masked records lie, one after another; the address stays for the mask's life. */
const struct nf_flow *nf_mask_record(const struct nf_mask *mask);
/* Masks a record, which is valid until the next one. */
void nf_mask_apply(struct nf_mask *mask, const struct nf_flow *record);

/* Text forms, as the writers print them. Each returns the length written; `out` needs the size given. */
int nf_format_ip(char *out, const uint8_t *address, int ip_version); /* 46 bytes */
int nf_format_mac(char *out, const uint8_t *address);                /* 18 bytes */
int nf_format_double(char *out, double value);                       /* 32 bytes; shortest text that reads back equal */
const char *nf_end_name(int end_reason);                             /* "idle", "active", ... */
const char *nf_ignored_name(int reason);                             /* "not IP", "truncated", ... */

/*
 * Hashes, by libgcrypt. A handle serves one thread and allocates nothing after it has been made. nf_crypto_new returns
 * NULL with a one-line reason in `error` (may be NULL) where libgcrypt has no memory or lacks an algorithm.
 */
struct nf_crypto;
struct nf_crypto *nf_crypto_new(char *error);
void nf_crypto_free(struct nf_crypto *crypto);
void nf_sha1(struct nf_crypto *crypto, const void *data, size_t size, uint8_t *digest);   /* 20 bytes */
void nf_sha256(struct nf_crypto *crypto, const void *data, size_t size, uint8_t *digest); /* 32 bytes */
/* The same of what comes in pieces, one such hash a handle at a time: begin forgets what came before it. */
void nf_sha256_begin(struct nf_crypto *crypto);
void nf_sha256_add(struct nf_crypto *crypto, const void *data, size_t size);
void nf_sha256_end(struct nf_crypto *crypto, uint8_t *digest); /* 32 bytes */
/*
 * SHA-256 of whole files, begun at once, by a thread of its own, one file after another. `paths` are copied. NULL with
 * a one-line reason in `error` (may be NULL).
 */
struct nf_digests;
struct nf_digests *nf_digests_start(const char *const *paths, uint32_t count, char *error);
/* Waits for one of them: its digest (32 bytes) and size. False for what is no regular file or cannot be read, and where
   the run has been interrupted before it was done. */
bool nf_digests_wait(struct nf_digests *digests, uint32_t index, uint8_t *digest, uint64_t *size);
/* Leaves off what is not done. */
void nf_digests_free(struct nf_digests *digests);
/* Base64 with padding (RFC 4648, section 4) and a NUL, for which `out` needs (size + 2) / 3 * 4 + 1 bytes. Returns the
   length without the NUL. */
size_t nf_base64(char *out, const uint8_t *data, size_t size);

/* Sorts so many numbers of a type, ascending. */
void nf_sort(void *values, uint32_t count, int type);

/*
 * Counts of byte values. `counts` of nf_count_bytes has 256 counters, one for each value; all wrap round at 65536.
 */
void nf_count_bytes(uint16_t *counts, const uint8_t *data, uint32_t size);
uint32_t nf_count_sum(const uint16_t *counts, uint32_t count);
/* So many sums, each of `width` counters that follow each other. */
void nf_count_fold(uint16_t *sums, uint32_t groups, const uint16_t *counts, uint32_t width);
/* Bits of `size` bytes, the highest of each first, as 0 and 1; then -1 for each that is missing of `room` bytes. */
void nf_spread_bits(int8_t *bits, const uint8_t *data, uint32_t size, uint32_t room);
/* Shannon's entropy of what so many counters have counted, in bits; 0 where that is nothing. */
double nf_count_entropy(const uint16_t *counts, uint32_t count);

/*
 * The first bytes of many streams at once, put together from pieces that come in any order, twice or overlapping: what
 * came first at a place stays. Room for all of them is allocated once. A stream goes by a handle above 0 that is never
 * given again; handle % streams says which of 0 .. streams - 1 it takes up.
 */
struct nf_assembly;
/* For so many streams at once, with `room` bytes each (both at least 1; at most 65536 streams and 2^24 bytes). A stream
   of which so many pieces in a row (`patience`) do not lengthen its beginning is given up. NULL when out of memory. */
struct nf_assembly *nf_assembly_new(uint32_t streams, uint32_t room, uint32_t patience);
void nf_assembly_free(struct nf_assembly *assembly);
/* Begins a stream and returns its handle. When all are in use, the one that began first is given up for it. */
int64_t nf_assembly_open(struct nf_assembly *assembly);
/* Adds a piece that stands at `offset`; what lies before 0 or beyond the room is left out. Returns how many bytes there
   are from the beginning without a gap, or NF_END when the stream has been closed or given up, by this call too. */
int64_t nf_assembly_add(struct nf_assembly *assembly, int64_t stream, int64_t offset, const uint8_t *data,
                        uint32_t size);
/* Forgets so many bytes from the beginning, whether they have come or not: what stands behind them is the beginning
   then, at offset 0. Returns how many bytes are kept, those behind gaps too, or NF_END as nf_assembly_add does. */
int64_t nf_assembly_skip(struct nf_assembly *assembly, int64_t stream, uint64_t count);
/* The bytes from the beginning, all that have no gap before them; valid until the stream gets more, is skipped in, or
   ends. NULL when it has ended. */
const uint8_t *nf_assembly_bytes(const struct nf_assembly *assembly, int64_t stream, uint32_t *size);
/* Ends a stream that is open; nothing happens for any other handle. */
void nf_assembly_close(struct nf_assembly *assembly, int64_t stream);
/* How many streams have been given up so far: to make place for others, and for a gap that did not close. */
uint64_t nf_assembly_displaced(const struct nf_assembly *assembly);
uint64_t nf_assembly_gapped(const struct nf_assembly *assembly);

/* A QUIC connection ID; size 0 where there is none. */
struct nf_quic_id {
  uint8_t size;
  uint8_t bytes[20];
};
/* What one CRYPTO frame carries. */
struct nf_quic_crypto {
  const uint8_t *data; /* in the frames given */
  uint32_t size;
  uint32_t offset; /* in the stream of all CRYPTO frames */
  uint32_t next;   /* where to go on; 0 before the first */
};

/* Opens QUIC Initial packets. A handle serves one thread. nf_quic_new as nf_crypto_new. */
struct nf_quic;
struct nf_quic *nf_quic_new(char *error);
void nf_quic_free(struct nf_quic *quic);
/*
 * Opens the Initial packets of a client in a datagram: QUIC version 1 (RFC 9001), 2 (RFC 9369) and drafts 23 to 34. The
 * frames they carry go to `frames`, packet behind packet; with `room` for as many bytes as the datagram has they always
 * fit. Returns their size, 0 when nothing could be opened, which is what any other datagram comes to. `first` is what
 * the keys come from: the destination connection ID of the client's first packet. Its size is 0 until a packet opens,
 * which sets it; give it again for the connection's later datagrams.
 */
uint32_t nf_quic_client_initial(struct nf_quic *quic, const uint8_t *datagram, uint32_t size, struct nf_quic_id *first,
                                uint8_t *frames, uint32_t room);
/* The same for a server's, whose keys come from the same ID, which has to be given. A Retry opens to nothing, but
   `first` is what the client's next packet will have then. */
uint32_t nf_quic_server_initial(struct nf_quic *quic, const uint8_t *datagram, uint32_t size, struct nf_quic_id *first,
                                uint8_t *frames, uint32_t room);
/* The next CRYPTO frame among such frames, or false. What is no frame of an Initial packet ends them. */
bool nf_quic_next_crypto(const uint8_t *frames, uint32_t size, struct nf_quic_crypto *crypto);

/* Small questions to the system. A `file` is one of Lua's, which FFI passes as its FILE pointer. */
double nf_now(void);  /* seconds on a clock that never goes back */
double nf_time(void); /* seconds since 1970 */
bool nf_is_terminal(int descriptor);
bool nf_terminal_size(int descriptor, int *columns, int *lines); /* 0 where a terminal does not know */
bool nf_has_failed(void *file);                                  /* whether writing it has failed before */
int nf_descriptor_of(void *file);

/*
 * Limits on what code of others may take. nf_limit_memory: from now on the process gets at most so many bytes of memory
 * besides what it has; less where it had a lower limit before. NF_OK, or NF_ERR_SYSTEM with a one-line reason in
 * `error`.
 */
int nf_limit_memory(uint64_t bytes, char *error);
/* Which code of others the thread runs that has started the watch. */
struct nf_watch {
  const char *inside; /* whose, as a person names it; NULL while none runs */
  double calls;       /* another number with each call, and with each of nf_crew_next */
};
/* Ends the process, with a line on standard error and status 1, once one call has taken so many seconds of CPU time of
   the calling thread. One watch a process; it has no end. NULL with a one-line reason in `error`. */
struct nf_watch *nf_watch_start(uint32_t seconds, char *error);

/* What the process needs after giving up its privileges. */
enum nf_privilege {
  NF_PRIVILEGE_CAPTURE = 1,   /* open interfaces again: CAP_NET_RAW */
  NF_PRIVILEGE_PROCESSES = 2, /* see other users' sockets in /proc: CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH */
  NF_PRIVILEGE_FILES = 4,     /* write files that are not open yet: no capability */
  NF_PRIVILEGE_IDENTITY = 8,  /* become another user, enter a narrower sandbox: those it has */
  NF_PRIVILEGE_COLLECTOR = 16 /* send to a collector that is connected, and connect to it again: no capability */
};
/*
 * Becomes `user` (a name or number; its primary group, no other groups) for the whole process, and keeps no capability
 * but those asked for (bits of enum nf_privilege) and held before, in this thread and those it makes later. Programs it
 * starts bring no privileges. Whoever is that user already only gives up capabilities. NF_OK, or NF_ERR_SYSTEM with a
 * one-line reason in `error`: no such user, not allowed, kept what should be gone; the process may then be in between
 * and should end.
 */
int nf_privileges_drop(const char *user, int keep, char *error);
/* Whether that can be expected to work, before anything is opened for it. */
int nf_privileges_check(const char *user, char *error);
/*
 * Takes from the process, all its threads and for good, what it does not need: network, programs, other processes,
 * devices, and files that would be written, but for what it shall keep (bits of enum nf_privilege). It may still read
 * files, start threads, and use what is open. What is refused fails with EPERM; calls in the way of another processor
 * end the process. Programs bring no privileges from now on. NF_OK, or NF_ERR_SYSTEM with a one-line reason in `error`,
 * and nothing is taken.
 */
int nf_sandbox_enter(int keep, char *error);

/* Our version, and those of the libraries as they say themselves. Static. */
const char *nf_version(void);
/* What the working tree was when this was built: the commit, with "-dirty" behind it where there was more; "unknown"
   where that was no clone. */
const char *nf_revision(void);
const char *nf_pcap_version(void);
const char *nf_crypto_version(void);
const char *nf_dpi_version(void);
const char *nf_zlib_version(void);
const char *nf_zstd_version(void);
/* Whether the linked nDPI can fill this column of struct nf_l7_extra. */
bool nf_l7_has(const char *column);

/* What this build believes of the shared structs; lib.lua compares. */
struct nf_abi {
  uint32_t version;
  uint32_t packet_size, flow_size, statistics_size, l7_size, l7_extra_size, event_size, options_size, counters_size,
      column_size, layout_size;
};
extern const struct nf_abi nf_abi;
