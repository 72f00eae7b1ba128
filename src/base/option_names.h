/* Which option was meant by a name that is none. */
#ifndef POLYSKETCH_BASE_OPTION_NAMES_H
#define POLYSKETCH_BASE_OPTION_NAMES_H

#include "src/base/options.h"

/* False, always, with a message that names the nearest option of the tables where one is near: the same key in another
   section, its beginning, another usual word for it, or a slip of the keyboard. */
bool option_fail_unknown(const OptionTable *tables, int table_count, const char *name, Message *problem);

#endif
