/*
 * script.c: starts Lua, tells it where the library and the scripts lie, and hands it the command line; and again in
 * every thread of a crew, there with a meter's plan. Everything a user can see of the command line is in
 * lua/nfengine/cli.lua, what a meter's thread does in lua/nfengine/worker.lua.
 */
#include "script.h"

#include "crew.h"

#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <lualib.h>
#include <unistd.h>

static const char NO_LUA[] = "out of memory: cannot start Lua";

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
  lua_pushfstring(L, "%s/lua/?.lua;%s/lua/?/init.lua;%s", root, root, lua_tostring(L, -1));
  lua_setfield(L, -3, "path");
  lua_pop(L, 2);
}

/* What was raised, as text, which it need not be. */
static const char *raised(lua_State *L) {
  const char *text = lua_tostring(L, -1);
  return text ? text : "an error that is no text";
}

/* One line for an error, as report.lua says it: Lua's loader parts what it says into lines that begin with a tab. */
static void say(const char *text) {
  char line[4096];
  size_t size = 0;
  for (const char *at = text; *at && size < sizeof line - 1; at++) {
    bool is_parted = at[0] == '\n' && at[1] == '\t', is_control = (unsigned char)*at < ' ' || *at == 0x7f;
    line[size++] = (char)(is_parted ? ' ' : is_control ? '?' : *at);
    at += is_parted;
  }
  line[size] = '\0';
  fprintf(stderr, "nfengine: %s\n", line);
}

/* LuaJIT comes here, and ends the process with status 1 then, when the system does not let it change the protection of
   its machine code, of which it could not go on then. Where memory is limited that is what comes first at times: code
   that is to be written counts. */
static int panic(lua_State *L) {
  say(errno == ENOMEM ? "not enough memory for machine code" : raised(L));
  return 0;
}

/* NULL, with nothing said, where there is no memory. */
static lua_State *start_lua(void) {
  lua_State *L = luaL_newstate();
  if (L) lua_atpanic(L, panic);
  return L;
}

struct command {
  int argc;
  char **argv;
  const char *root;
  int status; /* of the program */
};

/* In protected mode: require "nfengine.cli".main(arguments, root). */
static int run(lua_State *L) {
  struct command *command = lua_touserdata(L, 1);
  luaL_openlibs(L);
  set_search_path(L, command->root);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "nfengine.cli");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "main");
  lua_createtable(L, command->argc, 1);
  for (int i = 0; i < command->argc; i++) {
    lua_pushstring(L, command->argv[i]);
    lua_rawseti(L, -2, i);
  }
  lua_pushstring(L, command->root);
  lua_call(L, 2, 1);
  command->status = (int)lua_tointeger(L, -1);
  return 0;
}

int nf_script_run(int argc, char **argv) {
  char root[PATH_MAX + 32];
  if (!find_root(root, sizeof root)) {
    say("cannot find the Lua library: expected lua/nfengine beside the program or in ../share");
    return 1;
  }
  lua_State *L = start_lua();
  if (!L) {
    say(NO_LUA);
    return 1;
  }
  struct command command = {.argc = argc, .argv = argv, .root = root, .status = 1};
  if (lua_cpcall(L, run, &command) != 0) say(raised(L));
  lua_close(L);
  return command.status;
}

/* ---- a meter's thread ---- */

struct plan {
  struct nf_crew *crew;
  uint32_t index;
  const char *path, *cpath;
  const char *text;
  size_t size;
};

/* In protected mode: require "nfengine.worker".run(crew, index, plan). */
static int work(lua_State *L) {
  const struct plan *plan = lua_touserdata(L, 1);
  luaL_openlibs(L);
  lua_getglobal(L, "package");
  lua_pushstring(L, plan->path);
  lua_setfield(L, -2, "path");
  lua_pushstring(L, plan->cpath);
  lua_setfield(L, -2, "cpath");
  lua_getglobal(L, "require");
  lua_pushliteral(L, "nfengine.worker");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "run");
  lua_pushlightuserdata(L, plan->crew);
  lua_pushinteger(L, plan->index);
  lua_pushlstring(L, plan->text, plan->size);
  lua_call(L, 3, 0);
  return 0;
}

static void run_meter(struct nf_crew *crew, uint32_t index, void *context) {
  struct plan plan = *(const struct plan *)context;
  plan.index = index;
  lua_State *L = start_lua();
  const char *failure = NO_LUA;
  if (L) failure = lua_cpcall(L, work, &plan) == 0 ? NULL : raised(L);
  /* The Lua side tells of its failures itself: this one kept it from doing so. */
  if (failure && nf_crew_ready(crew, failure)) nf_crew_leave(crew, index, failure, NULL, 0);
  if (L) lua_close(L);
}

int nf_crew_start(struct nf_crew *crew, const char *path, const char *cpath, const char *text, size_t size,
                  char *error) {
  struct plan plan = {.crew = crew, .path = path, .cpath = cpath, .text = text, .size = size};
  return nf_crew_launch(crew, size > 0 ? run_meter : nf_crew_drive, &plan, error);
}
