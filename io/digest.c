#include "io/digest.h"

#include "io/h5.h"

static const char name[] = "xxh3";

void digest_write(hid_t dataset, uint64_t digest) { h5_write_integer(dataset, name, (int64_t)digest); }

/* A failing search is damage: then the answer is yes, and reading the digest fails. */
bool digest_exists(hid_t dataset) { return H5Aexists(dataset, name) != 0; }

bool digest_agrees(hid_t dataset, uint64_t digest)
{
    int64_t kept;
    return !digest_exists(dataset) || (h5_read_integer(dataset, name, &kept) && (uint64_t)kept == digest);
}
