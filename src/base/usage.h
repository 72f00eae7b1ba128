/* What this process has used: time and memory. */
#ifndef POLYSKETCH_BASE_USAGE_H
#define POLYSKETCH_BASE_USAGE_H

/* Wall-clock seconds since some fixed moment; never goes back. */
double usage_seconds(void);

/* The greatest resident memory so far, in bytes; usage_reset_peak() starts anew where the system can (Linux). */
double usage_peak_bytes(void);
void usage_reset_peak(void);

#endif
