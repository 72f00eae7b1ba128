/* What the program's exit code says; README.md has the table for users. */
#ifndef POLYSKETCH_BASE_EXIT_CODE_H
#define POLYSKETCH_BASE_EXIT_CODE_H

/* 0: done. 1: an error, said in one line. And a run that was asked to stop, and saved: the same command continues it. */
enum { EXIT_CONTINUE = 85 };

#endif
