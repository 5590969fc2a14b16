# pty runs a command on a terminal and types; see pty.c. Absolute: the tests change folder.
PTY := $(abspath $(O))/tests/functional/pty
export PTY

$(PTY): $(O)/tests/functional/pty.o
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

tests/functional/console.t.sh tests/functional/console-attach.t.sh tests/functional/virtio-console.t.sh tests/functional/completion-shells.t.sh: $(PTY)
