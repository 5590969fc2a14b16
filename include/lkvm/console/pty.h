/*
 * A pseudo terminal for a port of the guest: programs like screen open the slave by its name. Main
 * thread.
 */
#ifndef LKVM_CONSOLE_PTY_H
#define LKVM_CONSOLE_PTY_H

#define PTY_NAME_BYTES 32

struct pty {
	int master; /* O_NONBLOCK */
	int slave;  /* kept open: without it a master has nothing but errors until somebody comes */
	char name[PTY_NAME_BYTES];
};

/** pty_open() - a new pair, raw: Return: 0 or -errno, then there is nothing to close */
int pty_open(struct pty *ret);
void pty_close(struct pty *pty);

#endif
