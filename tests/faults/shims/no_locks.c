/* A file system without locks, to preload before the program: flock() fails with errno FAULT_ERRNO, as on NFS without its
   lock service (ENOLCK), Lustre mounted without flock (EOPNOTSUPP), or others (524, which has no name outside the kernel). */
#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>

int flock(int descriptor, int operation)
{
    (void)descriptor, (void)operation;
    const char *number = getenv("FAULT_ERRNO");
    errno = number ? atoi(number) : ENOLCK;
    return -1;
}
