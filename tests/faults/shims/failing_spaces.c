/* To be preloaded (LD_PRELOAD): from when there is a file FAULT_PATH, HDF5 has no more dataspaces for the threads of rank
   FAULT_RANK beside the main one. Nothing foresees that: it is found by a CHECK where tokens are read ahead. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <hdf5.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_t main_thread;

__attribute__((constructor)) static void remember_main_thread(void) { main_thread = pthread_self(); }

static const char *setting(const char *name)
{
    const char *text = getenv(name);
    return text ? text : "";
}

static int fails_here(void)
{
    const char *rank = setting("OMPI_COMM_WORLD_RANK");
    if (!*rank) rank = setting("PMI_RANK");
    return !pthread_equal(pthread_self(), main_thread) && strcmp(rank, setting("FAULT_RANK")) == 0 &&
           access(setting("FAULT_PATH"), F_OK) == 0;
}

hid_t H5Screate_simple(int dimensions, const hsize_t *lengths, const hsize_t *most)
{
    static __typeof__(&H5Screate_simple) real;
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "H5Screate_simple");
    return fails_here() ? -1 : real(dimensions, lengths, most);
}
