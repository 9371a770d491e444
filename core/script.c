/*
 * script.c: starts Lua, tells it where the library and the scripts lie, and hands it the command line. Everything a
 * user can see of the command line is in lua/nfengine/cli.lua.
 */
#include "script.h"

#include "base.h"

#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <lualib.h>
#include <unistd.h>

/* Folder of this program's lua/, scripts/ and plugins/: beside or above it in a checkout, under share/ once
   installed. */
static bool find_root(char *root, size_t size) {
  static const char *const places[] = {"", "/../share/nfengine", "/.."};
  char self[PATH_MAX], probe[PATH_MAX + 64];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (n <= 0) return false;
  self[n] = '\0';
  char *slash = strrchr(self, '/');
  if (slash) *slash = '\0';
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    snprintf(root, size, "%s%s", self, places[i]);
    snprintf(probe, sizeof probe, "%s/lua/nfengine/cli.lua", root);
    if (access(probe, R_OK) == 0) return true;
  }
  return false;
}

static void set_search_path(lua_State *L, const char *root) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "path");
  lua_pushfstring(L, "%s/lua/?.lua;%s/lua/?/init.lua;%s/?.lua;%s", root, root, root, lua_tostring(L, -1));
  lua_setfield(L, -3, "path");
  lua_pop(L, 2);
}

/* In protected mode: require "nfengine.cli".main(arguments, root). */
static int run(lua_State *L) {
  int argc = (int)lua_tointeger(L, 1);
  char **argv = lua_touserdata(L, 2);
  const char *root = lua_touserdata(L, 3);
  luaL_openlibs(L);
  set_search_path(L, root);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "nfengine.cli");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "main");
  lua_createtable(L, argc, 1);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i);
  }
  lua_pushstring(L, root);
  lua_call(L, 2, 1);
  return 1;
}

int nf_script_run(int argc, char **argv) {
  char root[PATH_MAX + 32];
  if (!find_root(root, sizeof root)) {
    fprintf(stderr, "nfengine: cannot find the Lua library: expected lua/nfengine beside the program or in ../share\n");
    return 1;
  }
  lua_State *L = luaL_newstate();
  if (!L) {
    fprintf(stderr, "nfengine: out of memory: cannot start Lua\n");
    return 1;
  }
  int status = 1;
  lua_pushcfunction(L, run);
  lua_pushinteger(L, argc);
  lua_pushlightuserdata(L, argv);
  lua_pushlightuserdata(L, root);
  if (lua_pcall(L, 3, 1, 0) == 0) status = (int)lua_tointeger(L, -1);
  else fprintf(stderr, "nfengine: %s\n", lua_tostring(L, -1));
  lua_close(L);
  return status;
}
