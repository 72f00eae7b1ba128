/* The reader of safetensors. */
#include <stdlib.h>
#include <unistd.h>

#include "io/safetensors.h"
#include "src/base/memory.h"
#include "tests/fuzz/fuzz_file.h"

static void read_all(SafeTensors *file)
{
    Message problem;
    for (size_t i = 0; i < file->count; i++) {
        const SafeTensor *tensor = &file->tensors[i];
        real *values = checked_calloc(tensor_shape_count(&tensor->shape), sizeof *values);
        CHECK(!safetensors_readable(tensor) || safetensors_read(file, tensor, values, &problem),
              "a tensor that was checked cannot be read: %s", problem.text);
        free(values);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Message problem;
    const char *path = fuzz_file_write(data, size);
    SafeTensors *file = safetensors_open(path, &problem);
    if (file) read_all(file);
    safetensors_close(file);
    unlink(path);
    return 0;
}
