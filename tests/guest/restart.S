/* A Linux that restarts the machine by a triple fault, which it has announced */
#define TEXT "[    1.5] reboot: Restarting system\n[    1.6] reboot: machine restart\n"
#include "triple-fault.S"
