/* What the BLAS library says of itself, and how it is told the number of threads. Which one it is the Makefile says (BLAS=...).
   All else is the same for all of them, and stands in blas.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/tensor/blas.h"

#if defined BLAS_IS_blis

#include <blis.h>

static const char library_name[] = "BLIS";

static void library_version(char *text, size_t size) { snprintf(text, size, "%s", bli_info_get_version_str()); }

const char *blas_kernel_name(void) { return bli_arch_string(bli_arch_query_id()); }

/* Threads that nobody has set are one. */
static int library_threads(void)
{
    int threads = (int)bli_thread_get_num_threads();
    return threads > 1 ? threads : 1;
}

/* BLIS does not look at the threads of OpenMP by itself. */
void blas_set_threads(int threads)
{
    if (!getenv("BLIS_NUM_THREADS")) bli_thread_set_num_threads(threads);
}

#elif defined BLAS_IS_mkl

#include <mkl.h>

static const char library_name[] = "MKL";

static void library_version(char *text, size_t size)
{
    MKLVersion version;
    mkl_get_version(&version);
    snprintf(text, size, "%d.%d.%d", version.MajorVersion, version.MinorVersion, version.UpdateVersion);
}

/* The branch of its code that it takes on this processor; of other makers' ones it only says that it chooses. */
const char *blas_kernel_name(void)
{
    static const struct {
        int branch;
        const char *name;
    } branches[] = {
        {MKL_CBWR_AUTO, "auto"},     {MKL_CBWR_COMPATIBLE, "compatible"}, {MKL_CBWR_AVX2, "avx2"},
        {MKL_CBWR_AVX512, "avx512"}, {MKL_CBWR_AVX512_E1, "avx512-e1"},
    };
    int branch = mkl_cbwr_get_auto_branch();
    for (size_t i = 0; i < sizeof branches / sizeof *branches; i++)
        if (branches[i].branch == branch) return branches[i].name;
    return "other";
}

static int library_threads(void) { return mkl_get_max_threads(); }

void blas_set_threads(int threads) { (void)threads; } /* it follows OpenMP */

#else

#include <cblas.h>

static const char library_name[] = "OpenBLAS";

/* The second word of "OpenBLAS 0.3.21 DYNAMIC_ARCH USE_OPENMP ...". */
static void library_version(char *text, size_t size)
{
    const char *configuration = openblas_get_config();
    configuration += strcspn(configuration, " ");
    configuration += strspn(configuration, " ");
    snprintf(text, size, "%.*s", (int)strcspn(configuration, " "), configuration);
}

const char *blas_kernel_name(void) { return openblas_get_corename(); }

static int library_threads(void) { return openblas_get_num_threads(); }

void blas_set_threads(int threads) { (void)threads; } /* it follows OpenMP */

#endif

const char *blas_library_name(void) { return library_name; }

void blas_describe(char text[BLAS_DESCRIPTION_SIZE])
{
    char version[64];
    int threads = library_threads();
    library_version(version, sizeof version);
    snprintf(text, BLAS_DESCRIPTION_SIZE, "%s %s, kernel %s, %d thread%s", library_name, version, blas_kernel_name(),
             threads, threads == 1 ? "" : "s");
}
