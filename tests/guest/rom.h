/* What rom.S has where, for who runs in it */
#ifndef GUEST_ROM_H
#define GUEST_ROM_H

#define ROM_FILL  0xe5
#define ROM_COPY  0xff00 /* in the last 64 KiB: the code that copies what is below it */
#define ROM_WORD  0xffe0 /* a word of 32 bits, */
#define ROM_MAGIC 0x4d4f5221 /* which is this */

#endif
