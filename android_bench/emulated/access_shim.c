/* access() by stat(), preloaded into every guest program.
 *
 * proot 5.1 passes the system call faccessat2 on with the guest's path, and qemu answers the guest's faccessat by the
 * host's faccessat2, so that "may I run /system/bin/ls" is asked of the wrong file system.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(void) {
    errno = EACCES;
    return -1;
}

int faccessat(int folder, const char *path, int mode, int flags) {
    struct stat found;
    (void)flags;
    if (fstatat(folder, path, &found, 0)) {
        return -1;
    }
    if ((mode & X_OK) && !S_ISDIR(found.st_mode) && !(found.st_mode & 0111)) {
        return refuse();
    }
    if ((mode & W_OK) && !(found.st_mode & 0222)) {
        return refuse();
    }
    return 0;
}

int access(const char *path, int mode) {
    return faccessat(AT_FDCWD, path, mode, 0);
}

int eaccess(const char *path, int mode) {
    return access(path, mode);
}

int euidaccess(const char *path, int mode) {
    return access(path, mode);
}
