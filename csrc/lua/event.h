/*
** Events and results of a job. They are filled into a holder, a userdata that nobody else can reach: if
** making the Lua values of them fails, the collector frees them.
*/
#ifndef lua_event_h
#define lua_event_h

#include "binding.h"

typedef struct holder { ms_event event; ms_result result; } holder;

holder *push_holder (lua_State *L);              /* empty */
void holder_release (holder *held);              /* at once, instead of at collection */

/* Takes the next event of `job` and, with the last one, the result. 0: none waits. */
int take_event (ms_job *job, holder *held);

void push_event (lua_State *L, holder *held);    /* the table of the event in the holder */
void push_result (lua_State *L, holder *held);   /* the table of the result; its tokens are moved out */

void register_event (lua_State *L);

#endif
