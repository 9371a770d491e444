#pragma once
/*
 * script.h: the Lua side of the program. script.c is the only file that knows the Lua C API.
 */

/* Runs the program's command line, lua/nfengine/cli.lua, in a fresh Lua state. Returns the process's exit status. */
int nf_script_run(int argc, char **argv);
