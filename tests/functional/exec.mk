# exec-peer takes the commands of `lkvm exec` as the lkvm of a guest does; see exec-peer.c.
EXEC_PEER := $(abspath $(O))/tests/functional/exec-peer
EXEC_PEER_OBJ := vm/session-words.o ipc/folder.o ipc/server.o ipc/client.o util/loop.o util/event.o util/log.o \
	util/mask.o util/stream.o
export EXEC_PEER

$(EXEC_PEER): $(O)/tests/functional/exec-peer.o $(EXEC_PEER_OBJ:%=$(O)/%)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

tests/functional/exec.t.sh: $(EXEC_PEER) $(PTY)
