/*
 * busted.c: a busted with the core linked in, so that specs can run against a sanitizer build without preloading its
 * runtime. prove calls it as it calls busted: options, then a spec file.
 */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  if (!L) return 1;
  luaL_openlibs(L);
  lua_newtable(L);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i);
  }
  lua_setglobal(L, "arg");
  /* busted's runner ends the process with the specs' status. The interpreter is this one: no second Lua is started. */
  if (luaL_dostring(L, "package.path = './lua/?.lua;./lua/?/init.lua;./?.lua;' .. package.path\n"
                       "require 'busted.runner' { standalone = false, lua = arg[0] }")) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    return 1;
  }
  lua_close(L);
  return 0;
}
