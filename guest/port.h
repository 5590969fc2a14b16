/* The port over which lkvm speaks: it may appear some time after its driver has been loaded. */
#ifndef GUEST_PORT_H
#define GUEST_PORT_H

/* A descriptor on which the kernel tells of devices; before the modules are loaded. -1: it cannot */
int port_listen(void);

/* Waits for the port and until lkvm has it open. Return: a descriptor that does not block; -1: complained */
int port_open(int events);

#endif
