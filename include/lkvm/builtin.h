/*
 * The commands: one const struct command each, in the builtin-*.c file of its name. main.c lists
 * them in the order of `lkvm help`.
 */
#ifndef LKVM_BUILTIN_H
#define LKVM_BUILTIN_H

#include "lkvm/options.h"

extern const struct command run_command;
extern const struct command exec_command;
extern const struct command gdb_command;
extern const struct command console_command;
extern const struct command vsock_command;
extern const struct command dmesg_command;
extern const struct command screenshot_command;
extern const struct command type_command;
extern const struct command key_command;
extern const struct command click_command;
extern const struct command list_command;
extern const struct command stop_command;
extern const struct command pause_command;
extern const struct command resume_command;
extern const struct command snapshot_command;
extern const struct command dump_command;
extern const struct command fork_command;
extern const struct command warm_command;
extern const struct command balloon_command;
extern const struct command mem_command;
extern const struct command stat_command;
extern const struct command profile_command;
extern const struct command debug_command;
extern const struct command check_command;
extern const struct command config_command;
extern const struct command version_command;
extern const struct command help_command;

/** command_find() - builtin-help.c: look a command up; NULL after one logged line with the nearest match */
const struct command *command_find(const char *name);

#endif
