/* What the engine, the jobs and the logits need of a session's handle. */
#ifndef lua_session_h
#define lua_session_h

#include "options.h"

/* engine:session{ context = n } -> session | nil, message, code; the model's own context by default */
int open_session (lua_State *L);
/* engine:load_session(path, { context = n }) -> session | nil, message, code; the saved context by default */
int load_session (lua_State *L);

/*
** A stream that was left without closing it keeps its session busy; on 5.1 and LuaJIT nothing tells. So the
** session knows its last stream's job, weakly, and each call that needs the session free ends that job.
*/
void set_stream (lua_State *L, int session, int job);
/* A generation that the host steps through is the session's stream, and lives as long as the session's handle. */
void set_stepping (lua_State *L, int session, int job);
int push_stepping (lua_State *L, int session);         /* pushes its job, or nil when none is open */
/* The session at `index`, open, its stream ended. Allocates nothing: the pointer is good until Lua is called. */
ms_session *free_session (lua_State *L, int index, const call *from);

size_t session_vocabulary (lua_State *L, int index);   /* logits a token has */

/* Methods of their own file: routing.c. */
int session_routing (lua_State *L);
int session_routing_stats (lua_State *L);

#endif
