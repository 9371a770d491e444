-- core/quic.c: the packets that RFC 9001 and RFC 9369 show, packets made here, and what anybody might send.

local ffi = require "ffi"
local C = require "nfengine.lib"
local P = require "nfengine.testing.packet"
local quic = require "spec.support.quic"
local random = require "spec.support.random"

-- Every datagram ends where a page ends that cannot be read beyond, and begins behind one that cannot be read.
ffi.cdef [[
void *mmap(void *address, size_t length, int protection, int flags, int descriptor, long offset);
int mprotect(void *address, size_t length, int protection);
]]
local ROOM, PAGE = 64 * 1024, 4096
local READ_WRITE, NONE, PRIVATE_ANONYMOUS = 3, 0, 0x22
local function walled()
  local room = ffi.cast("uint8_t *", ffi.C.mmap(nil, ROOM + PAGE, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0))
  assert(ffi.C.mprotect(room + ROOM, PAGE, NONE) == 0)
  return room + ROOM
end
local input_end, output_end = walled(), walled()

local function new_handle()
  local reason = ffi.new("char[?]", C.NF_ERROR_SIZE)
  local handle = C.nf_quic_new(reason)
  assert(handle ~= nil, ffi.string(reason))
  return ffi.gc(handle, C.nf_quic_free)
end

local handle = new_handle()

local function new_id(bytes)
  local made = ffi.new "struct nf_quic_id"
  made.size = #(bytes or "")
  ffi.copy(made.bytes, bytes or "", made.size)
  return made
end

local function id_text(id) return ffi.string(id.bytes, id.size) end

-- The frames that a datagram's Initial packets carry, "" when none opens.
local function open(datagram, first, room, opening)
  local data = input_end - #datagram
  ffi.copy(data, datagram, #datagram)
  room = room or #datagram
  local frames = output_end - room
  local size = (opening or C.nf_quic_client_initial)(handle, data, #datagram, first or new_id(), frames, room)
  assert(size <= room)
  return ffi.string(frames, size)
end

-- What the CRYPTO frames among these carry: a list of { offset, data }.
local function crypto_frames(frames)
  local data = input_end - #frames
  ffi.copy(data, frames, #frames)
  local list, frame = {}, ffi.new "struct nf_quic_crypto"
  while C.nf_quic_next_crypto(data, #frames, frame) do
    list[#list + 1] = { frame.offset, ffi.string(frame.data, frame.size) }
  end
  return list
end

-- Appendix A.2 of both documents: the same frames, 1162 bytes of them, from a client that chose this ID.
local ID = P.hex "8394c8f03e515708"
local FRAMES = P.hex [[
060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c000
000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e00050005010000
0000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d00
10000e0403050306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ff
ff0801100104800075300901100f088394c8f03e51570806048000ffff]] .. ("\0"):rep(917)

local RFC_9001 = P.hex [[
c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9bd8bab936b47d92ec356c0bab7df5
976d27cd449f63300099f3991c260ec4c60d17b31f8429157bb35a1282a643a8d2262cad67500cadb8e7378c8eb7539ec4d4905f
ed1bee1fc8aafba17c750e2c7ace01e6005f80fcb7df621230c83711b39343fa028cea7f7fb5ff89eac2308249a02252155e2347
b63d58c5457afd84d05dfffdb20392844ae812154682e9cf012f9021a6f0be17ddd0c2084dce25ff9b06cde535d0f920a2db1bf3
62c23e596d11a4f5a6cf3948838a3aec4e15daf8500a6ef69ec4e3feb6b1d98e610ac8b7ec3faf6ad760b7bad1db4ba3485e8a94
dc250ae3fdb41ed15fb6a8e5eba0fc3dd60bc8e30c5c4287e53805db059ae0648db2f64264ed5e39be2e20d82df566da8dd5998c
cabdae053060ae6c7b4378e846d29f37ed7b4ea9ec5d82e7961b7f25a9323851f681d582363aa5f89937f5a67258bf63ad6f1a0b
1d96dbd4faddfcefc5266ba6611722395c906556be52afe3f565636ad1b17d508b73d8743eeb524be22b3dcbc2c7468d54119c74
68449a13d8e3b95811a198f3491de3e7fe942b330407abf82a4ed7c1b311663ac69890f4157015853d91e923037c227a33cdd5ec
281ca3f79c44546b9d90ca00f064c99e3dd97911d39fe9c5d0b23a229a234cb36186c4819e8b9c5927726632291d6a418211cc29
62e20fe47feb3edf330f2c603a9d48c0fcb5699dbfe5896425c5bac4aee82e57a85aaf4e2513e4f05796b07ba2ee47d80506f8d2
c25e50fd14de71e6c418559302f939b0e1abd576f279c4b2e0feb85c1f28ff18f58891ffef132eef2fa09346aee33c28eb130ff2
8f5b766953334113211996d20011a198e3fc433f9f2541010ae17c1bf202580f6047472fb36857fe843b19f5984009ddc324044e
847a4f4a0ab34f719595de37252d6235365e9b84392b061085349d73203a4a13e96f5432ec0fd4a1ee65accdd5e3904df54c1da5
10b0ff20dcc0c77fcb2c0e0eb605cb0504db87632cf3d8b4dae6e705769d1de354270123cb11450efc60ac47683d7b8d0f811365
565fd98c4c8eb936bcab8d069fc33bd801b03adea2e1fbc5aa463d08ca19896d2bf59a071b851e6c239052172f296bfb5e724047
90a2181014f3b94a4e97d117b438130368cc39dbb2d198065ae3986547926cd2162f40a29f0c3c8745c0f50fba3852e566d44575
c29d39a03f0cda721984b6f440591f355e12d439ff150aab7613499dbd49adabc8676eef023b15b65bfc5ca06948109f23f350db
82123535eb8a7433bdabcb909271a6ecbcb58b936a88cd4e8f2e6ff5800175f113253d8fa9ca8885c2f552e657dc603f252e1a8e
308f76f0be79e2fb8f5d5fbbe2e30ecadd220723c8c0aea8078cdfcb3868263ff8f0940054da48781893a7e49ad5aff4af300cd8
04a6b6279ab3ff3afb64491c85194aab760d58a606654f9f4400e8b38591356fbf6425aca26dc85244259ff2b19c41b9f96f3ca9
ec1dde434da7d2d392b905ddf3d1f9af93d1af5950bd493f5aa731b4056df31bd267b6b90a079831aaf579be0a39013137aac6d4
04f518cfd46840647e78bfe706ca4cf5e9c5453e9f7cfd2b8b4c8d169a44e55c88d4a9a7f9474241e221af44860018ab0856972e
194cd934]]

local RFC_9369 = P.hex [[
d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071bf03dceebfa162e75d6c96058bdb
fb127cdfcbf903388e99ad049f9a3dd4425ae4d0992cfff18ecf0fdb5a842d09747052f17ac2053d21f57c5d250f2c4f0e0202b7
0785b7946e992e58a59ac52dea6774d4f03b55545243cf1a12834e3f249a78d395e0d18f4d766004f1a2674802a747eaa901c3f1
0cda5500cb9122faa9f1df66c392079a1b40f0de1c6054196a11cbea40afb6ef5253cd6818f6625efce3b6def6ba7e4b37a40f77
32e093daa7d52190935b8da58976ff3312ae50b187c1433c0f028edcc4c2838b6a9bfc226ca4b4530e7a4ccee1bfa2a3d396ae5a
3fb512384b2fdd851f784a65e03f2c4fbe11a53c7777c023462239dd6f7521a3f6c7d5dd3ec9b3f233773d4b46d23cc375eb198c
63301c21801f6520bcfb7966fc49b393f0061d974a2706df8c4a9449f11d7f3d2dcbb90c6b877045636e7c0c0fe4eb0f69754546
0c806910d2c355f1d253bc9d2452aaa549e27a1fac7cf4ed77f322e8fa894b6a83810a34b361901751a6f5eb65a0326e07de7c12
16ccce2d0193f958bb3850a833f7ae432b65bc5a53975c155aa4bcb4f7b2c4e54df16efaf6ddea94e2c50b4cd1dfe06017e0e9d0
2900cffe1935e0491d77ffb4fdf85290fdd893d577b1131a610ef6a5c32b2ee0293617a37cbb08b847741c3b8017c25ca9052ca1
079d8b78aebd47876d330a30f6a8c6d61dd1ab5589329de714d19d61370f8149748c72f132f0fc99f34d766c6938597040d8f9e2
bb522ff99c63a344d6a2ae8aa8e51b7b90a4a806105fcbca31506c446151adfeceb51b91abfe43960977c87471cf9ad4074d30e1
0d6a7f03c63bd5d4317f68ff325ba3bd80bf4dc8b52a0ba031758022eb025cdd770b44d6d6cf0670f4e990b22347a7db848265e3
e5eb72dfe8299ad7481a408322cac55786e52f633b2fb6b614eaed18d703dd84045a274ae8bfa73379661388d6991fe39b0d93de
bb41700b41f90a15c4d526250235ddcd6776fc77bc97e7a417ebcb31600d01e57f32162a8560cacc7e27a096d37a1a86952ec71b
d89a3e9a30a2a26162984d7740f81193e8238e61f6b5b984d4d3dfa033c1bb7e4f0037febf406d91c0dccf32acf423cfa1e70710
10d3f270121b493ce85054ef58bada42310138fe081adb04e2bd901f2f13458b3d6758158197107c14ebb193230cd1157380aa79
cae1374a7c1e5bbcb80ee23e06ebfde206bfb0fcbc0edc4ebec309661bdd908d532eb0c6adc38b7ca7331dce8dfce39ab71e7c32
d318d136b6100671a1ae6a6600e3899f31f0eed19e3417d134b90c9058f8632c798d4490da4987307cba922d61c39805d072b589
bd52fdf1e86215c2d54e6670e07383a27bbffb5addf47d66aa85a0c6f9f32e59d85a44dd5d3b22dc2be80919b490437ae4f36a0a
e55edf1d0b5cb4e9a3ecabee93dfc6e38d209d0fa6536d27a5d6fbb17641cde27525d61093f1b28072d111b2b4ae5f89d5974ee1
2e5cf7d5da4d6a31123041f33e61407e76cffcdcfd7e19ba58cf4b536f4c4938ae79324dc402894b44faf8afbab35282ab659d13
c93f70412e85cb199a37ddec600545473cfb5a05e08d0b209973b2172b4d21fb69745a262ccde96ba18b2faa745b6fe189cf772a
9f84cbfc]]

-- Appendix A.3 of RFC 9001: what the server answers.
local SERVER_FRAMES = P.hex [[
02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf73988cfc79825df566dc5430b9a045a1200130100002e0033
0024001d00209d3c940d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00020304]]
local RFC_9001_SERVER = P.hex [[
cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f5ede4c
f73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7a
af2f58891850abbdca3d20398c276456cbc42158407dd074ee]]

describe("nf_quic_client_initial", function()
  it("opens what RFC 9001 shows", function()
    local first = new_id()
    assert.are.equal(FRAMES, open(RFC_9001, first))
    assert.are.equal(ID, id_text(first))
  end)

  it("opens what RFC 9369 shows, of version 2", function()
    assert.are.equal(FRAMES, open(RFC_9369))
  end)

  it("opens what its own specs make as these documents say", function()
    local fields = { dcid = ID, number = 2, number_size = 4, frames = FRAMES }
    assert.are.equal(RFC_9001, quic.initial(fields))
    fields.version = quic.VERSION_2
    assert.are.equal(RFC_9369, quic.initial(fields))
  end)

  it("opens drafts 23 to 34, and no other version", function()
    local made
    for _, draft in ipairs { 23, 28, 29, 32, 33, 34 } do
      made = quic.initial { version = 0xff000000 + draft, dcid = ID, frames = FRAMES }
      assert.are.equal(FRAMES, open(made):sub(1, #FRAMES))
    end
    for _, version in ipairs { 0, 2, 0xff000016, 0xff000023, 0x51303530, 0x1a2a3a4a } do
      assert.are.equal("", open(made:sub(1, 1) .. P.u32(version) .. made:sub(6)))
    end
  end)

  it("does not open what servers send, with the client's keys or without", function()
    assert.are.equal("", open(RFC_9001_SERVER))
    assert.are.equal("", open(RFC_9001_SERVER, new_id(ID)))
  end)

  it("opens packets with numbers of any length, tokens and source IDs", function()
    for number_size = 1, 4 do
      for _, token in ipairs { "", "t", ("token"):rep(40) } do
        local made = quic.initial {
          dcid = ("d"):rep(8 + number_size * 3), scid = ("s"):rep(number_size * 5), token = token,
          number = 0xfedcba98 % 256 ^ number_size, number_size = number_size, frames = "\1" .. quic.crypto(5, "hello"),
        }
        assert.are.equal(1200, #made)
        local frames = open(made)
        assert.are.equal("\1\6\5\5hello\0", frames:sub(1, 10))
        assert.are.same({ { 5, "hello" } }, crypto_frames(frames))
      end
    end
  end)

  it("opens all Initial packets of a datagram, whatever stands between and behind", function()
    local function initial(number, text)
      return quic.initial { dcid = ID, number = number, frames = quic.crypto(number * 4, text), size = 100 }
    end
    local datagram = initial(0, "zero") .. quic.long { type = 1, dcid = ID, rest = ("x"):rep(30) } .. initial(1, "one.")
      .. quic.long { type = 2, dcid = ID, rest = "" } .. initial(2, "two.") .. "\64 a packet with a short header"
    assert.are.same({ { 0, "zero" }, { 4, "one." }, { 8, "two." } }, crypto_frames(open(datagram)))
  end)

  it("opens what stands before a packet that was cut", function()
    local whole = quic.initial { dcid = ID, frames = quic.crypto(0, "first"), size = 100 }
    for cut = 0, 99 do
      assert.are.same({ { 0, "first" } }, crypto_frames(open(whole .. whole:sub(1, cut))))
    end
  end)

  it("goes on with the keys of the first packet when the server has named another ID", function()
    local first = new_id()
    assert.is_true(open(quic.initial { dcid = ID, frames = quic.crypto(0, "one") }, first) ~= "")
    for _, chosen in ipairs { "", "s", "server's", ("s"):rep(20) } do
      local datagram = quic.initial { dcid = chosen, keys_of = ID, frames = quic.crypto(3, "two") }
      assert.are.same({ { 3, "two" } }, crypto_frames(open(datagram, first)))
      assert.are.equal(ID, id_text(first))
      assert.are.equal("", open(datagram))
    end
  end)

  it("takes new keys when a client begins anew by a Retry", function()
    local first = new_id(ID)
    local again = quic.initial { dcid = "by the server", token = "retry", frames = quic.crypto(0, "again") }
    assert.are.same({ { 0, "again" } }, crypto_frames(open(again, first)))
    assert.are.equal("by the server", id_text(first))
  end)

  it("does not take an ID for a first one that a client may not choose", function()
    assert.are.equal("", open(quic.initial { dcid = "seven..", frames = quic.crypto(0, "x") }))
    assert.is_true(open(quic.initial { dcid = "eight...", frames = quic.crypto(0, "x") }) ~= "")
  end)

  it("does not open what lacks the mark of a long header or of QUIC", function()
    for _, mark in ipairs { 0x80, 0x40 } do
      assert.are.equal("", open(quic.initial { dcid = ID, frames = quic.crypto(0, "x"), mark = mark }))
    end
  end)

  it("leaves the first ID alone when nothing opens", function()
    local broken = RFC_9001:sub(1, -2) .. "\0"
    local first = new_id()
    assert.are.equal("", open(broken, first))
    assert.are.equal(0, first.size)
    first.size = 255 -- nonsense counts as none
    assert.are.equal(FRAMES, open(RFC_9001, first))
    assert.are.equal(ID, id_text(first))
  end)

  it("opens nothing of which any byte is another", function()
    for at = 1, #RFC_9001, 7 do
      local byte = string.char((RFC_9001:byte(at) + 1) % 256)
      assert.are.equal("", open(RFC_9001:sub(1, at - 1) .. byte .. RFC_9001:sub(at + 1)))
    end
  end)

  it("opens nothing that was cut, and reads nothing behind the cut", function()
    for size = 0, #RFC_9001 - 1 do assert.are.equal("", open(RFC_9001:sub(1, size))) end
    local short = quic.initial { dcid = ID, token = "token", scid = "s", frames = quic.crypto(0, "x"), size = 70 }
    assert.is_true(open(short) ~= "")
    for size = 0, #short - 1 do assert.are.equal("", open(short:sub(1, size))) end
  end)

  it("writes no more than there is room for", function()
    assert.are.equal(FRAMES, open(RFC_9001, nil, #FRAMES))
    for _, room in ipairs { 0, 1, #FRAMES - 1 } do assert.are.equal("", open(RFC_9001, nil, room)) end
    local two = quic.initial { dcid = ID, frames = quic.crypto(0, "one"), size = 100 }
      .. quic.initial { dcid = ID, frames = quic.crypto(3, "two"), size = 200 }
    assert.are.same({ { 0, "one" } }, crypto_frames(open(two, nil, 150)))
  end)

  it("takes a packet of the least size that can be protected", function()
    -- Length counts number and payload: 4 bytes of these and 16 of the tag are the sample's end.
    local size = #quic.initial { dcid = ID, frames = "\1\1\1", size = 0 }
    assert.are.equal("\1\1\1", open(quic.initial { dcid = ID, frames = "\1\1\1", size = size }))
  end)

  it("makes nothing of random bytes, with a header that fits or not", function()
    random.trial(function(below)
      for _ = 1, 500 do
        local bytes = {}
        for i = 1, 20 + below(200) do bytes[i] = string.char(below(256)) end
        local text = table.concat(bytes)
        assert.are.equal("", open(text))
        assert.are.equal("", open("\xc3\0\0\0\1\8" .. text, new_id(ID)))
        assert.are.equal("", open("\xd3\x6b\x33\x43\xcf\8" .. text:sub(1, 8) .. "\0\0" .. text:sub(9)))
      end
    end)
  end)

  it("makes nothing of lengths that are not there", function()
    local header = "\xc0\0\0\0\1\8" .. ID .. "\0"
    local rest = ("x"):rep(40)
    for _, length in ipairs { 0, 1, 19, 20, 41, 16383, 2 ^ 30 - 1, 2 ^ 32 + 20, 2 ^ 52 } do
      assert.are.equal("", open(header .. "\0" .. quic.integer(length) .. rest))
      assert.are.equal("", open(header .. quic.integer(length) .. rest))
    end
    assert.are.equal("", open("\xc0\0\0\0\1\21" .. ("x"):rep(200)))
    assert.are.equal("", open("\xc0\0\0\0\1\8" .. ID .. "\21" .. ("x"):rep(200)))
  end)
end)

describe("nf_quic_server_initial", function()
  local function open_servers(datagram, first, room) return open(datagram, first, room, C.nf_quic_server_initial) end

  it("opens what RFC 9001 shows", function()
    local first = new_id(ID)
    assert.are.equal(SERVER_FRAMES, open_servers(RFC_9001_SERVER, first))
    assert.are.equal(ID, id_text(first))
  end)

  it("opens what its own specs make as that document says", function()
    local fields = { dcid = "", scid = P.hex "f067a5502a4262b5", keys_of = ID, is_servers = true, number = 1,
      number_size = 2, frames = SERVER_FRAMES, size = #RFC_9001_SERVER }
    assert.are.equal(RFC_9001_SERVER, quic.initial(fields))
    for _, version in ipairs { quic.VERSION_2, 0xff00001d } do
      fields.version = version
      assert.are.equal(SERVER_FRAMES, open_servers(quic.initial(fields), new_id(ID)))
    end
  end)

  it("opens what lacks the mark of QUIC, as RFC 9287 lets servers do", function()
    local made = quic.initial { dcid = "", keys_of = ID, is_servers = true, mark = 0x80, frames = quic.crypto(0, "x") }
    assert.are.same({ { 0, "x" } }, crypto_frames(open_servers(made, new_id(ID))))
    made = quic.initial { dcid = "", keys_of = ID, is_servers = true, mark = 0x40, frames = quic.crypto(0, "x") }
    assert.are.equal("", open_servers(made, new_id(ID)))
  end)

  it("opens nothing without the client's ID or with another one, and nothing of the client's", function()
    for _, other in ipairs { "", "8 bytes.", ID .. "x" } do
      assert.are.equal("", open_servers(RFC_9001_SERVER, new_id(other)))
    end
    assert.are.equal("", open_servers(RFC_9001, new_id(ID)))
    local nonsense = new_id(ID)
    nonsense.size = 21
    assert.are.equal("", open_servers(RFC_9001_SERVER, nonsense))
  end)

  it("opens all Initial packets of a datagram, and writes no more than there is room for", function()
    local function initial(number, text)
      return quic.initial { dcid = "", keys_of = ID, is_servers = true, number = number, size = 100,
        frames = quic.crypto(number * 4, text) }
    end
    local datagram = initial(0, "zero") .. quic.long { type = 2, dcid = "", rest = ("x"):rep(30) } .. initial(1, "one.")
    assert.are.same({ { 0, "zero" }, { 4, "one." } }, crypto_frames(open_servers(datagram, new_id(ID))))
    assert.are.same({ { 0, "zero" } }, crypto_frames(open_servers(datagram, new_id(ID), 120)))
    for size = 0, #datagram - 1 do open_servers(datagram:sub(1, size), new_id(ID)) end
  end)

  it("takes a Retry's ID for that of the keys to come", function()
    for _, version in ipairs { 1, quic.VERSION_2 } do
      local first = new_id(ID)
      local type = version == 1 and 3 or 0
      local retry = string.char(0xc0 + type * 16) .. P.u32(version) .. "\0\13by the server" .. "token" .. ("t"):rep(16)
      assert.are.equal("", open_servers(retry, first))
      assert.are.equal("by the server", id_text(first))
      for size = 0, 19 do
        local before = new_id(ID)
        open_servers(retry:sub(1, size), before)
        assert.are.equal(size < 20 and ID, id_text(before))
      end
    end
    local first = new_id(ID)
    open_servers("\xf0\0\0\0\1\0\0", first) -- without one
    assert.are.equal(ID, id_text(first))
  end)

  it("makes nothing of random bytes", function()
    random.trial(function(below)
      for _ = 1, 300 do
        local bytes = {}
        for i = 1, 20 + below(200) do bytes[i] = string.char(below(256)) end
        assert.are.equal("", open_servers("\xc3\0\0\0\1\0\8" .. table.concat(bytes), new_id(ID)))
      end
    end)
  end)
end)

describe("nf_quic_next_crypto", function()
  it("finds CRYPTO frames among all that an Initial packet may hold", function()
    local ack = "\2" .. quic.integer(1000) .. quic.integer(70) .. quic.integer(2) .. quic.integer(0)
      .. ("\1"):rep(4)
    local ack_ecn = "\3" .. ack:sub(2) .. "\0\1\2"
    local close = "\28" .. quic.integer(10) .. quic.integer(6) .. quic.integer(3) .. "bye"
    local frames = "\0\0\1" .. quic.crypto(0, "a") .. ack .. quic.crypto(1, "bc") .. ack_ecn .. "\0"
      .. quic.crypto(100000, "") .. close .. quic.crypto(70, ("x"):rep(70)) .. "\0"
    assert.are.same({ { 0, "a" }, { 1, "bc" }, { 100000, "" }, { 70, ("x"):rep(70) } }, crypto_frames(frames))
  end)

  it("ends at what is none of them", function()
    for _, frame in ipairs { "\4", "\5", "\7", "\8", "\29", "\30", "\64\200", "\255" } do
      assert.are.same({ { 0, "a" } }, crypto_frames(quic.crypto(0, "a") .. frame .. quic.crypto(1, "b")))
    end
  end)

  it("ends at a frame that is not all there", function()
    local ack = "\2\0\0\1\0\0\0"
    local close = "\28\10\6\3bye"
    for _, frame in ipairs { quic.crypto(1000, "hello"), ack, "\3" .. ack:sub(2) .. "\0\0\0", close } do
      for size = 0, #frame - 1 do
        assert.are.same({ { 0, "a" } }, crypto_frames(quic.crypto(0, "a") .. frame:sub(1, size)))
      end
    end
  end)

  it("ends at numbers that cannot be meant", function()
    local huge = quic.integer(2 ^ 52)
    for _, frame in ipairs { "\6" .. huge .. "\1x", "\6\0" .. huge .. "x", "\2\0\0" .. huge .. "\0" } do
      assert.are.same({}, crypto_frames(frame .. ("\0"):rep(100)))
    end
  end)
end)
