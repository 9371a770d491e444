-- Output files: core/writer.c.

local ffi = require "ffi"
local C = require "nfengine.lib"
local limit = require "spec.support.limit"
local program = require "spec.support.program"
local rows = require "spec.support.rows"

ffi.cdef [[
int open(const char *path, int flags, ...);
int close(int descriptor);
int dup(int descriptor);
int dup2(int descriptor, int other);
int pipe(int *descriptors);
int fcntl(int descriptor, int command, ...);
int fileno(void *file);
long read(int descriptor, void *buffer, size_t size);
long write(int descriptor, const void *buffer, size_t size);
int fflush(void *file);
int geteuid(void);
typedef struct { const void *data; size_t size, at; } zstd_in;
typedef struct { void *data; size_t size, at; } zstd_out;
void *ZSTD_createDStream(void);
size_t ZSTD_freeDStream(void *stream);
size_t ZSTD_decompressStream(void *stream, zstd_out *out, zstd_in *in);
]]

local O_WRONLY, O_APPEND, F_GETFD, F_GETFL, F_SETFL, O_NONBLOCK = 1, 0x400, 1, 3, 4, 0x800
local SIGPIPE = 13
local IGNORED = ffi.cast("void *", 1)

local message = ffi.new("char[?]", C.NF_ERROR_SIZE)

-- Columns and a record to write: an id and a text that makes the row a bit longer and holds a line end.
local sample = rows.new():add("id", "uint32", 123456):add("text", "text", 'first "line"\nsecond')
local columns, record = sample:c_columns(), sample:record()
local csv_header, csv_row = "id,text\n", '123456,"first ""line""\nsecond"\n'
local json_row = '{"id":123456,"text":"first \\"line\\"\\nsecond"}\n'

local function open(path, format)
  local writer = rows.open(path, format or C.NF_FORMAT_CSV, columns, #sample.columns, message)
  return writer ~= nil and writer or nil, ffi.string(message)
end

local function attach(descriptor, format)
  local to = { descriptor = descriptor }
  return assert(rows.open(to, format or C.NF_FORMAT_CSV, columns, #sample.columns, message))
end

local function write(writer, count) return rows.write(writer, record, count) end

local function close(writer)
  ffi.fill(message, C.NF_ERROR_SIZE)
  return C.nf_writer_close(writer, message), ffi.string(message)
end

describe("a writer", function()
  local path
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  it("writes rows to a file, replacing what was there", function()
    local file = assert(io.open(path, "w"))
    file:write(("x"):rep(1000))
    file:close()
    local writer = assert(open(path))
    assert.equal(C.NF_OK, write(writer, 2))
    assert.same({ C.NF_OK, "" }, { close(writer) })
    assert.equal(csv_header .. csv_row .. csv_row, rows.read_file(path))
  end)

  it("writes many rows", function()
    local writer = assert(open(path))
    assert.equal(C.NF_OK, write(writer, 100000))
    assert.equal(C.NF_OK, (close(writer)))
    assert.is_true(rows.read_file(path) == csv_header .. csv_row:rep(100000))
  end)

  it("writes a header even without rows", function()
    assert.equal(C.NF_OK, (close(assert(open(path)))))
    assert.equal(csv_header, rows.read_file(path))
  end)

  it("hands rows over when flushed", function()
    local writer = assert(open(path, C.NF_FORMAT_JSONL))
    write(writer, 1)
    assert.equal(C.NF_OK, C.nf_writer_flush(writer))
    assert.equal(json_row, rows.read_file(path))
    assert.equal(C.NF_OK, C.nf_writer_flush(writer))
    write(writer, 1)
    close(writer)
    assert.equal(json_row:rep(2), rows.read_file(path))
  end)

  it("leaves an attached descriptor open", function()
    local descriptor = ffi.C.open(path, ffi.cast("int", O_WRONLY))
    assert.equal(C.NF_OK, (close(attach(descriptor))))
    assert.equal(1, tonumber(ffi.C.write(descriptor, "x", 1)))
    ffi.C.close(descriptor)
    assert.equal(csv_header .. "x", rows.read_file(path))
  end)

  it("takes - for standard output and leaves that open", function()
    io.stdout:flush()
    local saved = ffi.C.dup(1)
    local descriptor = ffi.C.open(path, ffi.cast("int", O_WRONLY))
    ffi.C.dup2(descriptor, 1)
    local writer = open("-", C.NF_FORMAT_JSONL)
    local written, status = write(writer, 1), close(writer)
    local is_open = ffi.C.fcntl(1, F_GETFD) >= 0
    ffi.C.dup2(saved, 1)
    ffi.C.close(saved)
    ffi.C.close(descriptor)
    assert.same({ C.NF_OK, C.NF_OK, true }, { written, status, is_open })
    assert.equal(json_row, rows.read_file(path))
  end)

  it("waits for a pipe that does not block", function()
    local reader = assert(io.popen("sleep 0.1; cat > " .. path, "w"))
    local descriptor = ffi.C.fileno(reader)
    local flags = ffi.C.fcntl(descriptor, F_GETFL)
    ffi.C.fcntl(descriptor, F_SETFL, ffi.cast("int", flags + O_NONBLOCK))
    local writer = attach(descriptor)
    assert.equal(C.NF_OK, write(writer, 50000))
    assert.same({ C.NF_OK, "" }, { close(writer) })
    reader:close()
    assert.is_true(rows.read_file(path) == csv_header .. csv_row:rep(50000))
  end)
end)

describe("a writer that cannot write", function()
  local path
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  it("says so when it is opened, naming the file and the reason", function()
    assert.same({ nil, 'cannot write "/": Is a directory' }, { open "/" })
    assert.same({ nil, 'cannot write "/nonexistent/x.csv": No such file or directory' }, { open "/nonexistent/x.csv" })
    assert.same({ nil, 'cannot write "": No such file or directory' }, { open "" })
    if ffi.C.geteuid() ~= 0 then
      assert.same({ nil, 'cannot write "/x.csv": Permission denied' }, { open "/x.csv" })
    end
  end)

  it("keeps the reason in one line of limited length", function()
    local _, reason = open("/" .. ("x"):rep(3000))
    assert.is_true(#reason < C.NF_ERROR_SIZE)
    assert.matches('^cannot write "/x+": File name too long$', reason)
  end)

  it("tells of a full disk at the latest when closed", function()
    local writer = assert(open "/dev/full")
    assert.equal(C.NF_OK, write(writer, 1))
    assert.same({ C.NF_ERR_OUTPUT, 'cannot write "/dev/full": No space left on device' }, { close(writer) })
  end)

  it("stops with the first failure and stays failed", function()
    local writer = assert(open "/dev/full")
    assert.equal(C.NF_ERR_OUTPUT, write(writer, 100000))
    assert.equal(C.NF_ERR_OUTPUT, C.nf_writer_write(writer, record))
    assert.equal(C.NF_ERR_OUTPUT, C.nf_writer_flush(writer))
    assert.is_false(C.nf_writer_is_broken_pipe(writer))
    assert.equal(C.NF_ERR_OUTPUT, C.nf_writer_close(writer, nil))
  end)

  it("names standard output and other descriptors", function()
    local full = ffi.C.open("/dev/full", ffi.cast("int", O_WRONLY))
    local _, reason = close(attach(full))
    assert.equal(("cannot write descriptor %d: No space left on device"):format(full), reason)
    io.stdout:flush()
    local saved = ffi.C.dup(1)
    ffi.C.dup2(full, 1)
    _, reason = close(open "-")
    ffi.C.dup2(saved, 1)
    ffi.C.close(saved)
    ffi.C.close(full)
    assert.equal("cannot write standard output: No space left on device", reason)
  end)

  it("knows when a pipe's reader went away", function()
    local ends = ffi.new "int[2]"
    ffi.C.pipe(ends)
    ffi.C.close(ends[0])
    local before = ffi.C.signal(SIGPIPE, IGNORED)
    local writer = attach(ends[1])
    assert.is_false(C.nf_writer_is_broken_pipe(writer))
    local status = C.nf_writer_flush(writer)
    local is_broken = C.nf_writer_is_broken_pipe(writer)
    local closed, reason = close(writer)
    ffi.C.signal(SIGPIPE, before)
    ffi.C.close(ends[1])
    assert.same({ C.NF_ERR_OUTPUT, true, C.NF_ERR_OUTPUT }, { status, is_broken, closed })
    assert.matches("^cannot write descriptor %d+: Broken pipe$", reason)
  end)

  it("closes nothing for no writer", function()
    assert.equal(C.NF_OK, C.nf_writer_close(nil, nil))
  end)
end)

describe("opening a file anew", function()
  local path, moved
  before_each(function()
    path = os.tmpname()
    moved = path .. ".1"
  end)
  after_each(function()
    os.remove(path)
    os.remove(moved)
  end)

  local function reopen(writer)
    ffi.fill(message, C.NF_ERROR_SIZE)
    return C.nf_writer_reopen(writer, message), ffi.string(message)
  end

  local function write_file(text, mode)
    local file = assert(io.open(path, mode or "w"))
    file:write(text)
    file:close()
  end

  local function open_descriptors()
    return tonumber(program.shell("ls /proc/$PPID/fd | wc -l").out) -- not through a pipe of our own
  end

  it("goes on in a new file where the old one was moved away", function()
    for format, header in pairs { [C.NF_FORMAT_CSV] = csv_header, [C.NF_FORMAT_JSONL] = "" } do
      local row = format == C.NF_FORMAT_CSV and csv_row or json_row
      local writer = assert(open(path, format))
      write(writer, 2)
      os.rename(path, moved)
      assert.same({ C.NF_OK, "" }, { reopen(writer) })
      assert.equal(header .. row:rep(2), rows.read_file(moved))
      write(writer, 3)
      assert.equal(C.NF_OK, (close(writer)))
      assert.equal(header .. row:rep(2), rows.read_file(moved))
      assert.equal(header .. row:rep(3), rows.read_file(path))
    end
  end)

  it("goes on in a new file where the old one was removed", function()
    local writer = assert(open(path))
    os.remove(path)
    assert.same({ C.NF_OK, "" }, { reopen(writer) })
    assert.equal(C.NF_OK, (close(writer)))
    assert.equal(csv_header, rows.read_file(path))
  end)

  it("leaves a file alone that is still in its place, but for flushing", function()
    local writer = assert(open(path))
    for i = 1, 3 do
      write(writer, 1)
      assert.same({ C.NF_OK, "" }, { reopen(writer) })
      assert.equal(csv_header .. csv_row:rep(i), rows.read_file(path))
    end
    close(writer)
    assert.equal(csv_header .. csv_row:rep(3), rows.read_file(path))
  end)

  it("leaves a named pipe alone that is still in its place", function()
    os.remove(path)
    assert(os.execute("mkfifo " .. path) == 0)
    local reader = assert(io.popen(("timeout 10 cat %s > %s"):format(path, moved)))
    local writer = assert(open(path))
    assert.same({ C.NF_OK, "" }, { reopen(writer) })
    write(writer, 1)
    close(writer)
    reader:close()
    assert.equal(csv_header .. csv_row, rows.read_file(moved))
  end)

  it("keeps what it finds in the new file, and goes on behind what is added to it", function()
    local writer = assert(open(path))
    os.rename(path, moved)
    write_file "other\n"
    assert.same({ C.NF_OK, "" }, { reopen(writer) })
    write(writer, 1)
    C.nf_writer_flush(writer)
    write_file("more\n", "a")
    write(writer, 1)
    assert.equal(C.NF_OK, (close(writer)))
    assert.equal("other\n" .. csv_row .. "more\n" .. csv_row, rows.read_file(path))
  end)

  it("writes a header into a new file that is there but empty", function()
    local writer = assert(open(path))
    os.rename(path, moved)
    write_file ""
    assert.same({ C.NF_OK, "" }, { reopen(writer) })
    assert.same({ C.NF_OK, "" }, { reopen(writer) }) -- once
    close(writer)
    assert.equal(csv_header, rows.read_file(path))
  end)

  it("keeps to the old file when there can be no new one", function()
    local folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder) == 0)
    local inside = folder .. "/x.csv"
    local writer = assert(open(inside))
    assert(os.rename(inside, moved))
    assert(os.execute("mkdir " .. inside) == 0)
    write(writer, 1)
    assert.same({ C.NF_ERR_OUTPUT, ('cannot write "%s": Is a directory'):format(inside) }, { reopen(writer) })
    assert.equal(csv_header .. csv_row, rows.read_file(moved))
    assert.equal(C.NF_ERR_OUTPUT, C.nf_writer_reopen(writer, nil))
    assert.equal(C.NF_OK, write(writer, 1))
    assert(os.execute("rmdir " .. inside) == 0)
    assert.same({ C.NF_OK, "" }, { reopen(writer) })
    assert.same({ C.NF_OK, "" }, { close(writer) })
    assert.equal(csv_header .. csv_row:rep(2), rows.read_file(moved))
    assert.equal(csv_header, rows.read_file(inside))
    os.execute("rm -r " .. folder)
  end)

  it("does not need the path afterwards", function()
    local copy = ffi.new("char[?]", #path + 1, path)
    local writer = rows.open(copy, C.NF_FORMAT_CSV, columns, #sample.columns, message)
    ffi.fill(copy, #path)
    os.rename(path, moved)
    assert.same({ C.NF_OK, "" }, { reopen(writer) })
    close(writer)
    assert.equal(csv_header, rows.read_file(path))
  end)

  it("closes the old file", function()
    local writer, before = assert(open(path)), open_descriptors()
    for _ = 1, 5 do
      os.rename(path, moved)
      reopen(writer)
    end
    assert.equal(before, open_descriptors())
    close(writer)
    assert.equal(before - 1, open_descriptors())
  end)

  it("flushes an attached descriptor and keeps it", function()
    local descriptor = ffi.C.open(path, ffi.cast("int", O_WRONLY))
    local writer = attach(descriptor)
    os.rename(path, moved)
    assert.same({ C.NF_OK, "" }, { reopen(writer) })
    assert.equal(csv_header, rows.read_file(moved))
    write(writer, 1)
    close(writer)
    ffi.C.close(descriptor)
    assert.equal(csv_header .. csv_row, rows.read_file(moved))
    assert.is_nil(io.open(path))
  end)

  it("says what did not get out", function()
    local writer = assert(open "/dev/full")
    assert.same({ C.NF_ERR_OUTPUT, 'cannot write "/dev/full": No space left on device' }, { reopen(writer) })
    assert.equal(C.NF_ERR_OUTPUT, C.nf_writer_write(writer, record))
    assert.equal(C.NF_ERR_OUTPUT, (close(writer)))
  end)

  it("takes a partial row back in the new file as well, and no more than that", function()
    local writer = assert(open(path))
    os.rename(path, moved)
    write_file "other\n"
    reopen(writer)
    limit.files(#"other\n" + #csv_row * 2 + 5, function()
      write(writer, 10)
      assert.equal(C.NF_ERR_OUTPUT, C.nf_writer_flush(writer))
    end)
    assert.same({ C.NF_ERR_OUTPUT, ('cannot write "%s": File too large'):format(path) }, { reopen(writer) })
    close(writer)
    assert.equal("other\n" .. csv_row:rep(2), rows.read_file(path))
  end)
end)

describe("a file that gets its name in the end", function()
  local folder, path
  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir " .. folder) == 0)
    path = folder .. "/flows.csv"
  end)
  after_each(function() os.execute("rm -r " .. folder) end)

  local function names()
    local list = {}
    for name in program.shell("ls -A " .. folder).out:gmatch "[^\n]+" do list[#list + 1] = name end
    return list
  end

  local function open_beside(to, format)
    local writer = rows.open({ path = to, descriptor = -1, is_beside = true }, format or C.NF_FORMAT_CSV, columns,
      #sample.columns, message)
    return writer ~= nil and writer or nil, ffi.string(message)
  end

  local function write_file(to, text)
    local file = assert(io.open(to, "w"))
    file:write(text)
    file:close()
  end

  it("is called otherwise until it is complete", function()
    local writer = assert(open_beside(path))
    write(writer, 2)
    C.nf_writer_flush(writer)
    assert.same({ "flows.csv.part" }, names())
    assert.equal(csv_header .. csv_row:rep(2), rows.read_file(path .. ".part"))
    write(writer, 1)
    assert.same({ C.NF_OK, "" }, { close(writer) })
    assert.same({ "flows.csv" }, names())
    assert.equal(csv_header .. csv_row:rep(3), rows.read_file(path))
  end)

  it("leaves what has that name until then", function()
    write_file(path, "earlier")
    write_file(path .. ".part", ("x"):rep(1000))
    local writer = assert(open_beside(path))
    assert.equal("earlier", rows.read_file(path))
    close(writer)
    assert.same({ "flows.csv" }, names())
    assert.equal(csv_header, rows.read_file(path))
  end)

  it("lies where a link leads to", function()
    assert(os.execute("mkdir " .. folder .. "/there") == 0)
    write_file(folder .. "/there/real.csv", "earlier")
    assert(os.execute("ln -s there/real.csv " .. path) == 0)
    close(assert(open_beside(path)))
    assert.same({ "flows.csv", "there" }, names())
    assert.equal("there/real.csv\n", program.shell("readlink " .. path).out)
    assert.equal(csv_header, rows.read_file(folder .. "/there/real.csv"))
  end)

  it("is written in place where it is no regular file", function()
    assert.same({ C.NF_OK, "" }, { close(assert(open_beside "/dev/null")) })
    assert(os.execute("mkfifo " .. path) == 0)
    local reader = assert(io.popen(("timeout 10 cat %s > %s/copy"):format(path, folder)))
    assert.same({ C.NF_OK, "" }, { close(assert(open_beside(path))) })
    reader:close()
    assert.same({ "copy", "flows.csv" }, names())
    assert.equal(csv_header, rows.read_file(folder .. "/copy"))
  end)

  it("is refused by the name it is to have", function()
    assert.same({ nil, 'cannot write "/": Is a directory' }, { open_beside "/" })
    assert.same({ nil, 'cannot write "": No such file or directory' }, { open_beside "" })
    assert.same({ nil, 'cannot write "/nonexistent/x.csv": No such file or directory' },
      { open_beside "/nonexistent/x.csv" })
    if ffi.C.geteuid() ~= 0 then
      write_file(path, "earlier")
      assert(os.execute("chmod a-w " .. path) == 0)
      assert.same({ nil, ('cannot write "%s": Permission denied'):format(path) }, { open_beside(path) })
    end
  end)

  it("gets it with whole rows where it can grow no further", function()
    local reason = limit.files(100010, function()
      local writer = open_beside(path)
      write(writer, 10000)
      return select(2, close(writer))
    end)
    assert.equal(('cannot write "%s": File too large'):format(path), reason)
    assert.same({ "flows.csv" }, names())
    assert.equal(csv_header .. csv_row:rep(math.floor((100010 - #csv_header) / #csv_row)), rows.read_file(path))
  end)

  it("says so where it cannot get it", function()
    local writer = assert(open_beside(path))
    assert(os.execute(("mkdir -p %s/x"):format(path)) == 0)
    assert.same({ C.NF_ERR_OUTPUT, ('cannot write "%s": Is a directory'):format(path) }, { close(writer) })
    assert.same({ "flows.csv", "flows.csv.part" }, names())
  end)

  it("is one run's at a time", function()
    local writer = assert(open_beside(path))
    write(writer, 2)
    assert.same({ nil, ('cannot write "%s": another run is writing it'):format(path) }, { open_beside(path) })
    write(writer, 1)
    assert.same({ C.NF_OK, "" }, { close(writer) })
    assert.equal(csv_header .. csv_row:rep(3), rows.read_file(path))
    close(assert(open_beside(path)))
    assert.equal(csv_header, rows.read_file(path))
  end)

  it("is written through no link, and waits for no pipe", function()
    write_file(folder .. "/another", "another's")
    assert(os.execute(("ln -s another %s.part"):format(path)) == 0)
    assert.same({ nil, ('cannot write "%s": Too many levels of symbolic links'):format(path) }, { open_beside(path) })
    assert.equal("another's", rows.read_file(folder .. "/another"))
    os.remove(path .. ".part")
    assert(os.execute(("mkfifo %s.part"):format(path)) == 0)
    assert.same({ nil, ('cannot write "%s": No such device or address'):format(path) }, { open_beside(path) })
  end)

  it("is no other file's, however often it is to be opened anew", function()
    local writer = assert(open_beside(path))
    os.rename(path .. ".part", path .. ".1")
    assert.equal(C.NF_OK, C.nf_writer_reopen(writer, message))
    assert.same({ "flows.csv.1" }, names())
    close(writer)
  end)
end)

-- What there is of a compressed file unpacked, and whether that is all of it.
local unpack_file = {}

function unpack_file.gzip(path)
  local result = program.shell("gzip -dc < " .. path)
  return result.out, result.status == 0
end

-- The program zstd keeps what it could unpack to itself where more should come.
function unpack_file.zstd(path)
  local packed, parts = rows.read_file(path), {}
  local buffer = ffi.new("char[?]", 65536)
  local stream, input = ffi.gc(C.ZSTD_createDStream(), C.ZSTD_freeDStream), ffi.new("zstd_in", packed, #packed)
  local output, wanted
  repeat
    output = ffi.new("zstd_out", buffer, 65536)
    wanted = tonumber(C.ZSTD_decompressStream(stream, output, input))
    parts[#parts + 1] = ffi.string(buffer, output.at)
  until input.at == input.size and output.at < output.size
  return table.concat(parts), wanted == 0
end

describe("a compressed file", function()
  local path
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  for name, packing in pairs { gzip = C.NF_PACKING_GZIP, zstd = C.NF_PACKING_ZSTD } do
    local function open_packed()
      return assert(rows.open({ path = path, descriptor = -1, packing = packing }, C.NF_FORMAT_CSV, columns,
        #sample.columns, message))
    end

    local function unpacked() return unpack_file[name](path) end

    it("holds the same rows, " .. name, function()
      local writer = open_packed()
      assert.equal(C.NF_OK, write(writer, 100000))
      assert.same({ C.NF_OK, "" }, { close(writer) })
      local text, is_whole = unpacked()
      assert.is_true(is_whole)
      assert.is_true(text == csv_header .. csv_row:rep(100000))
      assert.is_true(#rows.read_file(path) < #text / 50)
    end)

    it("shows what has been flushed, " .. name, function()
      local writer = open_packed()
      write(writer, 3)
      assert.equal(C.NF_OK, C.nf_writer_flush(writer))
      local text, is_whole = unpacked()
      assert.same({ csv_header .. csv_row:rep(3), false }, { text, is_whole })
      close(writer)
      assert.is_true((select(2, unpacked())))
    end)

    it("ends with whole rows where it can grow no further, " .. name, function()
      for size = 1, 8000, 1777 do
        local reason, counted = "", 0
        limit.files(size, function()
          local writer = open_packed()
          for _ = 1, 30 do -- of texts that do not get much smaller
            write(writer, 1)
            C.nf_writer_flush(writer)
          end
          write(writer, 2000000)
          C.nf_writer_finish(writer)
          counted = tonumber(C.nf_writer_rows(writer))
          reason = select(2, close(writer))
        end)
        assert.equal(('cannot write "%s": File too large'):format(path), reason)
        assert.is_true((unpacked()) == (counted > 0 and csv_header .. csv_row:rep(counted) or ""), "size " .. size)
      end
    end)

    it("goes on in another, " .. name, function()
      local writer, moved = open_packed(), path .. ".1"
      write(writer, 2)
      os.rename(path, moved)
      assert.equal(C.NF_OK, C.nf_writer_reopen(writer, message))
      write(writer, 1)
      assert.same({ C.NF_OK, "" }, { close(writer) })
      assert.same({ csv_header .. csv_row, true }, { unpacked() })
      os.rename(moved, path)
      assert.same({ csv_header .. csv_row:rep(2), true }, { unpacked() })
    end)
  end
end)

describe("a file that is opened in two steps", function()
  local path
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function adopt(descriptor)
    local to = { path = path, descriptor = descriptor }
    return assert(rows.open(to, C.NF_FORMAT_CSV, columns, #sample.columns, message))
  end

  it("keeps what is in it until the second", function()
    local file = assert(io.open(path, "w"))
    file:write(("x"):rep(1000))
    file:close()
    local descriptor = C.nf_writer_reserve(path, message)
    assert.equal(("x"):rep(1000), rows.read_file(path))
    local writer = adopt(descriptor)
    write(writer, 2)
    assert.same({ C.NF_OK, "" }, { close(writer) })
    assert.equal(csv_header .. csv_row .. csv_row, rows.read_file(path))
    assert.equal(-1, ffi.C.fcntl(descriptor, F_GETFD))
  end)

  it("is made by the first, and can be opened anew like any other", function()
    os.remove(path)
    local writer = adopt(C.nf_writer_reserve(path, message))
    os.remove(path)
    assert.equal(C.NF_OK, C.nf_writer_reopen(writer, message))
    assert.same({ C.NF_OK, "" }, { close(writer) })
    assert.equal(csv_header, rows.read_file(path))
  end)

  it("may be a device or a pipe", function()
    assert.same({ C.NF_OK, "" }, { close(adopt(C.nf_writer_reserve("/dev/null", message))) })
    os.remove(path)
    local moved = path .. ".1"
    assert(os.execute("mkfifo " .. path) == 0)
    local reader = assert(io.popen(("timeout 10 cat %s > %s"):format(path, moved)))
    assert.same({ C.NF_OK, "" }, { close(adopt(C.nf_writer_reserve(path, message))) })
    reader:close()
    assert.equal(csv_header, rows.read_file(moved))
    os.remove(moved)
  end)

  it("is refused by the first where it cannot be written, and stays the caller's where the second fails", function()
    assert.equal(-1, C.nf_writer_reserve("/", message))
    assert.equal('cannot write "/": Is a directory', ffi.string(message))
    local descriptor = C.nf_writer_reserve(path, message)
    local writer = rows.open({ path = path, descriptor = descriptor }, C.NF_FORMAT_CSV, columns, 0, message)
    assert.is_true(writer == nil)
    assert.equal("an output without columns, expected at least one", ffi.string(message))
    assert.equal(0, ffi.C.close(descriptor))
  end)
end)

describe("a file that can grow no further", function()
  local path
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function check_ends_with_whole_row(format, header, row, size)
    local reason = limit.files(size, function()
      local writer = open(path, format)
      write(writer, 10000)
      return select(2, close(writer))
    end)
    assert.equal(('cannot write "%s": File too large'):format(path), reason)
    local whole = size < #header and 0 or math.floor((size - #header) / #row)
    assert.is_true(rows.read_file(path) == (size < #header and "" or header .. row:rep(whole)), "size " .. size)
  end

  it("ends with a whole row, CSV", function()
    for size = 100000, 100000 + #csv_row do check_ends_with_whole_row(C.NF_FORMAT_CSV, csv_header, csv_row, size) end
    for size = 1, 50 do check_ends_with_whole_row(C.NF_FORMAT_CSV, csv_header, csv_row, size) end
  end)

  it("ends with a whole row, JSON", function()
    for size = 100000, 100000 + #json_row do check_ends_with_whole_row(C.NF_FORMAT_JSONL, "", json_row, size) end
  end)

  it("keeps what was in it before an attached writer", function()
    local file = assert(io.open(path, "w"))
    file:write("earlier\n")
    file:close()
    limit.files(#"earlier\n" + #csv_header + 5, function()
      local descriptor = ffi.C.open(path, ffi.cast("int", O_WRONLY + O_APPEND))
      local writer = attach(descriptor)
      write(writer, 1)
      close(writer)
      ffi.C.close(descriptor)
    end)
    assert.equal("earlier\n" .. csv_header, rows.read_file(path))
  end)
end)

describe("opening a writer", function()
  local function refusal(list, count, format)
    local writer = rows.open({ descriptor = 1 }, format or C.NF_FORMAT_CSV, list, count, message)
    assert(writer == nil)
    return ffi.string(message)
  end

  it("refuses columns that cannot be written", function()
    local broken = ffi.new("struct nf_column[1]", { { "x", 0, 1, 99, false } })
    assert.equal('column "x": unknown type 99, expected one of enum nf_type', refusal(broken, 1))
    broken[0].type = 0
    assert.equal('column "x": unknown type 0, expected one of enum nf_type', refusal(broken, 1))
    broken[0].type, broken[0].is_array = C.NF_TYPE_TEXT, true
    assert.equal('column "x": an array of type 12, expected numbers', refusal(broken, 1))
    broken[0].is_array, broken[0].length = false, 2 ^ 32 - 1
    assert.equal('column "x": rows would need more than 1073741824 bytes', refusal(broken, 1))
    assert.equal("an output without columns, expected at least one", refusal(broken, 0))
    assert.equal("unknown output format 9, expected one of enum nf_format", refusal(columns, 2, 9))
  end)

  it("leaves the file alone when it refuses", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write "kept"
    file:close()
    assert.is_nil((open(path, 9)))
    assert.equal("kept", rows.read_file(path))
    os.remove(path)
  end)

  it("does not need the columns afterwards, only their names", function()
    local path = os.tmpname()
    local list = sample:c_columns()
    local writer = rows.open(path, C.NF_FORMAT_JSONL, list, #sample.columns, message)
    ffi.fill(list, ffi.sizeof(list))
    assert.equal(C.NF_OK, write(writer, 1))
    assert.equal(C.NF_OK, (close(writer)))
    assert.equal(json_row, rows.read_file(path))
    os.remove(path)
  end)
end)
