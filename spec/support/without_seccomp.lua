-- Runs a command as on a kernel without seccomp: luajit without_seccomp.lua COMMAND WORD... A filter by hand, for
-- x86-64, lets seccomp(2) and the prctl of the same kind fail as they do there.

local ffi = require "ffi"

ffi.cdef [[
struct instruction { uint16_t code; uint8_t if_true, if_false; uint32_t value; };
struct code { unsigned short count; const struct instruction *instructions; };
int prctl(int, ...);
int execvp(const char *, const char *const *);
]]

local LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
local NUMBER, ARGUMENT = 0, 16 -- offsets in struct seccomp_data
local PRCTL, SECCOMP = 157, 317
local PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
local ALLOW, FAIL, EINVAL, ENOSYS = 0x7fff0000, 0x00050000, 22, 38

local instructions = ffi.new("const struct instruction[9]", {
  { LOAD, 0, 0, NUMBER },
  { IF_EQUAL, 2, 0, SECCOMP },
  { IF_EQUAL, 2, 0, PRCTL },
  { RETURN, 0, 0, ALLOW },
  { RETURN, 0, 0, FAIL + ENOSYS },
  { LOAD, 0, 0, ARGUMENT },
  { IF_EQUAL, 0, 1, PR_SET_SECCOMP },
  { RETURN, 0, 0, FAIL + EINVAL },
  { RETURN, 0, 0, ALLOW },
})
local code = ffi.new("struct code", 9, instructions)
assert(ffi.C.prctl(PR_SET_NO_NEW_PRIVS, 1ULL, 0ULL, 0ULL, 0ULL) == 0)
assert(ffi.C.prctl(PR_SET_SECCOMP, ffi.cast("unsigned long", MODE_FILTER), code) == 0)
ffi.C.execvp(arg[1], ffi.new("const char *[?]", #arg + 1, { unpack(arg) }))
os.exit(127)
