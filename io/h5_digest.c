/* Digests of datasets (io/h5.h), compared in whatever groups the datasets stand. */
#include <stdlib.h>
#include <string.h>

#include "io/h5.h"
#include "src/base/digest.h"

typedef struct Walk {
    const char *path;
    int part, parts;
    bool all_have;
    int seen;  /* datasets so far */
    int depth; /* of the group under way */
    Message *problem;
} Walk;

/* The values of a dataset in the bytes of the file, which the caller frees; NULL when they cannot be read. */
static void *read_values(hid_t dataset, size_t *bytes)
{
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    hssize_t points = H5Sget_simple_extent_npoints(space);
    size_t size = H5Tget_size(type);
    bool plain = points >= 0 && size > 0 && (size_t)points < SIZE_MAX / size && H5Tdetect_class(type, H5T_VLEN) == 0 &&
                 H5Tis_variable_str(type) == 0;
    void *values = plain ? malloc((size_t)points * size + 1) : NULL;
    *bytes = (size_t)points * size;
    if (values && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
        free(values);
        values = NULL;
    }
    H5Sclose(space);
    H5Tclose(type);
    return values;
}

void h5_write_digest(hid_t dataset, uint64_t digest)
{
    char text[DIGEST_TEXT_SIZE];
    digest_format(digest, text);
    h5_write_text(dataset, H5_DIGEST, text);
}

/* A search that fails is damage, as is a digest that cannot be read. */
bool h5_digest_agrees(hid_t dataset, uint64_t digest)
{
    char stored[DIGEST_TEXT_SIZE], found[DIGEST_TEXT_SIZE];
    if (H5Aexists(dataset, H5_DIGEST) == 0) return true;
    digest_format(digest, found);
    return h5_read_text(dataset, H5_DIGEST, stored, sizeof stored) && strcmp(stored, found) == 0;
}

static bool check_dataset(const Walk *walk, hid_t dataset, const char *name)
{
    if (H5Aexists(dataset, H5_DIGEST) == 0)
        return !walk->all_have || fail(walk->problem, "'%s': %s has no digest", walk->path, name);
    size_t bytes;
    void *values = h5_holds_its_data(dataset) ? read_values(dataset, &bytes) : NULL;
    if (!values) return fail(walk->problem, "'%s' is damaged: %s cannot be read", walk->path, name);
    uint64_t digest = digest_bytes(values, bytes);
    free(values);
    return h5_digest_agrees(dataset, digest) || h5_fail_digest(walk->path, name, walk->problem);
}

bool h5_fail_digest(const char *path, const char *name, Message *problem)
{
    return fail(problem,
                "'%s' is damaged: the values of %s are not those that were written (digest " H5_DIGEST "). Use an "
                "earlier or another copy; if you changed them on purpose, delete the attribute " H5_DIGEST " of %s",
                path, name, name);
}

/* Our groups are at most two deep; in a damaged file a group may contain itself. */
enum { DEEPEST = 8 };

static bool check_group(Walk *walk, hid_t group);

static bool check_member(Walk *walk, hid_t group, const char *name)
{
    hid_t member = h5_has(group, name) ? H5Oopen(group, name, H5P_DEFAULT) : -1;
    if (member < 0) return fail(walk->problem, "'%s' is damaged: %s cannot be opened", walk->path, name);
    bool good = true;
    H5I_type_t kind = H5Iget_type(member);
    if (kind == H5I_GROUP) good = check_group(walk, member);
    if (kind == H5I_DATASET && walk->seen++ % walk->parts == walk->part) good = check_dataset(walk, member, name);
    H5Oclose(member);
    return good;
}

static bool check_group(Walk *walk, hid_t group)
{
    H5Members members;
    bool good = ++walk->depth <= DEEPEST || fail(walk->problem, "'%s' is damaged: a group contains itself", walk->path);
    if (!h5_members(group, &members) && good)
        good = fail(walk->problem, "'%s' is damaged: the list of a group", walk->path);
    for (size_t i = 0; i < members.count && good; i++) good = check_member(walk, group, members.names[i]);
    h5_members_free(&members);
    walk->depth--;
    return good;
}

bool h5_check_digests(hid_t file, const char *path, int part, int parts, bool all_have, Message *problem)
{
    Walk walk = {.path = path, .part = part, .parts = parts, .all_have = all_have, .problem = problem};
    return check_group(&walk, file);
}
