/*
 * What is in a guest's memory when it has ended badly: where its vCPUs were, and the last lines of its kernel's log.
 * For the report on standard error, --result, and the folder of --report.
 */
#ifndef LKVM_VM_LOOK_H
#define LKVM_VM_LOOK_H

#include <stdbool.h>
#include <stdio.h>

struct control;
struct json;
struct look;
struct run_result;

/**
 * look_take() - after the vCPUs have ended, while they and RAM are still there
 * Looks for the kernel for two seconds at most. Return: NULL: out of memory, logged
 */
struct look *look_take(struct control *ctl);
/** look_free() - takes NULL; before what control_end_linux() forgets is gone */
void look_free(struct look *look);

/**
 * look_print() - as text: the log's last lines if the console has not had them, and backtraces; masked
 * @last_lines: of the console
 * @most: lines in all
 */
void look_print(FILE *out, const struct look *look, const char *last_lines, unsigned most);
/** look_knows_kernel() - has it more to say than registers? */
bool look_knows_kernel(const struct look *look);
/** look_json() - fields "kernel_tail" and "backtraces"; a NULL @look is null */
void look_json(struct json *json, const struct look *look);
/**
 * look_write() - files in folder @dir, which is made: dmesg, backtraces, memory-map, console
 * Return: 0, or -errno, logged
 */
int look_write(const struct look *look, const char *dir, const struct control *ctl, const struct run_result *result);

#endif
