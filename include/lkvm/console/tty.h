/*
 * The user's terminal: raw while the guest owns the keyboard, and as it was on every way out.
 * There is one terminal a process, so its saved settings are the process's too.
 */
#ifndef LKVM_CONSOLE_TTY_H
#define LKVM_CONSOLE_TTY_H

#include <stdbool.h>

/**
 * tty_in_foreground() - may this process read @fd and change its settings?
 * True for a terminal that is not our controlling one: job control does not apply to it.
 * Async-signal-safe.
 */
bool tty_in_foreground(int fd);

/**
 * tty_raw() - take the terminal: every key as it is, output bytes unchanged, nothing echoed
 * @fd: must stay open until tty_restore(); the caller has asked tty_in_foreground()
 * May be called again after SIGCONT: the shell may have changed the settings meanwhile.
 * Return: 0 or -errno, nothing logged
 */
int tty_raw(int fd);

/**
 * tty_restore() - give the terminal back as tty_raw() found it; no-op if it is not raw
 * Async-signal-safe, any thread. A process in the background leaves the terminal to its new owner.
 */
void tty_restore(void);

#endif
