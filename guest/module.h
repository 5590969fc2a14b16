/* Modules that are loaded before there is a root */
#ifndef GUEST_MODULE_H
#define GUEST_MODULE_H

/*
 * Those that stand in the file @list, a line each, in that order. One that cannot be loaded is told of;
 * whether it was needed, the next steps tell.
 */
void load_modules(const char *list);

#endif
