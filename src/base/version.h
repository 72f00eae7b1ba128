/* Which version of the source this program was built from, and how it was compiled; printed at the start of a run and by
   --version, and stored in checkpoints. */
#ifndef POLYSKETCH_BASE_VERSION_H
#define POLYSKETCH_BASE_VERSION_H

/* The release and its day. This is the one place that says them: the Makefile, the manual pages and the module file take them
   from here, and a test compares what stands in CITATION.cff and in packaging/. */
#define RELEASE_VERSION "1.0.0"
#define RELEASE_DATE "2026-11-26"

/* One word: the release, and where the program was built in a git repository the commit behind it, "-dirty" when files were
   changed since: "1.0.0+996221b". */
const char *source_version(void);

/* Name and version of the compiler, and the flags it was given: "gcc 12.2.0", "-std=gnu11 -O3 ...". */
const char *build_compiler(void);
const char *build_flags(void);

#endif
