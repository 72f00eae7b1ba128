/* Signs of life: a line of the log now and then while something takes long, from a thread of its own, so that it comes also
   while the process waits for others. */
#ifndef POLYSKETCH_BASE_HEARTBEAT_H
#define POLYSKETCH_BASE_HEARTBEAT_H

/* From now on what begins is watched, and said after so many seconds, then each time that its duration has doubled, at the
   latest after ten minutes. `place` names in a word or two what this process does; it is called from another thread.
   seconds = 0: nothing is watched. To be called once; heartbeat_stop() ends it. */
void heartbeat_start(double seconds, const char *(*place)(void));
void heartbeat_stop(void);

/* Something begins, in place of what began before, or ends: "step 12/1000". Nothing happens where nothing is watched. */
void heartbeat_begin(const char *format, ...) __attribute__((format(printf, 1, 2)));
void heartbeat_end(void);

#endif
