#define _GNU_SOURCE
#include "mpi/node_memory.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/memory.h"

struct NodeMemory {
    const Node *node;
    MPI_Win window;
    char *start; /* the first whole page of it: MPI does not align what it gives */
};

/* ---- room for the file ---- */

enum { FOLDER_SIZE = 4096, HOST_SIZE = 256 };

#ifdef OPEN_MPI
#define OTHER_FOLDER "name a folder in memory with more by OMPI_MCA_osc_sm_backing_directory=FOLDER, "

/* As the environment, mpirun and Open MPI's files say it. */
static void find_folder(char folder[FOLDER_SIZE])
{
    int provided, index, count = 0;
    MPI_T_cvar_handle handle;
    strcpy(folder, "/dev/shm");
    if (MPI_T_init_thread(MPI_THREAD_SINGLE, &provided)) return;
    if (MPI_T_cvar_get_index("osc_sm_backing_directory", &index) == MPI_SUCCESS &&
        MPI_T_cvar_handle_alloc(index, NULL, &handle, &count) == MPI_SUCCESS) {
        if (count <= FOLDER_SIZE) MPI_T_cvar_read(handle, folder);
        MPI_T_cvar_handle_free(&handle);
    }
    MPI_T_finalize();
}
#else
#define OTHER_FOLDER ""

static void find_folder(char folder[FOLDER_SIZE]) { strcpy(folder, "/dev/shm"); }
#endif

#define REMEDY OTHER_FOLDER "or set parallel.node_shared = false"
#define BY_MOUNTING "(mount -o remount,size=..., of a container --shm-size=...), " REMEDY

/* Where this node has its file, for lines about it. */
typedef struct NodePlace {
    char folder[FOLDER_SIZE], host[HOST_SIZE];
} NodePlace;

static NodePlace place_of_node(void)
{
    NodePlace place = {.host = ""};
    find_folder(place.folder);
    gethostname(place.host, sizeof place.host - 1);
    return place;
}

/* Of this node, found by its first rank. The library wants a twentieth more than it takes. */
static bool has_room(const Node *node, size_t bytes, Message *problem)
{
    char needed[32], there[32];
    struct statvfs room;
    double wanted = 1.05 * (double)bytes + (1 << 20);
    if (node->rank > 0 || node->size == 1) return true;
    NodePlace place = place_of_node();
    if (access(place.folder, W_OK | X_OK) || statvfs(place.folder, &room))
        return fail(problem, "the %d ranks on %s cannot share parameters in '%.500s': %s. Make that folder, or " REMEDY,
                    node->size, place.host, place.folder, strerror(errno));
    double free_bytes = (double)room.f_bavail * (double)room.f_frsize;
    return free_bytes >= wanted ||
           fail(problem,
                "the %d ranks on %s need %s in '%.500s' for the parameters that they share, but it has room for %s. "
                "Enlarge it " BY_MOUNTING,
                node->size, place.host, log_bytes(wanted, needed), place.folder, log_bytes(free_bytes, there));
}

/* ---- having it ---- */

/* Libraries that are told to use another module for windows than the one for shared memory refuse on all ranks alike. */
static bool can_share(const Node *node, Message *problem)
{
    MPI_Win window;
    char words[MPI_MAX_ERROR_STRING] = "", *memory;
    int length, code = MPI_Win_allocate_shared(1, 1, MPI_INFO_NULL, node->comm, &memory, &window);
    if (code == MPI_SUCCESS) {
        CHECK_MPI(MPI_Win_free(&window));
        return true;
    }
    MPI_Error_string(code, words, &length);
    return fail(
        problem,
        "the MPI library gives the ranks of a node no memory to share: %s. Look whether OMPI_MCA_osc or a file of "
        "the library's settings leaves out its module for that (sm), or set parallel.node_shared = false",
        words);
}

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* The share of a rank, as whole pages. */
static size_t share_bytes(const Node *node, size_t bytes)
{
    size_t page = page_size(), pages = (bytes + page - 1) / page, ranks = (size_t)node->size;
    return (pages + ranks - 1) / ranks * page;
}

#ifdef MADV_POPULATE_WRITE
/* The system's word for a file without room is a bad address. */
static bool fail_to_touch(const Node *node, size_t bytes, int code, Message *problem)
{
    char size[32];
    NodePlace place = place_of_node();
    return fail(problem,
                "the %d ranks on %s cannot have the %s in '%.500s' for the parameters that they share: %s. Another "
                "program may have taken the room: try again, enlarge it " BY_MOUNTING,
                node->size, place.host, log_bytes((double)bytes, size), place.folder,
                code == EFAULT ? "no room is left" : strerror(code));
}
#endif

/* Where the room has gone meanwhile the system would end a rank that writes: it is asked for pages before, where it knows that
   request. */
static bool touch(const NodeMemory *memory, size_t bytes, Message *problem)
{
    size_t share = share_bytes(memory->node, bytes);
    char *own = memory->start + (size_t)memory->node->rank * share;
    prefer_huge_pages(memory->start, share * (size_t)memory->node->size);
#ifdef MADV_POPULATE_WRITE
    if (madvise(own, share, MADV_POPULATE_WRITE) && errno != EINVAL)
        return fail_to_touch(memory->node, bytes, errno, problem);
#else
    (void)problem;
#endif
    clear_memory(own, share);
    return true;
}

void node_memory_require(const Node *node, size_t bytes)
{
    Message problem;
    require_all(has_room(node, bytes, &problem), &problem);
    require_all(can_share(node, &problem), &problem);
}

NodeMemory *node_memory_create(const Node *node, size_t bytes)
{
    Message problem;
    NodeMemory *memory = checked_calloc(1, sizeof *memory);
    size_t page = page_size(), share = share_bytes(node, bytes);
    MPI_Aint size;
    int unit;
    char *own;
    memory->node = node;
    CHECK_MPI(MPI_Win_allocate_shared((MPI_Aint)(share + (node->rank == 0 ? page : 0)), 1, MPI_INFO_NULL, node->comm,
                                      &own, &memory->window));
    CHECK_MPI(MPI_Win_shared_query(memory->window, 0, &size, &unit, &own));
    memory->start = (char *)(((uintptr_t)own + page - 1) / page * page);
    CHECK_MPI(MPI_Win_lock_all(MPI_MODE_NOCHECK, memory->window));
    require_all(touch(memory, bytes, &problem), &problem);
    node_memory_meet(memory);
    return memory;
}

void *node_memory_start(const NodeMemory *memory) { return memory->start; }

void node_memory_meet(const NodeMemory *memory)
{
    CHECK_MPI(MPI_Win_sync(memory->window));
    CHECK_MPI(MPI_Barrier(memory->node->comm));
    CHECK_MPI(MPI_Win_sync(memory->window));
}

void node_memory_destroy(NodeMemory *memory)
{
    if (!memory) return;
    CHECK_MPI(MPI_Win_unlock_all(memory->window));
    CHECK_MPI(MPI_Win_free(&memory->window));
    free(memory);
}
