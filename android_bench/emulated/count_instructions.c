/* A plugin for qemu-user that counts guest instructions and appends the running count at each marker.
 *
 * qemu-aarch64 -plugin libcount.so,out=FILE ...
 *
 * The marker is the system call getpriority(0x45534d52, tag), which the runner makes before (even tag) and after (odd
 * tag) each timed run. Each appends one line "pid tag count" to FILE, which is opened for appending and only then, so
 * that the other programs of a device write nothing. Counts are exact for programs of one thread.
 *
 * The declarations are our own, of QEMU's documented plugin interface; PLUGIN_API is the version of it that the
 * installed QEMU takes.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef PLUGIN_API
#define PLUGIN_API 1
#endif

enum { GETPRIORITY_ON_ARM64 = 141, MARKER = 0x45534d52, LONGEST_PATH = 512 };

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_info_t;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

typedef void (*block_translated)(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void (*block_entered)(unsigned int cpu, void *data);
typedef void (*system_called)(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2,
                              uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, block_translated callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, block_entered callback,
                                          enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, system_called callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);

__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_API;

static uint64_t executed;
static char output[LONGEST_PATH];

static void on_enter(unsigned int cpu, void *data) {
    (void)cpu;
    executed += (uintptr_t)data;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_enter, QEMU_PLUGIN_CB_NO_REGS,
                                         (void *)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

static void on_system_call(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                           uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    char line[80];
    (void)id, (void)cpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != GETPRIORITY_ON_ARM64 || (uint32_t)a1 != MARKER) {
        return;
    }
    int length = snprintf(line, sizeof line, "%ld %llu %llu\n", (long)getpid(), (unsigned long long)a2,
                          (unsigned long long)executed);
    int file = open(output, O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (file < 0 || write(file, line, (size_t)length) != length) {
        fprintf(stderr, "libcount: cannot write %s\n", output);
    }
    if (file >= 0) {
        close(file);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info,
                                                               int count, char **words) {
    (void)info;
    for (int i = 0; i < count; i++) {
        if (!strncmp(words[i], "out=", 4) && strlen(words[i] + 4) < sizeof output) {
            strcpy(output, words[i] + 4);
        }
    }
    if (!*output) {
        fputs("libcount: out=FILE is missing\n", stderr);
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    return 0;
}
