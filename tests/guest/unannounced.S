/* A triple fault that nobody has announced */
#define TEXT "[    1.5] reboot: who?\n"
#include "triple-fault.S"
