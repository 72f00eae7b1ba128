/* The normal forms of Unicode (UAX 15). */
#ifndef POLYSKETCH_TEXT_NORMAL_FORM_H
#define POLYSKETCH_TEXT_NORMAL_FORM_H

#include <stddef.h>
#include <stdint.h>

/* A valid UTF-8 text of `length` > 0 bytes in the form that `options` of utf8proc_map() name, for free(); its bytes into
   *normal_length. It is what utf8proc_map() makes of it, but in time linear in the text: that sorts marks by exchanging
   neighbours, which is quadratic in a run of them. */
uint8_t *normal_form(const uint8_t *text, size_t length, int options, size_t *normal_length);

#endif
