/*
 * ramfb: what firmware shows. It draws in a piece of RAM of its choice, and says where that is by writing to a file of
 * fw_cfg; the screen's first output then is a mirror of it, as long as no driver draws there (display_backdrop()). SeaBIOS's
 * vgabios-ramfb.bin and OVMF know it. There is a file with --firmware and a screen only.
 *
 *	fw_cfg file "etc/ramfb", the highest byte of each first:
 *	0        8       12     16      20       24
 *	address  format  flags  width   height   stride: bytes from one line to the next, 0: as many as a line has
 *
 * The format is one of DRM's, XR24 or AR24: 0x..RRGGBB, little endian; flags mean nothing. Width and height 0: nothing is
 * shown. Nor is it while the file has what cannot be shown: the guest is told nothing of that, the user is.
 *
 * hw/ramfb.c. Spec: QEMU's hw/display/ramfb.c
 */
#ifndef LKVM_RAMFB_H
#define LKVM_RAMFB_H

#define RAMFB_FILE     "etc/ramfb"
#define RAMFB_BYTES    28
#define RAMFB_MAX_SIZE 4096 /* pixels in a direction */

struct display;

/**
 * ramfb_attach() - from now on there is the file, and output 0 shows what it tells
 * @dev: the ramfb_type instance. @fw_cfg: the fw_cfg_type one; @display: lives until no vCPU runs any more
 * Main thread, once, before any vCPU runs, and before its state is loaded. Return: as fw_cfg_file()
 */
int ramfb_attach(void *dev, void *fw_cfg, struct display *display);

#endif
