/* Facts for people and for programs: each is said once, with its name and how it reads in a text. As text they are lines of the
   log, as they come; as JSON they are one document on standard output, when all of them are known.

   `text` is a printf format for the one value: what stands before it in the line, the value, what follows. It ends with a newline
   where the line does, so that several facts may share one; NULL leaves the fact to JSON. Names in an object differ. */
#ifndef POLYSKETCH_BASE_FACTS_H
#define POLYSKETCH_BASE_FACTS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Facts Facts;

/* With `json` the lines of the log go to standard error from now on. */
Facts *facts_create(bool json);
/* Writes the document, where there is one and this process speaks (log_set_speaker). */
void facts_finish(const Facts *facts);
void facts_destroy(Facts *facts);

void facts_integer(Facts *facts, const char *name, const char *text /* %lld */, int64_t value);
void facts_real(Facts *facts, const char *name, const char *text /* %g, %f */,
                double value); /* null where not finite */
void facts_text(Facts *facts, const char *name, const char *text /* %s */, const char *value);
void facts_flag(Facts *facts, const char *name, bool value);                               /* JSON alone */
void facts_bytes(Facts *facts, const char *name, const char *text /* %s */, double value); /* text: "1.23 GB" */

/* What is for people alone: headings, blank lines, labels. */
void facts_say(Facts *facts, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What follows is in an object, or a list, of this name, until it is closed. Names of what is in a list mean nothing. */
void facts_open(Facts *facts, const char *name);
void facts_open_list(Facts *facts, const char *name);
void facts_close(Facts *facts);

#endif
