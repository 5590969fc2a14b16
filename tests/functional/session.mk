# session-peer is the other end of lkvm's init: it runs it, and sends commands as lkvm does; see session-peer.c.
SESSION_PEER := $(abspath $(O))/tests/functional/session-peer
export SESSION_PEER

$(SESSION_PEER): $(O)/tests/functional/session-peer.o $(O)/tests/functional/session-frames.o
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

tests/functional/init.t.sh: $(SESSION_PEER)
