/*
 * fuzz_lua.c: libFuzzer target for what Lua reads: command lines, files of scripts and plugins, rules, words. What is
 * tried and what has to hold is in fuzz_lua.lua; this file starts Lua, hands it each input, as bytes and as a file, and
 * tells libFuzzer which lines were reached, as it tells of C by itself. An input that takes too long or too much memory
 * is a finding, whatever caught the error that says so.
 */
#include "target.h"

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>

enum {
  LINES = 1 << 14,
  LOOK_EVERY = 1000,      /* instructions */
  PATIENCE = 20 * 1000000 /* instructions for one input */
};

/* How often each line ran, by its hash: libFuzzer takes them for more counters of its own. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t lines[LINES];

static uint32_t spent; /* instructions for this input */

/* What only Lua's heap points to looks lost to the leak sanitizer. */
/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the leak sanitizer's name */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return 1; }
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

static void on_hook(lua_State *L, lua_Debug *at) {
  if (at->event == LUA_HOOKCOUNT) {
    nf_require((spent += LOOK_EVERY) < PATIENCE);
    return;
  }
  (void)lua_getinfo(L, "S", at);
  uint32_t hash = (uint32_t)at->currentline;
  for (const char *c = at->source; *c; c++) hash = hash * 31 + (uint8_t)*c;
  lines[hash % LINES]++;
}

static lua_State *start(void) {
  lua_State *L = luaL_newstate();
  nf_require(L);
  luaL_openlibs(L);
  if (luaL_dostring(L, "package.path = './lua/?.lua;./lua/?/init.lua;' .. package.path\n"
                       "return dofile 'spec/fuzz/fuzz_lua.lua'")) {
    fprintf(stderr, "fuzz_lua: %s\n", lua_tostring(L, -1));
    exit(2);
  }
  return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static lua_State *L;
  if (!L) L = start();
  if (size < 1) return 0;
  /* Anew for each input, as reading a plugin sets and takes away its own hook, and lets code be compiled again. */
  luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
  lua_sethook(L, on_hook, LUA_MASKLINE | LUA_MASKCOUNT, LOOK_EVERY);
  spent = 0;
  lua_pushvalue(L, -1);
  lua_pushinteger(L, data[0]);
  lua_pushlstring(L, (const char *)data + 1, size - 1);
  lua_pushstring(L, fuzz_file(data + 1, size - 1));
  if (lua_pcall(L, 3, 0, 0) != 0) {
    fprintf(stderr, "fuzz_lua: %s\n", lua_tostring(L, -1));
    abort();
  }
  return 0;
}
