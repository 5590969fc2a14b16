/* `lkvm run --tty N`: pseudo terminals for further serial or console ports. */
#include <errno.h>

#include "lkvm/log.h"
#include "lkvm/vm/run.h"

static int open_one(struct run_ttys *ttys, unsigned n, struct loop *loop)
{
	struct pty *pty = &ttys->pty[n];
	int err = pty_open(pty);

	if (err) {
		pty->master = pty->slave = -1;
		return log_err(err, "pseudo terminal for --tty %u", n);
	}
	return console_new(&(struct console_config){ .in_fd = pty->master,
						     .out_fd = pty->master,
						     .loop = loop,
						     .plain = true },
			   &ttys->console[n]);
}

int run_ttys_open(struct run_ttys *ttys, const struct vm_config *cfg, struct loop *loop,
		  struct console *first)
{
	int err = 0;

	ttys->console[0] = first;
	for (unsigned n = 1; !err && n < CONFIG_TTYS; n++)
		if (cfg->tty[n])
			err = open_one(ttys, n, loop);
	return err;
}

int run_ttys_start(struct run_ttys *ttys, const struct vm_config *cfg)
{
	int err = 0;

	for (unsigned n = 1; !err && n < CONFIG_TTYS; n++) {
		if (!ttys->console[n])
			continue;
		log_info("the guest's %s%u is %s", cfg->console_virtio ? "hvc" : "ttyS", n,
			 ttys->pty[n].name);
		err = console_start(ttys->console[n]);
	}
	return err;
}

void run_ttys_close(struct run_ttys *ttys, const struct vm_config *cfg)
{
	for (unsigned n = 1; n < CONFIG_TTYS; n++) {
		if (ttys->console[n])
			console_drain(ttys->console[n], -1, 0);
		console_free(ttys->console[n]);
		if (ttys->console[n] || cfg->tty[n])
			pty_close(&ttys->pty[n]);
		ttys->console[n] = NULL;
	}
}
